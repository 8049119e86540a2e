"""Planted faults of the trainer: the laws of their tokens, and what detectors learned from them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.tolerance import chance

from tod.base import Groups
from tod.findings import RolloutTable, Series, TrainingRun
from tod.findings.detectors.distillation import DistillationDetector
from tod.findings.detectors.preference import PreferenceDetector
from tod.findings.detectors.verifier import VerifierDetector, contradictions
from tod.findings.planted import HEALTHY, outcome, summary
from tod.findings.planted.token_gaps import ANSWERS, LENGTH, profile_of
from tod.findings.planted.trainer_faults import TRAINER_FAULTS

NEW = {"DPO as usual", "distillation that closes", "steady lag", "few failed environments",
       "advantages as configured"}  # fmt: skip


def test_every_one_is_named_and_health_is_silent():
    scenarios = [s for s in TRAINER_FAULTS if not s.name.startswith("tokens")]
    scenarios += [s for s in HEALTHY if s.name in NEW]
    said = summary(scenarios, [outcome(s, seed) for s in scenarios for seed in (0, 1)])
    assert [t.scenario.name for t in said.faults if t.named < t.runs] == []
    assert said.false == {}


def test_the_first_cause_must_be_the_planted_one():
    scenario = next(s for s in TRAINER_FAULTS if "truncates" in s.name)
    assert outcome(scenario, 0).named
    assert not outcome(replace(scenario, causes=("temperature",)), 0).named


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_tokens_follow_the_law_of_their_fault(strength):
    """Drawn from b, E e^(log a − log b) is the mass of a where b can draw: 1, or what is left."""
    tokens = ANSWERS * LENGTH
    whole = profile_of(np.random.default_rng(1), None, 0.0)
    assert whole.kind == "none"
    cut = profile_of(np.random.default_rng(2), "top_p", strength)
    p = 0.9 - 0.2 * strength
    assert p - chance(0.5, tokens) < cut.mean_ratio < 1
    assert cut.above == 0
    warm = profile_of(np.random.default_rng(3), "temperature", strength)
    # log μ is log π over T less a constant of the place, so log π grows T times as fast
    assert warm.slope < 0.9
    sums = profile_of(np.random.default_rng(4), "weights", 0.0)
    assert abs(sums.mean_ratio - 1) < chance(sums.rms * 1.5, tokens)


def test_what_failed_in_the_environment_was_not_graded():
    """Equal answers, of which one ended in a broken tool and got nothing, prove nothing."""
    groups = Groups.equal(20, 4)
    failed = np.tile([True, False, False, False], 20)
    table = RolloutTable(
        groups=groups,
        step=np.repeat(np.arange(4), 5),
        reward=np.where(failed, 0.0, 1.0) * np.tile([1.0, 1.0, 1.0, 1.0], 20),
        input=groups.owner,
        text=groups.owner,
    )
    assert contradictions(table)[1] == 60
    told = replace(table, error=failed)
    assert contradictions(told)[:2] == (60, 0)
    assert VerifierDetector().look(TrainingRun(rollouts=told)) == ()


def series(name: str, values: np.ndarray) -> Series:
    return Series(name, np.arange(len(values)), values)


def gap(values: np.ndarray) -> TrainingRun:
    return TrainingRun(series={"distillation_loss": series("distillation_loss", values)})


def test_a_gap_that_closes_slowly_has_not_stopped():
    """8 % in the second half is no standstill however steady; 1 % with little noise is one."""
    noise = np.random.default_rng(0).normal(0, 0.01, 300)
    t = np.linspace(0, 1, 300)
    look = DistillationDetector().look
    assert look(gap(1 - 0.16 * t + noise)) == ()
    (stalled,) = look(gap(0.9 - 0.02 * t + 0.1 * np.exp(-50 * t) + noise))
    assert stalled.kind == "distillation_stalls"
    assert stalled.severity == "warning"
    assert look(gap(0.9 - 0.02 * t + 30 * noise)) == ()  # too noisy to say


def test_lost_pairs_are_seen_from_the_best_accuracy():
    """Accuracy ends where it began, after it had been higher."""
    t = np.linspace(0, 1, 80)
    logp = -100 * (1 + 0.6 * t)
    accuracy = 0.55 + 0.2 * np.sin(np.pi * t)
    run = TrainingRun(
        series={
            "chosen_logp": series("chosen_logp", logp),
            "rejected_logp": series("rejected_logp", logp - 10 - 5 * t),
            "accuracy": series("accuracy", accuracy),
        }
    )
    (seen,) = PreferenceDetector().look(run)
    assert seen.kind == "preference_collapse"
