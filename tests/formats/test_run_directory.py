"""What a run directory adds to its rollouts: activation by step, and where its target came from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.diagnosis import diagnose
from tod.diagnosis.diagnosis import Diagnosis
from tod.diagnostics import Summary
from tod.formats import read
from tod.runs import Manifest, RunDirectory, StepRecord
from tolerance import of_weights

TARGET = {"anchor": {"mu": 1.0}, "tilts": [{"utility": "r", "eta": 2.0}]}


def run_of(path: Path, recipe: dict[str, Any], activation: dict[int, float | None]) -> Path:
    rng = np.random.default_rng(3)
    run = RunDirectory.create(path, Manifest.of("one", recipe, {}))
    for step, value in activation.items():
        mu = -5 - rng.gamma(2.0, 1.0, 320)
        run.write_rollouts(
            step,
            {
                "context": np.repeat(np.arange(40), 8),
                "candidate": np.tile(np.arange(8), 40),
                "prompt": [f"p{i}" for i in np.repeat(np.arange(40), 8)],
                "completion": ["a"] * 320,
                "utility.r": rng.random(320),
                "log_mu": mu,
                "log_policy": mu,
            },
        )
        run.record(StepRecord(step=step, utility={}, summary=Summary(activation=value)))
    run.sync()
    return path


def test_activation_is_that_of_the_steps_that_were_read(tmp_path: Path) -> None:
    root = run_of(tmp_path / "run", {"target": TARGET}, {1: 0.1, 2: 0.5, 3: None})

    def found(steps: str) -> Diagnosis:
        return diagnose(read(root, steps=steps))

    assert found("1").summary.activation == pytest.approx(0.1)
    assert found("1:3").summary.activation == pytest.approx(0.3)
    lacking = found("3")
    assert lacking.summary.activation is None
    assert any(item.what == "activation" for item in lacking.cannot)
    assert not any(item.what == "activation" for item in found("1").cannot)
    assert "activation" not in found("1").regime.missing


def test_high_activation_is_a_reason(tmp_path: Path) -> None:
    root = run_of(tmp_path / "run", {"target": TARGET}, {1: 0.6, 2: 0.6})
    reasons = diagnose(read(root)).regime.reasons
    (found,) = (reason for reason in reasons if reason.kind == "trust_region")
    assert "60%" in found.why


@pytest.mark.parametrize("source", ["declared", "located", "assumed"])
def test_the_targets_source_is_read_back(tmp_path: Path, source: str) -> None:
    """A live run of another trainer writes `target_source`; a guess lies under its own name."""
    key = "assumed_target" if source == "assumed" else "target"
    recipe = {key: TARGET, "target_source": source}
    found = diagnose(read(run_of(tmp_path / "run", recipe, {1: 0.0})))
    target = found.to_dict()["target"]
    assert target["source"] == source
    assert target["tilts"] == TARGET["tilts"]
    assumed = any("was assumed" in reason.why for reason in found.regime.reasons)
    assert assumed == (source == "assumed")


def test_our_own_recipe_declares(tmp_path: Path) -> None:
    root = run_of(tmp_path / "run", {"target": TARGET}, {1: 0.0})
    assert diagnose(read(root)).to_dict()["target"]["source"] == "declared"


def test_a_subsample_of_contexts_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tod.regimes.largest.MOST_CONTEXTS", 30)
    reading = read(run_of(tmp_path / "run", {"target": TARGET}, {1: 0.0, 2: 0.0}))
    part = diagnose(reading).to_dict()["subsample"]
    assert part == {"contexts": 30, "of": 80, "used_for": ["feasible", "regime.eta_intervals"]}
    monkeypatch.setattr("tod.regimes.largest.MOST_CONTEXTS", 80)
    assert diagnose(reading).to_dict()["subsample"] is None


def test_skyrl_advantages_stand_in_for_rewards(writers: Any, tmp_path: Path) -> None:
    """Every policy is recorded, but no utility in its own units: tier B, with a note."""
    reading = read(writers.write_skyrl(writers.make_world(), tmp_path))
    assert {"mu", "old", "ref"} <= set(reading.recorded)
    assert reading.source.tier == "B"
    assert any("stands in" in note and "tier B" in note for note in reading.source.notes)


def test_a_run_over_a_fixed_set_is_read_as_one(tmp_path: Path) -> None:
    """No μ drew the set: log w is the target's own density, its anchor not divided by any μ."""
    target = {**TARGET, "anchor": {"policy": 1.0}, "semantics": "fixed"}
    recipe = {"target": target, "operator": {"proposal": {"source": "pool", "semantics": "fixed"}}}
    reading = read(run_of(tmp_path / "run", recipe, {1: 0.0}))
    log_w = np.asarray(reading.log_anchor["policy"]) + 2 * np.asarray(reading.utility["r"])
    w = np.exp(log_w).reshape(40, 8)
    expected = w.sum(1) ** 2 / (8 * (w**2).sum(1))
    np.testing.assert_allclose(
        diagnose(reading).diagnostics.ess_rel, expected, rtol=of_weights("float64", 8, 30)
    )
