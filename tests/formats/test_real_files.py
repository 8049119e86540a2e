"""Files that the frameworks' own writers made, against what the writers were handed.

``real/given.jsonl`` holds every candidate as it was given to each writer; what a reading must say
is worked out from it in plain Python. ``real/README.md`` says how each file was made.
"""

import json
import math
import re
import shutil
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tod.base import DataError
from tod.cli.main import app
from tod.diagnosis import diagnose
from tod.formats import Reading, read
from tolerance import of_weights, rounding

REAL = Path(__file__).with_name("real")
LINES = (REAL / "given.jsonl").read_text().splitlines()
GIVEN = [SimpleNamespace(**json.loads(line)) for line in LINES]
ETA = 1.5
END = 1  # the token that ends every answer; special to some writers, plain text to others


@dataclass(frozen=True)
class Case:
    """What a reading of one folder must be."""

    format: str
    tier: str
    main: str
    recorded: tuple[str, ...] = ()
    text: bool = True
    lost: tuple[int, ...] = ()
    bf16: bool = False


CASES = {
    "verl/v1": Case("verl", "D", "score"),
    "verl/v0": Case("verl", "D", "score"),
    "verl/queue": Case("verl", "C", "score", ("mu",), text=False),
    "nemo-rl/exp_001": Case("nemo-rl", "B", "reward", ("mu", "old")),
    "nemo-rl/dynamic": Case("nemo-rl", "B", "reward", ("mu", "old")),
    "skyrl/plain": Case("skyrl", "B", "advantage", ("mu", "old", "ref"), text=False),
    "skyrl/bf16": Case("skyrl", "B", "advantage", ("mu", "old", "ref"), text=False, bf16=True),
    "skyrl/evals": Case("skyrl", "D", "score"),
    "slime": Case("slime", "A", "reward", ("mu", "old", "ref"), lost=(2,)),
    "slime/rollout_data": Case("slime", "C", "reward", ("mu",)),
    "prime-rl": Case("prime-rl", "B", "reward", ("mu", "policy")),
    "prime-rl/rollouts": Case("prime-rl", "C", "reward", ("mu",)),
    "tinker": Case("tinker", "C", "total_reward", ("mu",), text=False),
    "ms-swift": Case("ms-swift", "D", "reward"),
    "open-instruct": Case("open-instruct", "C", "reward", ("mu",), text=False),
    "areal": Case("areal", "D", "reward"),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Reading, Case]:
    return read(REAL / request.param), CASES[request.param]


def groups(case: Case) -> list[list[Any]]:
    """The given candidates by step and group, without the groups that the file must lose."""
    kept = [r for r in GIVEN if r.group not in case.lost]
    keys = sorted({(r.step, r.group) for r in kept})
    return [[r for r in kept if (r.step, r.group) == key] for key in keys]


def log_prob(r: Any, policy: str, bf16: bool) -> float:
    values = torch.tensor(getattr(r, {"policy": "old"}.get(policy, policy)), dtype=torch.float64)
    values = values.to(torch.bfloat16).double() if bf16 else values
    return sum(v for v, on in zip(values.tolist(), r.on, strict=True) if on)


def of_group(case: Case, members: list[Any]) -> list[tuple[float, ...]]:
    field = "advantage" if case.main == "advantage" else "reward"
    rows = [
        (getattr(r, field), *(log_prob(r, p, case.bf16) for p in case.recorded)) for r in members
    ]
    return sorted(rows, key=lambda row: [round(x, 4) for x in row])


def found(reading: Reading, case: Case) -> dict[int, list[list[tuple[float, ...]]]]:
    columns = [reading.utilities(case.main), *(reading.log_prob(p, "") for p in case.recorded)]
    rows = np.stack(columns, axis=1)
    by_step: dict[int, list[list[tuple[float, ...]]]] = {}
    for step, part in zip(reading.steps.tolist(), reading.contexts.split(rows), strict=True):
        members = [tuple(map(float, row)) for row in part]
        members.sort(key=lambda row: [round(x, 4) for x in row])
        by_step.setdefault(step, []).append(members)
    return by_step


def test_candidates_are_those_that_the_writer_was_handed(case: tuple[Reading, Case]) -> None:
    reading, expected = case
    assert (reading.source.format, reading.source.tier) == (expected.format, expected.tier)
    assert set(reading.recorded) == set(expected.recorded)
    assert next(iter(reading.utility)) == expected.main
    assert reading.source.rejected == 0, reading.source.rejections
    wanted = groups(expected)
    assert reading.contexts.sizes.tolist() == [4] * len(wanted)
    by_step = found(reading, expected)
    for step in (7, 8):
        mine = sorted(by_step[step])
        theirs = sorted(of_group(expected, g) for g in wanted if g[0].step == step)
        np.testing.assert_allclose(
            mine, theirs, rtol=2 * rounding("float32", 16), atol=2 * rounding("float32", 16)
        )


def test_diagnostics_are_those_of_plain_arithmetic(case: tuple[Reading, Case]) -> None:
    reading, expected = case
    result = diagnose(reading, eta=ETA)
    ess, legs, gaps = [], [], []
    policy = next((p for p in ("old", "policy") if p in expected.recorded), None)
    for members in groups(expected):
        rows = of_group(expected, members)
        w = [math.exp(ETA * row[0]) for row in rows]
        ess.append(sum(w) ** 2 / sum(x * x for x in w) / len(w))
        if policy is None:
            continue
        log_rho = [
            log_prob(r, policy, expected.bf16) - log_prob(r, "mu", expected.bf16) for r in members
        ]
        rho = [math.exp(x) for x in log_rho]
        legs.append(sum(rho) ** 2 / sum(x * x for x in rho) / len(rho))
        gaps += log_rho
    np.testing.assert_allclose(
        np.sort(result.diagnostics.ess_rel), np.sort(ess), rtol=of_weights("float32", 4, 30)
    )
    if policy is not None:
        np.testing.assert_allclose(
            np.sort(result.diagnostics.policy_proposal),
            np.sort(legs),
            rtol=of_weights("float32", 4, 30),
        )
    if "old" in expected.recorded and reading.lag is None:
        assert result.summary.mismatch is not None
        assert result.summary.mismatch.kl_sequence == pytest.approx(
            -sum(gaps) / len(gaps), abs=rounding("float32", 16, 2 * 30)
        )


def test_texts_belong_to_their_utilities(case: tuple[Reading, Case]) -> None:
    reading, expected = case
    if not expected.text:
        return
    by_words = {(r.step, *r.prompt, *r.ids[:-1]): r for r in GIVEN}
    texts = reading.texts(range(len(reading.contexts)))
    values = reading.contexts.split(reading.utilities(expected.main))
    for context, step in enumerate(reading.steps.tolist()):
        for text, value in zip(texts[context], values[context], strict=True):
            words = map(int, re.findall(r"w(\d+)", f"{text.prompt} {text.completion}"))
            r = by_words[step, *(word for word in words if word != END)]
            assert value == pytest.approx(r.reward)


@pytest.mark.parametrize("name", CASES)
def test_the_command_reads_it(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ["diagnose", str(REAL / name), "--eta", str(ETA), "--json", str(out)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert result.exit_code == 0, (result.output, result.exception)
    assert json.loads(out.read_text())["source"]["tier"] == CASES[name].tier


def test_evaluations_of_skyrl_are_read_where_no_training_input_is() -> None:
    alone = read(REAL / "skyrl/evals")
    assert alone.source.grouping == "runs"
    assert any("evaluations" in note for note in alone.source.notes)
    both = read([REAL / "skyrl/evals", REAL / "skyrl/plain"])
    assert next(iter(both.utility)) == "advantage"
    assert any("4 files of evaluations" in note for note in both.source.notes)
    assert (read(REAL / "skyrl/evals", steps="8").source.steps) == (8, 8)


def test_lag_is_the_versions_between() -> None:
    slime = read(REAL / "slime/rollout_data")
    assert slime.lag is not None
    assert slime.contexts.split(slime.lag)[0] == [0, 1, 0, 0]
    tinker = read(REAL / "tinker")
    assert tinker.lag is not None
    assert tinker.contexts.split(tinker.lag)[2] == [1] * 4
    assert tinker.contexts.split(tinker.lag)[0] == [0] * 4


def test_swift_counts_rewards_only_and_each_batch_once() -> None:
    reading = read(REAL / "ms-swift")
    assert set(reading.utility) == {"reward", "MathAccuracy", "Format"}
    assert any("logged again at a later step" in note for note in reading.source.notes)
    logged = [
        json.loads(x)["step"]
        for x in (REAL / "ms-swift/completions.jsonl").read_text().splitlines()
    ]
    assert [set(steps) for steps in logged] == [set(), {"7"}, {"8"}, {"9"}, {"8"}]


def test_prime_leaves_out_judges_and_what_was_not_scored() -> None:
    file = REAL / "prime-rl/rollouts/step_7/train/effective/traces.jsonl"
    episodes = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum(len(episode["traces"]) for episode in episodes) == 15
    assert episodes[0]["traces"][0]["rewards"]["unscored"] is None
    reading = read(REAL / "prime-rl")
    assert len(reading) == 24
    assert any("not trained" in note for note in reading.source.notes)


def test_verls_old_cache_is_named_with_the_way_out() -> None:
    with pytest.raises(DataError, match="rollout cache of verl's old trainer"):
        read(REAL / "verl/cache")


def test_slime_rewards_of_numpy_are_numbers() -> None:
    archives = [zipfile.ZipFile(path) for path in (REAL / "slime/rollout_data").glob("[78].pt")]
    for archive in archives:
        with archive:
            name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            assert archive.read(name).count(b"numpy._core.multiarray\nscalar") == 1
    reading = read(REAL / "slime/rollout_data")
    wanted = [r.reward for r in GIVEN if (r.step, r.group) == (7, 1)]
    assert reading.contexts.split(reading.utilities("reward"))[1] == wanted


def test_slime_spares_groups_that_were_not_trained_on() -> None:
    notes = read(REAL / "slime").source.notes
    assert sum("4 rollouts were not trained on" in note for note in notes) == 2


def copy_of_tinker(to: Path) -> Path:
    for summaries in (REAL / "tinker").rglob("*_rollout_summaries.jsonl"):
        place = to / summaries.relative_to(REAL / "tinker")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(summaries, place)
    return to


def test_tinker_store_that_its_daemon_still_holds(tmp_path: Path) -> None:
    root = copy_of_tinker(tmp_path / "run")
    with closing(sqlite3.connect(REAL / "tinker/run/capture.sqlite")) as store:
        script = "\n".join(store.iterdump())
    with closing(sqlite3.connect(root / "capture.sqlite")) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("PRAGMA wal_autocheckpoint=0")
        live.executescript(script)
        assert b"wire_rows" not in (root / "capture.sqlite").read_bytes()
        reading = read(root)
        assert reading.source.tier == "C"
        np.testing.assert_array_equal(reading.log_mu, read(REAL / "tinker").log_mu)


@pytest.mark.parametrize("logprobs", ["[-0.5]", None])
def test_tinker_samples_that_are_not_the_trajectorys(tmp_path: Path, logprobs: str | None) -> None:
    root = copy_of_tinker(tmp_path / "run")
    shutil.copy(REAL / "tinker/run/capture.sqlite", root / "capture.sqlite")
    with closing(sqlite3.connect(root / "capture.sqlite")) as store:
        if logprobs is None:
            store.execute("UPDATE wire_rows SET logprobs = NULL WHERE traj_idx = 2")
        else:
            store.execute(
                "INSERT INTO wire_rows (cursor, run_id, run_attempt, split, iteration, group_idx, "
                "traj_idx, purpose, sampled_tokens, logprobs) "
                "VALUES (999, 'r', 1, 'train', 7, 0, 0, 'grade', '[5]', ?)",
                (logprobs,),
            )
        store.commit()
    reading = read(root, max_rejected=0.5)
    assert reading.source.rejected == (1 if logprobs else len(GIVEN) // 4)
    kept = {(s, round(v, 6)) for s, v in zip(per_row_steps(reading), reading.log_mu, strict=True)}
    assert kept <= {(r.step, round(sum(r.mu), 6)) for r in GIVEN}


def per_row_steps(reading: Reading) -> list[int]:
    return np.repeat(reading.steps, reading.contexts.sizes).tolist()
