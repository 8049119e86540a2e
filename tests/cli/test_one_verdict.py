"""A run has one verdict: on the terminal, in JSON, on the report, in the grid, in a comparison."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from tod import show
from tod.base import Groups
from tod.cli.evidence import positions, regime_on
from tod.cli.main import app
from tod.configurations import side
from tod.diagnosis import verdict_of_run
from tod.population import leg_statistics
from tod.procedure import Procedure
from tod.regimes import Thresholds
from tod.runs import Manifest, RunDirectory, StepRecord
from tod.show.page import run_page
from tod.show.words import VERDICTS

PROMPTS, K, STEPS, ETA, DEAD = 48, 8, 12, 1.0, 9
RECIPE = {
    "target": {"kind": "verifier", "eta": ETA, "utility": "correct"},
    "operator": {"action": {"kind": "weighted_regression"}},
}


def write_run(path: Path, *, dead_from: int | None = None, rows: bool = True) -> Path:
    """0/1 rewards drawn by the policy itself; from ``dead_from`` on every answer fails."""
    rng = np.random.default_rng(0)
    run = RunDirectory.create(path, Manifest.of("r", RECIPE, {"seed": 0}))
    groups = Groups.equal(PROMPTS, K)
    for step in range(1, STEPS + 1):
        passed = rng.random((PROMPTS, K)) < rng.beta(2, 2, (PROMPTS, 1))
        reward = np.where(dead_from is not None and step >= dead_from, 0.0, passed).ravel()
        statistics = leg_statistics(
            groups, log_w=reward, anchored=True, eta=ETA, log_r=np.zeros(groups.total)
        )
        record = StepRecord(
            step, {"correct": float(reward.mean())}, statistics=statistics.to_dict()
        )
        written = record.to_dict()
        written["contexts"] |= {"total": PROMPTS, "informative": PROMPTS}
        run.steps.append(written)
        if rows:
            run.write_rollouts(step, columns(step, reward))
    run.sync()
    return path


def columns(step: int, reward: Any) -> dict[str, Any]:
    where = np.arange(PROMPTS * K)
    text = [f"answer {'x' * (i % 5)} {step:02d}-{i:03d}" for i in where]
    log_mu = -5.0 - (where % 7) / 10
    return {
        "context": np.array([f"c{step}-{i // K}" for i in where], dtype=object),
        "candidate": where % K,
        "prompt": np.array([f"question {step}-{i // K}" for i in where], dtype=object),
        "completion": np.array(text, dtype=object),
        "utility.correct": reward,
        "log_mu": log_mu,
        "log_old": log_mu,
        "log_ref": log_mu,
        "log_policy": log_mu,
    }


def on_screen(path: Path) -> str:
    result = CliRunner().invoke(app, ["diagnose", str(path)], catch_exceptions=False)
    lines = result.output.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    return " ".join(" ".join(lines).split()).partition("Regime at eta = 1")[2]


def in_json(path: Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["diagnose", str(path), "--json", "-"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def everywhere(path: Path, grid_of: Path) -> set[str]:
    """The verdict as every screen has it."""
    one = side(Procedure.parse(RECIPE))
    (position,) = positions(grid_of).values()
    view = show.load(path)
    compared, _ = regime_on(path, one, one)
    badge = run_page.page([view]).partition('class="badge ')[2].partition(">")[2].partition("<")[0]
    assert badge == VERDICTS[view.judged["regime"]["verdict"]].name
    return {
        in_json(path)["regime"]["verdict"],
        view.judged["regime"]["verdict"],
        position.verdict,
        compared.verdict if compared is not None else "",
    }


def test_a_run_without_a_finding_is_one_pool(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs" / "well")
    assert everywhere(path, tmp_path / "runs") == {"swap_stable"}
    data, view = in_json(path), show.load(path)
    assert data["pool"] == {"first": 1, "last": STEPS, "policy_first": 1}
    assert view.judged == {name: data[name] for name in ("regime", "regime_before", "pool")}
    said = on_screen(path)
    assert said.startswith(": swap-stable; target/proposal stable: 0.8")
    assert f"(steps 1 to {STEPS} pooled)" in said


def test_a_dated_finding_starts_the_pool(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs" / "dead", dead_from=DEAD)
    assert everywhere(path, tmp_path / "runs") == {"undetermined"}
    data, view = in_json(path), show.load(path)
    assert (data["pool"]["first"], data["regime_before"]["steps"]) == (DEAD, [1, DEAD - 1])
    assert data["regime_before"]["verdict"] == "swap_stable"
    assert view.judged == {name: data[name] for name in ("regime", "regime_before", "pool")}
    said = on_screen(path)
    assert "not readable" in said
    assert f"Steps 1-{DEAD - 1}: target/proposal stable: 0.8" in said
    page = run_page.page([view])
    assert f"steps {DEAD} to {STEPS} as one pool" in page
    assert f"Steps 1-{DEAD - 1}: target/proposal stable" in page


def test_counts_of_the_records_say_what_the_rows_say(tmp_path: Path) -> None:
    """Where no rollouts are kept."""
    rows = verdict_of_run(write_run(tmp_path / "rows"))
    counts = verdict_of_run(write_run(tmp_path / "counts", rows=False))
    assert counts.diagnosis is None
    assert [leg.to_dict() for leg in counts.regime.legs] == [
        leg.to_dict() for leg in rows.regime.legs
    ]
    assert counts.regime.verdict == rows.regime.verdict


def test_other_bounds_judge_the_same_pool_again(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    strict = Thresholds(overlap_stable=0.99, overlap_dominated=0.98)
    view = show.load(path, thresholds=strict)
    assert view.judged["regime"]["verdict"] == "operator_dominated"
    assert view.judged["regime"]["verdict"] == verdict_of_run(path, strict).regime.verdict
    assert view.judged["regime"]["thresholds"] == strict.model_dump()


def test_rollouts_that_cannot_be_read_leave_the_records(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    for part in (path / "rollouts").iterdir():
        part.write_bytes(b"torn")
    found = verdict_of_run(path)
    assert found.unread
    assert (found.findings, found.diagnosis) == (None, None)
    assert found.regime.legs[0].word == "stable"
