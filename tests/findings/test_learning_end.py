"""The end of learning in a metric log, where the rewards of single answers are not known."""

import numpy as np
import pytest

from findings.healthy_series import curves
from tod.findings import Series, TrainingRun
from tod.findings.detectors.learning_end import LearningEndDetector, all_passing
from tolerance import double


def look(**values):
    size = len(next(iter(values.values())))
    steps = np.arange(1, size + 1)
    series = {name: Series(name, steps, np.asarray(v, float)) for name, v in values.items()}
    return LearningEndDetector().look(TrainingRun(series))


def drawn(rng, prompts, k):
    """Passes of every group, of prompts of very different difficulty."""
    return rng.binomial(k, rng.beta(0.3, 0.3, prompts), prompts)


def test_the_share_that_all_passes_lies_within_half_of_the_mixed_groups():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        k = int(rng.integers(2, 17))
        count = drawn(rng, int(rng.integers(1, 60)), k)
        equal = float(np.mean((count == 0) | (count == k)))
        got = float(all_passing(np.array([equal]), np.array([count.mean() / k]))[0])
        assert abs(got - float(np.mean(count == k))) <= (1 - equal) / 2 + double(60)


@pytest.mark.parametrize(
    ("share", "reward", "kind", "severity"),
    [
        (1.0, 0.5, "all_tie", "critical"),
        (0.95, 0.4, "all_tie", "warning"),
        (0.96, 0.03, "all_fail", "warning"),
        (1.0, 0.0, "all_fail", "critical"),
        (1.0, 1.0, "all_pass", "warning"),
    ],
)
def test_equal_rewards_are_named_by_their_level(share, reward, kind, severity):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        late = np.arange(80) >= 50
        equal = np.where(late, share, 0.3 + rng.normal(0, 0.03, 80))
        level = np.where(late, reward, 0.45 + rng.normal(0, 0.02, 80))
        (finding,) = look(zero_variance=equal, reward=level)
        assert (finding.kind, finding.severity) == (kind, severity)
        assert finding.onset.step == 51


def test_ties_beside_a_level_that_wanders_are_one_finding():
    """Every answer to a prompt is the same: the mean reward is that of the prompts' luck."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        late = np.arange(80) >= 50
        equal = np.where(late, 1.0, 0.4 + rng.normal(0, 0.03, 80))
        level = np.where(late, rng.binomial(8, 0.8, 80) / 8, 0.75 + rng.normal(0, 0.02, 80))
        (finding,) = look(zero_variance=equal, reward=level)
        assert (finding.kind, finding.onset.step) == ("all_tie", 51)


def test_one_reward_for_everything_is_named_from_the_first_step():
    (finding,) = look(zero_variance=np.ones(30), reward=np.full(30, 0.5))
    assert (finding.kind, finding.severity, finding.onset.step) == ("all_tie", "critical", None)
    (finding,) = look(zero_variance=np.ones(30), reward=np.zeros(30))
    assert finding.kind == "all_fail"


def test_a_task_that_is_learned_to_the_end_is_a_note():
    """Few groups: the share rises in leaps, and every leap is noise."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        k, prompts = int(rng.choice([2, 4])), int(rng.integers(8, 40))
        p = 1 / (1 + np.exp(-(-1 + 8 * np.minimum(1, np.linspace(0, 1, 120) / 0.6))))
        count = rng.binomial(k, p[:, None], (120, prompts))
        equal = np.mean((count == 0) | (count == k), axis=1)
        for finding in look(zero_variance=equal, reward=count.mean(axis=1) / k):
            assert (finding.kind, finding.severity) == ("all_pass", "note"), seed


def test_other_curves_are_silent():
    for _, _, curve in curves():
        assert look(zero_variance=0.7 * np.clip(curve, 0, 1), reward=curve) == ()
