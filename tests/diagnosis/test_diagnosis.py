"""What a diagnosis says of planted cases, and that every null has its reason."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest

from tod.base import SpecError
from tod.diagnosis import diagnose, parse_target
from tod.formats import read
from tod.targets import Target
from tolerance import chance, of_weights

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/diagnosis-1.schema.json").read_text())


def save(path: Path, columns: dict[str, Any], k: int) -> Path:
    n = len(next(iter(columns.values())))
    frame = {"step": np.ones(n, dtype=int), "context": [f"c{i // k}" for i in range(n)]}
    frame |= {"candidate": np.arange(n) % k, "prompt": [f"p{i // k}" for i in range(n)]}
    frame["completion"] = [f"a{i}" for i in range(n)]
    pl.DataFrame(frame | columns).write_parquet(path / "rollouts.parquet")
    return path / "rollouts.parquet"


def world(rng: np.random.Generator, contexts: int = 128, k: int = 16) -> tuple[int, Any, Any]:
    n = contexts * k
    return n, rng.normal(size=n), -20 - rng.gamma(4.0, 2.0, size=n)


def whys(found: Any) -> str:
    return " | ".join(reason.why for reason in found.regime.reasons)


def test_positive_control_is_swap_stable(tmp_path: Path, rng: np.random.Generator) -> None:
    n, u, mu = world(rng)
    shift = 0.01 * rng.normal(size=n)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": mu + shift}, 16)
    found = diagnose(read(path), eta=0.25)
    assert found.regime.verdict == "swap_stable", whys(found)
    assert found.regime.reasons == ()


def test_assumed_target_is_never_stable_and_shows_intervals(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    _, u, mu = world(rng)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": mu - 1e-4}, 16)
    found = diagnose(read(path))
    assert found.sourced is not None
    assert found.sourced.source == "assumed"
    assert found.regime.verdict != "swap_stable"
    assert "assumed" in whys(found)
    parts = found.regime.eta_intervals
    assert parts[0].eta[0] == 0
    assert len(parts) >= 2
    assert parts[0].verdict == "swap_stable"
    assert "swap_stable" not in {part.verdict for part in parts[1:]}


@pytest.mark.parametrize("count", [1, 6])
def test_intervals_are_the_verdicts_of_the_declared(
    tmp_path: Path, rng: np.random.Generator, count: int
) -> None:
    """Diagnosed with an eta inside an interval, the file has that interval's verdict."""
    n, u, mu = world(rng, contexts=240)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": mu - 1e-4}, 16)
    steps = np.repeat(np.arange(count), n // count)
    u = u * (1 + steps / count)
    frame = pl.read_parquet(path).with_columns(step=pl.lit(steps), **{"utility.r": pl.lit(u)})
    frame.write_parquet(path)
    parts = diagnose(read(path)).regime.eta_intervals
    assert [p.verdict for p in parts][:2] == ["swap_stable", "transition"]
    for part in parts:
        for share in (0.02, 0.5, 0.98):
            eta = (1 - share) * part.eta[0] + share * part.eta[1]
            assert diagnose(read(path), eta=eta).regime.verdict == part.verdict


def test_rare_binary_reward_is_not_stable(tmp_path: Path, rng: np.random.Generator) -> None:
    n, _, mu = world(rng, contexts=256)
    u = (rng.random(n) < 0.01).astype(float)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": mu}, 16)
    found = diagnose(read(path), eta=8.0)
    assert found.regime.verdict != "swap_stable"
    assert "target/proposal: the median prompt's ESS_rel is" in whys(found)
    assert found.summary.contexts.all_fail > 128


def test_all_fail_is_undetermined(tmp_path: Path, rng: np.random.Generator) -> None:
    n, _, mu = world(rng)
    path = save(tmp_path, {"utility.r": np.zeros(n), "log_mu": mu, "log_policy": mu}, 16)
    found = diagnose(read(path), eta=1.0)
    assert found.regime.verdict == "undetermined"
    assert found.summary.ess_rel.median is None
    assert any(item.what == "ess_rel" for item in found.cannot)


def test_far_start_is_caught_by_the_third_leg(tmp_path: Path, rng: np.random.Generator) -> None:
    """μ = q* (expert data), π = b: ESS(q*/μ) reads 1 and the policy is elsewhere."""
    _, u, base = world(rng)
    eta = 3.0
    columns = {"utility.r": u, "log_mu": base + eta * u - 8.0, "log_ref": base, "log_policy": base}
    path = save(tmp_path, columns, 16)
    target = Target.parse({"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": eta}]})
    found = diagnose(read(path), target)
    assert found.summary.ess_rel.median == pytest.approx(1.0)
    assert found.regime.verdict == "operator_dominated"
    assert "policy/proposal" in whys(found)
    assert "target/policy" in whys(found)


def test_missed_mode_is_caught_by_mean_rho(tmp_path: Path, rng: np.random.Generator) -> None:
    """μ never draws 30 % of π: every weight looks fine, mean ρ does not."""
    n, u, mu = world(rng)
    policy = mu + np.log(0.7)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": policy}, 16)
    noisy = policy + 0.05 * rng.normal(size=n) - 0.00125
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": noisy}, 16)
    found = diagnose(read(path), eta=0.25)
    assert found.summary.overlap.minimum > 0.9
    assert found.regime.verdict != "swap_stable"
    assert "mean rho" in whys(found)


def test_three_candidates_have_no_fourth_moment(tmp_path: Path, rng: np.random.Generator) -> None:
    _, u, mu = world(rng, k=3)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": mu - 1e-4}, 3)
    found = diagnose(read(path), eta=0.25)
    assert found.regime.verdict == "undetermined"
    assert "fewer than 4 rollouts a prompt" in whys(found)


def test_stale_proposal_is_caught(tmp_path: Path, rng: np.random.Generator) -> None:
    n, u, mu = world(rng)
    policy = np.minimum(mu + 1.5 * rng.normal(size=n) - 1.1, 0)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": policy}, 16)
    found = diagnose(read(path), eta=0.25)
    assert found.regime.verdict != "swap_stable"
    assert "policy/proposal" in whys(found)


def test_target_whose_anchor_is_not_recorded(tmp_path: Path, rng: np.random.Generator) -> None:
    _, u, mu = world(rng)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": mu - 0.01}, 16)
    target = Target.parse({"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": 1.0}]})
    found = diagnose(read(path), target)
    data = found.to_dict()
    assert data["ess_rel"]["median"] is None
    assert data["overlap"]["policy_proposal"] == pytest.approx(1.0)
    assert data["feasible"] is None
    assert any("'ref'" in item["why"] for item in data["cannot"])
    jsonschema.validate(data, SCHEMA)
    remedies = [reason.remedy for reason in found.regime.reasons]
    assert any("give a log_ref column" in remedy for remedy in remedies)
    assert not found.summary.overlap.q10.keys() - {"policy_proposal"}


def test_feasible_eta_keeps_the_median(tmp_path: Path, rng: np.random.Generator) -> None:
    _, u, mu = world(rng)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu}, 16)
    block = diagnose(read(path), eta=1.0).feasible
    limit = block["at_k"]["eta_max"]
    below = diagnose(read(path), eta=limit * 0.999).summary.ess_rel.median
    above = diagnose(read(path), eta=limit * 1.001).summary.ess_rel.median
    assert above < 0.5 <= below
    assert block["safe"] < block["eta_max"] < block["high"]
    assert block["method"] == "weight_moments"


def test_the_feasible_eta_is_the_populations(tmp_path: Path, rng: np.random.Generator) -> None:
    """Normal rewards: √(ln 2)/σ, where K = 8 itself reads half as much again."""
    u = rng.normal(size=1000 * 8)
    path = save(tmp_path, {"utility.r": u, "log_mu": np.full(len(u), -9.0)}, 8)
    block = diagnose(read(path), eta=1.0).feasible
    assert block["safe"] < np.sqrt(np.log(2)) < block["high"]
    assert block["at_k"]["eta_max"] > block["high"]


def test_a_declared_range_guarantees_an_eta(tmp_path: Path, rng: np.random.Generator) -> None:
    u = (rng.random(40 * 8) < 0.3).astype(float)
    path = save(tmp_path, {"utility.r": u, "log_mu": np.full(len(u), -9.0)}, 8)
    found = diagnose(read(path), eta=1.0, on_policy=True, reward_range={"": (0, 1)})
    assert found.summary.population is not None
    sech2 = 1 / np.cosh(0.5) ** 2
    assert found.summary.population["target_proposal"].bound == pytest.approx(sech2)
    assert found.feasible["guaranteed"] == pytest.approx(2 * np.log(1 + np.sqrt(2)))
    with pytest.raises(SpecError, match="lie outside"):
        diagnose(read(path), eta=1.0, reward_range={"r": (0, 0.9)})


def test_feasible_eta_when_the_anchor_is_not_the_proposal(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    _, u, mu = world(rng)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_ref": mu - 0.3 * np.abs(u)}, 16)

    def target(eta: float) -> Target:
        return Target.parse({"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": eta}]})

    block = diagnose(read(path), target(0.5)).feasible
    limit = block["eta_max"]
    assert (block["method"], block["safe"], block["at_k"]["eta_max"]) == ("sample", None, limit)
    below = diagnose(read(path), target(limit * 0.99)).summary.ess_rel.median
    above = diagnose(read(path), target(limit * 1.01)).summary.ess_rel.median
    assert above < 0.5 <= below


@pytest.mark.parametrize(
    "writer", ["write_verl", "write_skyrl", "write_prime", "write_tod", "write_tinker"]
)
def test_dictionary_is_of_the_published_schema(writers: Any, tmp_path: Path, writer: str) -> None:
    found = diagnose(read(getattr(writers, writer)(writers.make_world(), tmp_path)))
    data = found.to_dict()
    jsonschema.validate(data, SCHEMA)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert len(data["trend"]) == 3
    assert data["source"]["steps"] == [1, 3]


def test_schema_has_every_key_of_the_contract() -> None:
    example = {
        "schema", "source", "target", "contexts", "ess_rel", "tails", "overlap", "coverage",
        "mismatch", "drift", "activation", "entropy", "regime", "feasible", "cannot",
        "worst_contexts", "trend",
    }  # fmt: skip
    assert example <= set(SCHEMA["required"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": "tod.diagnosis/1"}, SCHEMA)


def nulls(data: Any, path: str = "") -> set[str]:
    """Dotted paths of every null."""
    if data is None:
        return {path}
    if isinstance(data, dict):
        return set().union(*(nulls(v, f"{path}.{k}".lstrip(".")) for k, v in data.items()), set())
    return set()


@pytest.mark.parametrize(("far", "attained"), [(0.0, "yes"), (3.0, "never")])
def test_contexts_that_no_eta_saves_count_against_it(
    far: float, attained: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    n, u, mu = world(rng, contexts=60)
    gap = far * rng.normal(size=n) * np.repeat(rng.random(60) < 0.6, 16)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_ref": mu + np.minimum(gap, 3.0)}, 16)
    target = {"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": 0.2}]}
    found = diagnose(read(path), Target.parse(target, "target"), ess_target=0.7).feasible
    assert found is not None
    assert found["attained"] == attained

    def median(eta: float) -> float:
        w = np.exp(np.minimum(gap, 3.0) + eta * u).reshape(60, 16)
        rel = w.sum(1) ** 2 / (16 * (w**2).sum(1))
        return float(np.quantile(rel, 0.5, method="inverted_cdf"))

    grid, step = np.linspace(0, 8, 4000, retstep=True)
    good = [eta for eta in grid if median(eta) >= 0.7]
    assert bool(good) == (attained == "yes")
    if good:  # b = μ: the population's e^{-eta²}, and not what these 16 rollouts keep
        true = math.sqrt(-math.log(0.7))
        assert found["eta_max"] == pytest.approx(true, abs=chance(true, 60))
        assert max(good) > true + step


def test_every_step_has_its_own_drift_and_entropy(tmp_path: Path, rng: np.random.Generator) -> None:
    n, u, mu = world(rng)
    step = np.arange(n) * 4 // n
    columns = {"utility.r": u, "log_mu": mu, "log_ref": mu - 0.5 * step, "log_old": mu - 1e-3}
    path = save(tmp_path, {**columns, "length": 10 + step}, 16)
    pl.read_parquet(path).with_columns(step=step).write_parquet(path)
    found = diagnose(read(path), eta=1.0)
    for at, summary in found.summaries.items():
        here = step == at
        # at step 0 the policy is below the reference everywhere: the estimate is that of no KL
        assert summary.drift.ref == (pytest.approx(0.5 * at - 1e-3) if at else None)
        assert summary.entropy == pytest.approx(-mu[here].sum() / (n / 4 * (10 + at)))
        assert summary.mismatch is not None
        assert summary.mismatch.kl_sequence == pytest.approx(1e-3)


def test_feasible_eta_is_of_the_utility_whatever_a_controller_turned(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    n, u, mu = world(rng)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu}, 16)
    frame = pl.read_parquet(path)
    frame.with_columns(step=np.arange(n) * 4 // n).write_parquet(path)
    reading = read(path)
    target = {"anchor": {"mu": 1.0}, "tilts": [{"utility": "r", "eta": 1.0}]}
    knobs = {step: {"eta": 0.5 * (step + 1)} for step in range(4)}
    run = replace(reading.source, target=target, knobs=knobs)
    turned = diagnose(replace(reading, source=run)).feasible
    assert turned is not None
    assert turned["eta_max"] == pytest.approx(diagnose(reading, eta=1.0).feasible["eta_max"])  # type: ignore[index]


@pytest.mark.parametrize("writer", ["write_verl", "write_nemo", "write_skyrl", "write_tinker"])
def test_every_null_has_its_reason(writers: Any, tmp_path: Path, writer: str) -> None:
    found = diagnose(read(getattr(writers, writer)(writers.make_world(), tmp_path)), eta=1.0)
    data = found.to_dict()
    told = {item["what"] for item in data["cannot"]}
    blocks = ("ess_rel", "tails", "overlap", "coverage", "mismatch", "staleness", "drift")
    blocks += ("activation", "entropy", "feasible")
    for block in blocks:
        for path in nulls(data[block], block):
            whole = path.split(".")[0]
            known = {path, whole, path.removesuffix("_token")}
            known |= {"overlap.target_policy"} if path == "overlap.carried_by" else set()
            known |= {"coverage.mean_rho"} if path.startswith("coverage.mean_rho_") else set()
            assert known & told, path


def test_worst_contexts_have_their_prompt(tmp_path: Path, rng: np.random.Generator) -> None:
    _, u, _ = world(rng)
    u[5 * 16] = 40.0
    found = diagnose(read(save(tmp_path, {"utility.r": u}, 16)), eta=1.0, worst=3)
    first = found.to_dict()["worst_contexts"][0]
    assert first["id"] == "c5"
    assert first["prompt"] == "p5"
    assert first["ess_rel"] == pytest.approx(
        1 / 16, rel=16 * 2 * np.exp(-30.0)
    )  # the others, over 30 nats away
    assert len(found.worst) == 3


def test_per_context_table_has_the_contract_columns(writers: Any, tmp_path: Path) -> None:
    found = diagnose(read(writers.write_verl(writers.make_world(), tmp_path)))
    found.write_contexts(tmp_path / "contexts.parquet")
    table = pl.read_parquet(tmp_path / "contexts.parquet")
    assert table.columns == [
        "step", "context", "k", "ess", "ess_rel", "max_weight", "top_mass", "log_w_variance",
        "log_z", "utility_mean", "utility_max", "class",
    ]  # fmt: skip
    assert len(table) == 18


def test_permuting_rows_changes_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    _, u, mu = world(rng, contexts=40, k=5)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "log_policy": mu - 0.1 * u**2}, 5)
    plain = diagnose(read(path), eta=1.0).to_dict()
    pl.read_parquet(path).sample(fraction=1.0, shuffle=True, seed=3).write_parquet(path)
    mixed = diagnose(read(path), eta=1.0).to_dict()
    for block in ("ess_rel", "tails", "overlap"):
        flat = lambda d: [v for v in d.values() if isinstance(v, float)]  # noqa: E731
        np.testing.assert_allclose(
            flat(mixed[block]), flat(plain[block]), rtol=of_weights("float64", 5, 30)
        )


def test_eta_of_a_target_without_tilt_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    _, u, mu = world(rng)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu}, 16)
    with pytest.raises(SpecError, match="no tilt"):
        diagnose(read(path), Target.parse({"anchor": {"mu": 1.0}}), eta=2.0)


def test_run_left_the_stable_region(tmp_path: Path, rng: np.random.Generator) -> None:
    parts = []
    for step in range(1, 31):
        spread = 0.6 if step < 18 else 2.5
        n = 40 * 16
        parts.append(
            pl.DataFrame(
                {"step": [step] * n, "context": [f"c{i // 16}" for i in range(n)]}
                | {"utility.r": spread * rng.normal(size=n)}
            )
        )
    pl.concat(parts).write_parquet(tmp_path / "x.parquet")
    found = diagnose(read(tmp_path / "x.parquet"), eta=1.0)
    assert len(found.trend) == 30
    (leg, fragile) = found.changes
    assert leg.startswith("target/proposal left the stable region at step 18")
    assert fragile.startswith("ess_rel.q10 left the stable region at step 18")


def test_a_policy_that_left_its_proposal_is_a_change(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """ESS_rel never moves; the policy does, at step 140 of 200."""
    steps = np.repeat(np.arange(1, 201), 8 * 16)
    n = len(steps)
    spread = np.where(steps < 140, 0.05, 1.5)
    mu = rng.normal(-40, 5, size=n)
    columns = {"step": steps, "context": np.arange(n) // 16 % 8, "log_mu": mu}
    columns["utility.r"] = rng.random(n)
    columns["log_policy"] = mu + spread * rng.normal(size=n) - spread**2 / 2
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet")
    found = diagnose(read(tmp_path / "x.parquet"), eta=1.0)
    changes = found.changes
    assert found.pool is not None
    assert (found.pool.first, found.pool.policy_first) == (1, 140)
    words = {item.leg: item.word for item in found.regime.legs}
    assert words["policy_proposal"] == "dominated"
    parts = diagnose(read(tmp_path / "x.parquet")).regime.eta_intervals
    assert parts
    assert "swap_stable" not in {part.verdict for part in parts}
    start = "left the stable region at step 140"
    assert [c.split(" (")[0] for c in changes] == [
        f"policy/proposal {start}",
        f"target/policy {start}",
    ]


def test_unequal_k_is_read_as_one_population(tmp_path: Path, rng: np.random.Generator) -> None:
    """The sample medians are of one K; the population is of all prompts: e^{-0.09} at any K."""
    sizes = rng.permutation([16] * 60 + [64] * 40)
    n = int(sizes.sum())
    columns = {"utility.r": rng.normal(size=n), "log_mu": np.full(n, -9.0)}
    frame = {"step": np.ones(n, dtype=int), "context": np.repeat(np.arange(100), sizes)}
    path = tmp_path / "rollouts.parquet"
    pl.DataFrame(frame | columns | {"log_policy": columns["log_mu"]}).write_parquet(path)
    found = diagnose(read(path), eta=0.3)
    assert found.summary.overlap.k == 16
    assert found.summary.population is not None
    first = found.summary.population["target_proposal"]
    assert first.prompts == 100
    assert first.median is not None
    low, high = first.median.low, first.median.high
    assert low is not None
    assert high is not None
    assert low < math.exp(-0.09) < high
    assert found.regime.verdict == "swap_stable"


@pytest.mark.parametrize("anchor", ["log_ref", None])
def test_many_steps_read_every_row_twice_at_most(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, anchor: str | None
) -> None:
    """Once for its step and once for the whole: a step that reads all rows is quadratic."""
    n, u, mu = world(rng, contexts=60)
    columns = {"utility.r": u, "log_mu": mu, "log_policy": mu - 1e-3}
    if anchor:
        columns[anchor] = mu - 0.1
    path = save(tmp_path, columns, 16)
    pl.read_parquet(path).with_columns(step=pl.int_range(n) // 32).write_parquet(path)
    seen = []
    measuring, name = sys.modules["tod.procedure.examine"], "drift_and_reasons"
    drift = getattr(measuring, name)
    monkeypatch.setattr(measuring, name, lambda p, *rest: (seen.append(len(p)), drift(p, *rest))[1])
    assert len(diagnose(read(path), eta=1.0).summaries) == 30
    assert sum(seen) == (2 * n if anchor else 0)


def test_on_policy_is_not_declared_of_stale_candidates(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    n, u, mu = world(rng)
    lag = np.repeat(np.arange(n // 16) % 3, 16)
    path = save(tmp_path, {"utility.r": u, "log_mu": mu, "lag": lag}, 16)
    with pytest.raises(SpecError, match="up to 2 versions behind"):
        diagnose(read(path), eta=0.25, on_policy=True)


@pytest.mark.parametrize("scale", [1.0, 1e20, 1e300])
def test_a_huge_utility_does_not_hide_the_anchor(
    scale: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The anchor alone keeps the median under the target: no sharpness of any scale helps."""
    n, u, mu = world(rng, contexts=40)
    gap = 3 * rng.normal(size=n)
    columns = {"utility.r": u * scale, "log_mu": mu - 20, "log_ref": mu - 20 + gap}
    target = {"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": 1.0}]}
    found = diagnose(read(save(tmp_path, columns, 16)), Target.parse(target, "target")).feasible
    assert found is not None
    assert found["attained"] == "never"


def test_a_selectivity_is_weighed_and_has_no_single_eta(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    n, _, mu = world(rng)
    passed = (rng.random(n) < 0.3).astype(float)
    columns = {"utility.correct": passed, "log_mu": mu, "log_policy": mu}
    target = parse_target(
        {"anchor": {"mu": 1.0}, "selectivity": {"utility": "correct", "mass": 0.8}}
    )
    found = diagnose(read(save(tmp_path, columns, 16)), target)
    p = passed.reshape(-1, 16).mean(1)
    mixed = (p > 0) & (p < 1)
    rel = 1 / (np.maximum(0.8, p) ** 2 / p + (1 - np.maximum(0.8, p)) ** 2 / (1 - p))[mixed]
    np.testing.assert_allclose(
        found.diagnostics.ess_rel[found.diagnostics.informative & mixed].max(),
        rel.max(),
        rtol=of_weights("float64", 16, 10),
    )
    data = found.to_dict()
    jsonschema.validate(data, SCHEMA)
    assert data["target"]["tilts"] == [{"utility": "correct", "eta": None}]
    assert data["feasible"]["attained"] is None
    assert "selectivity" in next(c.why for c in found.cannot if c.what == "feasible.eta_max")
