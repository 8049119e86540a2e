"""A run of many steps is judged by its stretches as by its steps, and by its own pool."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tod.diagnosis import diagnose, judged
from tod.diagnosis.judged import Judged
from tod.formats import read
from tod.procedure import examine, steps_of
from tod.regimes import Thresholds
from tod.targets import Target
from tolerance import double

STEPS, PROMPTS, K = 120, 16, 8


def save(path: Path, reward: Any, **columns: Any) -> Path:
    n = STEPS * PROMPTS * K
    frame = {
        "step": np.repeat(np.arange(1, STEPS + 1), PROMPTS * K),
        "context": np.arange(n) // K,
        "utility.r": reward,
        "log_mu": np.full(n, -20.0),
    }
    pl.DataFrame(frame | columns).write_parquet(path / "x.parquet")
    return path / "x.parquet"


def passes(rng: np.random.Generator, until: int = STEPS) -> Any:
    """0/1 rewards; from the step after ``until`` on every rollout fails."""
    rate = np.repeat(rng.beta(1.5, 2.0, STEPS * PROMPTS), K)
    rate[until * PROMPTS * K :] = 0.0
    return (rng.random(len(rate)) < rate).astype(float)


@pytest.mark.parametrize("eta", [None, 1.0])
def test_a_long_run_with_a_dated_fault_has_two_pools(
    tmp_path: Path, rng: np.random.Generator, eta: float | None
) -> None:
    """More steps than stretches: the fault's step begins a stretch, and nothing falls over it."""
    found = diagnose(read(save(tmp_path, passes(rng, 79))), eta=eta, on_policy=True)
    assert found.findings.last_change == 80
    assert found.pool is not None
    assert (found.pool.first, found.pool.last) == (80, STEPS)
    assert found.regime.legs[0].word == "not_readable"
    assert found.before is not None
    assert found.before.legs[0].ess is not None
    assert found.before.legs[0].ess.prompts == found.summary.contexts.informative


def test_a_verdict_counts_the_groups_of_its_own_pool(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Groups without variance after a change do not make the steps before it blind."""
    found = diagnose(read(save(tmp_path, passes(rng, 40))), eta=0.2, on_policy=True)
    assert found.summary.contexts.zero_information > found.summary.contexts.informative
    assert found.before is not None
    assert found.before.verdict == "swap_stable"
    assert "zero_information" not in {reason.kind for reason in found.before.reasons}


@pytest.mark.parametrize("many", [1, 7, STEPS])
def test_the_number_of_stretches_changes_no_verdict(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    spread = np.where(np.arange(STEPS * PROMPTS * K) < 70 * PROMPTS * K, 0.05, 1.2)
    log_policy = -20.0 + spread * rng.normal(size=len(spread)) - spread**2 / 2
    path = save(tmp_path, passes(rng), log_policy=log_policy)
    usual = diagnose(read(path), eta=1.0)
    monkeypatch.setattr(judged, "STRETCHES", many)
    other = diagnose(read(path), eta=1.0)
    assert usual.pool is not None
    assert other.pool is not None
    assert other.pool.to_dict() == usual.pool.to_dict()
    assert usual.pool.policy_first > usual.pool.first
    assert other.regime.verdict == usual.regime.verdict
    for one, two in zip(other.regime.legs, usual.regime.legs, strict=True):
        assert (one.leg, one.word) == (two.leg, two.word)


def test_no_stretch_holds_two_sharpnesses(tmp_path: Path, rng: np.random.Generator) -> None:
    """b ≠ μ: moments of log w are of one sharpness."""
    n = STEPS * PROMPTS * K
    reading = read(save(tmp_path, rng.normal(size=n), log_ref=-20.0 + 0.2 * rng.normal(size=n)))
    target = Target.parse({"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": 0.1}]})
    knobs = {step: {"eta": 0.1 if step < 31 else 0.3} for step in range(1, STEPS + 1)}
    examined = examine(target, reading, knobs=knobs)
    parts = {step: examined.part(at) for step, at in steps_of(reading)}
    found = Judged(examined, None, parts, Thresholds())
    assert any(steps[0] == 31 for steps in found.stretches)
    assert len(found.stretches) < STEPS
    assert {item.eta for item in found.statistics.values()} == {0.1, 0.3}
    assert found.pool is not None
    assert found.pool.first == 31
    alone = replace(found, steps={s: part for s, part in parts.items() if s >= 31})
    assert alone.pool is not None
    one, two = (x.pool.population()["target_proposal"].median for x in (alone, found))
    # sums over the same groups, in stretches of another length
    near = double(STEPS * PROMPTS * K, 64)
    assert (one.low, one.value, one.high) == pytest.approx((two.low, two.value, two.high), rel=near)
