"""Evaluation against the training reward: a proxy, a fall of both, and healthy twins."""

import numpy as np
import pytest

from findings.healthy_series import curves
from tod.base import Unknown
from tod.findings import Series, TrainingRun
from tod.findings.detectors.gold import GoldDetector


def run(judged, reward, every=5, name="eval.accuracy"):
    at = every * np.arange(1, len(judged) + 1)
    steps = np.arange(1, len(reward) + 1)
    return TrainingRun(
        {
            name: Series(name, at, np.asarray(judged, float)),
            "reward": Series("reward", steps, np.asarray(reward, float)),
        }
    )


def planted(seed, fall=0.3, turn=20, size=40):
    rng = np.random.default_rng(seed)
    t = np.arange(size)
    judged = 0.4 + 0.3 * np.minimum(t / turn, 1) - fall * np.clip((t - turn) / 10, 0, 1)
    reward = 0.3 + 0.4 * np.linspace(0, 1, 5 * size)
    return judged + rng.normal(0, 0.015, size), reward + rng.normal(0, 0.02, 5 * size)


def test_a_proxy_is_named_near_where_evaluation_turns():
    for seed in range(20):
        (finding,) = GoldDetector().look(run(*planted(seed)))
        assert (finding.kind, finding.severity) == ("over_optimised", "warning")
        assert abs(finding.onset.step - 105) <= 10
        assert abs(finding.best_step - 105) <= 15


def test_a_reward_that_falls_too_is_no_proxy():
    judged, _ = planted(0)
    reward = np.concatenate([np.linspace(0.3, 0.7, 100), np.linspace(0.7, 0.2, 100)])
    assert GoldDetector().look(run(judged, reward)) == ()


@pytest.mark.parametrize("figure", ["loss", "violation_rate", "false_refuse_rate", "fpr", "wrong"])
def test_a_fall_of_what_is_bad_is_no_fault(figure):
    judged, reward = planted(0)
    assert isinstance(GoldDetector().look(run(judged, reward, name=f"eval.{figure}")), Unknown)


def test_healthy_evaluation_is_silent():
    for _, rng, curve in curves():
        judged = curve[:: max(1, len(curve) // 20)]
        assert GoldDetector().look(run(judged, np.repeat(curve, 5))) == ()
        assert GoldDetector().look(run(100 * judged + 3, np.repeat(curve, 5))) == ()
        noisy = judged + rng.normal(0, 0.04, len(judged))
        assert GoldDetector().look(run(noisy, np.repeat(curve, 5))) == ()


def test_what_is_missing_is_said():
    assert isinstance(GoldDetector().look(TrainingRun()), Unknown)
    assert GoldDetector().look(run([0.5, 0.4], np.ones(10))).kind == "too_few"
