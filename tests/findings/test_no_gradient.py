"""A gradient that is exactly 0: where it says that nothing is trained, and where others say why."""

import numpy as np

from tod.base import Unknown
from tod.findings import Series, TrainingRun
from tod.findings.detectors.no_gradient import NoGradientDetector


def look(**columns):
    steps = np.arange(1, len(next(iter(columns.values()))) + 1)
    series = {k: Series(k, steps, np.asarray(v, dtype=float)) for k, v in columns.items()}
    return NoGradientDetector().look(TrainingRun(series))


def test_rewards_that_differ_without_a_gradient_from_the_start():
    rng = np.random.default_rng(0)
    given = {
        "reward": rng.random(40),
        "reward_std": 0.2 + rng.random(40),
        "zero_variance": [0] * 40,
    }
    (finding,) = look(grad_norm=np.zeros(40), kl=np.zeros(40), **given)
    assert (finding.severity, finding.onset.step) == ("critical", None)
    assert (
        finding.headline == "Nothing is trained from the first step on: the gradient is exactly 0."
    )
    assert [(c.kind, c.certainty) for c in finding.causes] == [("frozen", "likely")]
    (finding,) = look(grad_norm=np.zeros(40), **given)
    assert finding.severity == "warning"
    assert [c.kind for c in finding.causes] == ["frozen", "unreported"]


def test_it_is_dated_where_the_last_gradient_was():
    norm = np.r_[np.full(30, 0.5), np.zeros(12)]
    (finding,) = look(grad_norm=norm, reward=np.linspace(0, 0.4, 42))
    assert finding.onset.step == 31
    assert finding.numbers["steps"] == 12
    assert finding.evidence[0][1] == "0 at 12 of 42 steps"


def test_equal_rewards_are_named_where_no_share_of_ties_is_logged():
    (finding,) = look(grad_norm=np.zeros(50), reward=np.zeros(50), reward_std=np.zeros(50))
    assert finding.severity == "critical"
    assert finding.headline.endswith(
        "the gradient is exactly 0: the rewards of a prompt are all equal."
    )


def test_what_others_say_is_not_said_again():
    assert look(grad_norm=np.zeros(50), reward=np.zeros(50), zero_variance=np.ones(50)) == ()
    assert look(grad_norm=np.zeros(50), reward=np.full(50, 0.97), reward_std=np.zeros(50)) == ()


def test_some_steps_without_a_gradient_are_healthy():
    norm = np.where(np.arange(200) % 3 == 0, 0.4, 0.0)
    assert look(grad_norm=norm, reward=np.full(200, 0.5)) == ()
    assert look(grad_norm=np.r_[np.ones(50), np.zeros(9)], reward=np.full(59, 0.5)) == ()


def test_what_is_missing_is_said():
    assert isinstance(look(reward=np.zeros(30)), Unknown)
    assert look(grad_norm=np.zeros(9)).kind == "too_few"
