"""Every format, one world: the same candidates come back, and the same diagnostics."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.diagnosis import diagnose
from tod.formats import read
from tolerance import of_weights, rounding

ALL = {"mu", "old", "ref"}
CASES = {
    "verl-v1": ("write_verl", {}, "verl", "D", set(), "score"),
    "verl-v0": ("write_verl", {"version": 0}, "verl", "D", set(), "score"),
    "trl": ("write_trl", {}, "trl", "D", set(), "reward"),
    "nemo-rl": ("write_nemo", {}, "nemo-rl", "B", {"mu", "old"}, "reward"),
    "skyrl": ("write_skyrl", {}, "skyrl", "B", ALL, "advantage"),
    "skyrl-evals": ("write_skyrl_evals", {}, "skyrl", "D", set(), "score"),
    "slime": ("write_slime", {}, "slime", "A", ALL, "reward"),
    "slime-rollout": ("write_slime", {"train": False}, "slime", "C", {"mu"}, "reward"),
    "slime-dict": ("write_slime", {"dict_rewards": True}, "slime", "A", ALL, "score"),
    "prime-rl": ("write_prime", {}, "prime-rl", "B", {"mu", "policy"}, "reward"),
    "prime-traces": ("write_prime", {"exports": False}, "prime-rl", "C", {"mu"}, "reward"),
    "tinker": ("write_tinker", {}, "tinker", "C", {"mu"}, "total_reward"),
    "tinker-plain": ("write_tinker", {"capture": False}, "tinker", "D", set(), "total_reward"),
    "ms-swift": ("write_swift", {}, "ms-swift", "D", set(), "MathAccuracy"),
    "open-instruct": ("write_open_instruct", {}, "open-instruct", "C", {"mu"}, "reward"),
    "areal": ("write_areal", {}, "areal", "D", set(), "reward"),
    "tod-parquet": ("write_tod", {}, "tod", "A", ALL, "reward"),
    "tod-jsonl": ("write_tod", {"kind": "jsonl"}, "tod", "A", ALL, "reward"),
    "tod-tokens": ("write_tod", {"tokens": True}, "tod", "A", ALL, "reward"),
    "tod-jsonl-tokens": ("write_tod", {"kind": "jsonl", "tokens": True}, "tod", "A", ALL, "reward"),
}


def expected(world: Any, eta: float, advantage: bool) -> dict[str, list[float]]:
    """ESS_rel, largest weight and ESS_rel(π/μ) of every group in plain Python, b = μ."""
    found: dict[str, list[float]] = {"ess_rel": [], "max_weight": [], "policy": [], "utility": []}
    for members in world.groups().values():
        u = [r.advantage if advantage else r.reward for r in members]
        w = [math.exp(eta * value) for value in u]
        rho = [math.exp(sum(r.old) - sum(r.mu)) for r in members]
        found["ess_rel"].append(sum(w) ** 2 / sum(x * x for x in w) / len(w))
        found["max_weight"].append(max(w) / sum(w))
        found["policy"].append(sum(rho) ** 2 / sum(x * x for x in rho) / len(rho))
        found["utility"].append(sum(u) / len(u))
    return found


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest, writers: Any, world: Any, tmp_path: Path) -> Any:
    """A reading of one format, with what it should be."""
    writer, options, name, tier, recorded, main = CASES[request.param]
    root = getattr(writers, writer)(world, tmp_path / "dump", **options)
    return read(root), name, tier, recorded, main, world


def test_detects_and_states_its_tier(case: Any) -> None:
    reading, name, tier, recorded, main, world = case
    assert reading.source.format == name
    assert reading.source.tier == tier
    assert reading.source.detected
    assert set(reading.recorded) == recorded
    assert next(iter(reading.utility)) == main
    assert (reading.source.rows, reading.source.rejected) == (len(world.rollouts), 0)
    assert reading.source.steps == (1, 3)


def test_groups_utilities_and_sums_are_those_of_the_world(case: Any) -> None:
    reading, _, _, recorded, main, world = case
    groups = list(world.groups().items())
    assert reading.contexts.sizes.tolist() == [world.k] * len(groups)
    assert reading.labels.step.tolist() == sorted(step for (step, _), _ in groups)
    for step in world.steps:
        mine = reading.take(np.flatnonzero(reading.labels.step == step))
        theirs = [members for (s, _), members in groups if s == step]
        found = sorted(tuple(sorted(part)) for part in mine.contexts.split(mine.utilities(main)))
        value = "advantage" if main == "advantage" else "reward"
        wanted = sorted(tuple(sorted(getattr(r, value) for r in part)) for part in theirs)
        np.testing.assert_allclose(found, wanted, rtol=rounding("float32", 1))
        for policy in recorded:
            key = {"policy": "old"}.get(policy, policy)
            sums = sorted(sum(getattr(r, key)) for part in theirs for r in part)
            np.testing.assert_allclose(
                np.sort(mine.log_prob(policy, "")), sums, rtol=rounding("float32", 40)
            )


def test_diagnostics_are_those_of_an_independent_calculation(case: Any) -> None:
    reading, name, _, recorded, main, world = case
    found = diagnose(reading, eta=1.5)
    wanted = expected(world, 1.5, advantage=main == "advantage")
    largest = max(abs(sum(x)) for r in world.rollouts for x in (r.mu, r.old, r.ref))
    near = of_weights("float32", world.k, largest)  # some formats keep single precision
    for key in ("ess_rel", "max_weight"):
        mine = np.sort(getattr(found.diagnostics, key))
        np.testing.assert_allclose(mine, np.sort(wanted[key]), rtol=near)
    mean = np.sort(found.diagnostics.utility_mean)
    np.testing.assert_allclose(mean, np.sort(wanted["utility"]), rtol=near, atol=near)
    if {"mu", "old"} <= recorded or {"mu", "policy"} <= recorded:
        legs = np.sort(found.diagnostics.policy_proposal)
        np.testing.assert_allclose(legs, np.sort(wanted["policy"]), rtol=near)
    if {"mu", "old"} <= recorded:
        gaps = [a - b for r in world.rollouts for a, b in zip(r.old, r.mu, strict=True)]
        assert found.summary.mismatch is not None
        assert found.summary.mismatch.kl_sequence == pytest.approx(
            -sum(gaps) / len(world.rollouts), abs=rounding("float32", 40, 2 * largest)
        )
        if name != "tod" or reading.gaps:
            assert found.summary.mismatch.tokens == len(gaps)
            assert found.summary.mismatch.k3 == pytest.approx(
                sum(math.exp(g) - 1 - g for g in gaps) / len(gaps),
                abs=rounding("float32", 1, 2 * largest),
            )
    else:
        assert found.summary.mismatch is None
        assert any(item.what == "mismatch" for item in found.cannot)
    assert found.to_dict()["target"]["tilts"] == [{"utility": main, "eta": 1.5}]


def test_text_of_a_context_is_its_own(case: Any) -> None:
    reading, name, _, _, main, world = case
    if name in ("skyrl", "tinker", "open-instruct"):
        return
    at = [len(reading.contexts) - 1, 0]
    texts = reading.texts(at)
    assert list(texts) == at
    for context in at:
        rows = slice(*reading.contexts.offsets[context : context + 2].tolist())
        step = int(reading.labels.step[context])
        for text, value in zip(texts[context], reading.utilities(main)[rows], strict=True):
            source = next(
                r
                for r in world.of_step(step)
                if r.completion in text.completion and r.prompt in text.prompt
            )
            assert source.reward == pytest.approx(value)
        assert len({text.prompt for text in texts[context]}) == 1
        assert len({text.completion for text in texts[context]}) == world.k


def test_holds_scalars_only(case: Any) -> None:
    reading = case[0]
    arrays = [reading.file, reading.row, reading.labels.length, reading.labels.answer, reading.lag]
    arrays += [*reading.utility.values(), reading.log_mu, *reading.log_anchor.values()]
    held = sum(a.nbytes for a in arrays if a is not None)
    assert held <= 100 * len(reading)
    assert reading.labels.prompt is None
    assert reading.labels.completion is None


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_read_alike(writers: Any, world: Any, tmp_path: Path, suffix: str) -> None:
    import gzip

    import zstandard

    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
    for writer, pattern in (
        ("write_verl", "*.jsonl"),
        ("write_slime", "*/*.pt"),
        ("write_skyrl", "*/*.pkl"),
    ):
        root = getattr(writers, writer)(world, tmp_path / writer)
        plain = read(root)
        for path in list(root.glob(pattern)):
            path.with_name(path.name + suffix).write_bytes(pack(path.read_bytes()))
            path.unlink()
        packed = read(root)
        main = next(iter(plain.utility))
        np.testing.assert_array_equal(packed.utilities(main), plain.utilities(main))


def test_steps_and_globs_select(writers: Any, world: Any, tmp_path: Path) -> None:
    root = writers.write_verl(world, tmp_path / "dump")
    assert read(root, steps="2:").source.steps == (2, 3)
    assert read(root, steps=":1").source.steps == (1, 1)
    assert read(root, steps="2").source.steps == (2, 2)
    assert read(f"{root}/[12].jsonl").source.steps == (1, 2)
    assert read([root / "3.jsonl", root / "1.jsonl"]).labels.step.tolist() == [1] * 6 + [3] * 6


def test_group_by_context_joins_steps(writers: Any, world: Any, tmp_path: Path) -> None:
    root = writers.write_open_instruct(world, tmp_path / "dump")
    joined = read(root, group_by="context")
    assert joined.contexts.sizes.tolist() == [12] * 6
    assert joined.labels.step.tolist() == [1] * 6


def test_mapping_names_any_columns(writers: Any, world: Any, tmp_path: Path) -> None:
    rows = [
        {"q": f"{r.step}-{r.group}", "it": r.step, "r": r.reward, "lp": sum(r.mu), "text": r.prompt}
        for r in world.rollouts
    ]
    path = writers.lines(tmp_path / "mine.jsonl", rows)
    roles = {"utility": "r", "context": "q", "step": "it", "log_mu": "lp"}
    reading = read(path, mapping=roles)
    assert reading.source.format == "mapping"
    assert reading.source.tier == "C"
    assert reading.contexts.sizes.tolist() == [4] * 18
    by_text = read(path, mapping={"utility": "r", "prompt": "text"})
    assert by_text.contexts.sizes.tolist() == [4] * 18
    import polars as pl

    pl.DataFrame(rows).write_parquet(tmp_path / "mine.parquet")
    other = read(tmp_path / "mine.parquet", mapping=roles)
    np.testing.assert_array_equal(other.utilities("r"), reading.utilities("r"))
    np.testing.assert_allclose(other.log_mu, reading.log_mu)
