"""Entropy that is lost or explodes, against curves that fall and rise as healthy ones do."""

import numpy as np

from findings.healthy_series import ar, curves
from tod.base import Unknown
from tod.findings import Series, TrainingRun
from tod.findings.detectors.entropy import EntropyDetector


def look(values, reward=None):
    steps = np.arange(1, len(values) + 1)
    series = {"entropy": Series("entropy", steps, np.asarray(values, float))}
    if reward is not None:
        series["reward"] = Series("reward", steps, np.asarray(reward, float))
    return EntropyDetector().look(TrainingRun(series))


def planted(end, at=60, size=120, seed=0):
    rng = np.random.default_rng(seed)
    t = np.clip((np.arange(size) - at) / 20, 0, 1)
    return np.exp(t * np.log(end)) * np.exp(ar(rng, size, 0.05, 0.4))


def test_a_collapse_is_dated():
    for seed in range(20):
        (finding,) = look(planted(0.05, seed=seed), np.full(120, 0.4))
        assert (finding.kind, finding.severity) == ("entropy_collapse", "warning")
        assert abs(finding.onset.step - 61) <= 4
        assert finding.best_step == finding.onset.step - 1


def test_a_sure_policy_on_a_learned_task_is_a_note():
    (finding,) = look(planted(0.05), np.linspace(0.3, 0.98, 120))
    assert not finding.fault


def test_an_explosion_is_named_unless_the_reward_rises():
    (finding,) = look(planted(8.0), np.full(120, 0.4))
    assert (finding.kind, finding.severity) == ("entropy_explosion", "warning")
    (finding,) = look(planted(8.0), np.linspace(0.2, 0.6, 120))
    assert finding.severity == "note"


def test_entropy_of_healthy_runs_is_silent():
    for _, rng, curve in curves():
        falling = np.exp(1.2 - 2.0 * curve) * np.exp(rng.normal(0, 0.05, len(curve)))
        assert look(falling) == ()
        assert look(0.3 + curve) == ()


def test_what_is_missing_is_said():
    assert isinstance(EntropyDetector().look(TrainingRun()), Unknown)
    few = look(np.ones(5))
    assert isinstance(few, Unknown)
    assert few.kind == "too_few"
