"""Answers that use a raised limit are no fault; answers that grow by themselves are."""

import numpy as np
import pytest

from tod.findings import Finding, Series, TrainingRun, find
from tod.findings.raised_limit import leaps, limits

STEPS = 120
LIMIT = np.repeat([2000.0, 4000.0, 8000.0], 40)


def run(seed: int, mean: np.ndarray, reward: float = 0.9, **more: np.ndarray) -> TrainingRun:
    """A log of a saturated run with the lengths of ``mean``, up to noise of 4 %."""
    rng = np.random.default_rng(seed)
    steps = np.arange(1, STEPS + 1)
    length = mean * np.exp(rng.normal(0, 0.04, STEPS))
    figures = {"length": length, "reward": rng.binomial(512, reward, STEPS) / 512, **more}
    return TrainingRun(series={name: Series(name, steps, x) for name, x in figures.items()})


def length_finding(planted: TrainingRun) -> Finding | None:
    return next((f for f in find(planted).all if f.kind == "length_growth"), None)


def approached(pace: float) -> np.ndarray:
    """Half of the limit, which each stage comes nearer to by a share of ``pace`` a step."""
    mean = np.full(STEPS, LIMIT[0] / 2)
    for t in range(1, STEPS):
        mean[t] = mean[t - 1] + pace * (LIMIT[t] / 2 - mean[t - 1])
    return mean


@pytest.mark.parametrize("seed", range(10))
def test_leaps_alone_are_a_note(seed: int) -> None:
    seen = length_finding(run(seed, LIMIT / 2))
    assert seen is not None
    assert seen.severity == "note"
    assert [cause.kind for cause in seen.causes] == ["limit_raised"]
    assert "41 and 81" in dict(seen.evidence)["the limit"]


@pytest.mark.parametrize("seed", range(10))
def test_slow_growth_into_a_greatest_length_that_rose_is_a_note(seed: int) -> None:
    seen = length_finding(run(seed, approached(0.15), length_max=LIMIT))
    assert seen is not None
    assert seen.severity == "note"
    assert "from 2000 to 8000 at steps 41 and 81" in dict(seen.evidence)["the limit"]


@pytest.mark.parametrize("seed", range(10))
def test_growth_where_fewer_answers_are_cut_is_a_note(seed: int) -> None:
    mean = approached(0.3)
    share = 0.2 * (2 * mean / LIMIT) ** 4  # a fifth at the end of a stage, next to none after it
    cut = np.random.default_rng(seed).binomial(512, share) / 512
    seen = length_finding(run(seed, mean, truncated=cut))
    assert seen is not None
    assert seen.severity == "note"


@pytest.mark.parametrize("seed", range(10))
def test_steady_growth_stays_a_warning(seed: int) -> None:
    """Eightfold growth without a gain, below a greatest length that never stands still."""
    mean = 1000 * 6 ** np.linspace(0, 1, STEPS)
    greatest = np.rint(2.5 * mean * np.exp(np.random.default_rng(seed).normal(0, 0.05, STEPS)))
    seen = length_finding(run(seed, mean, length_max=greatest))
    assert seen is not None
    assert seen.severity == "warning"


@pytest.mark.parametrize("seed", range(5))
def test_growth_beyond_that_of_the_limit_stays_a_warning(seed: int) -> None:
    """A limit that was raised by a tenth once does not excuse growth to five times."""
    limit = np.where(np.arange(STEPS) < 60, 8000.0, 8800.0)
    seen = length_finding(run(seed, 1000 * 5 ** np.linspace(0, 1, STEPS), length_max=limit))
    assert seen is not None
    assert seen.severity == "warning"


def test_limits_are_lengths_that_are_held() -> None:
    values = np.array([10.0, 9, 10, 10, 20, 20, 7, 20, 30, 29, 28])
    assert limits(values) == [(0, 10.0), (4, 20.0)]
    assert limits(np.array([5.0, 5, 9, 5, 4])) == []  # one greater between: no limit


def test_a_leap_is_one_step_and_not_a_steep_ramp() -> None:
    stairs = np.repeat([0.0, 1.0, 2.0], 10)
    assert leaps(stairs).tolist() == [10, 20]
    assert leaps(np.linspace(0, 3, 30)).tolist() == []
