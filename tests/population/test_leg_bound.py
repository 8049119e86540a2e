"""E π/μ = 1 and the divergence's bound, on log-ratios whose laws are known."""

import math

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population import (
    kl_bound_counts,
    with_kl_bound,
)
from tod.population.jackknife import CELLS
from tolerance import chance


def log_ratios(rng, prompts, k, s):
    return s * rng.normal(size=prompts * k) - s**2 / 2, Groups.equal(prompts, k)


def test_the_bound_is_that_of_the_divergence(rng):
    s = 1.0
    x, groups = log_ratios(rng, 200, 2000, s)
    _, high = kl_bound_counts(x, groups).interval(0.5)
    # KL = s²/2 of the normal; a group's mean of a term of standard deviation below 3
    near = chance(3.0, 2000) + 1 / CELLS
    assert high == pytest.approx(math.exp(-(s**2) / 2), abs=near)
    assert high > math.exp(-(s**2))


def test_high_ends_are_capped(rng):
    x, groups = log_ratios(rng, 64, 8, 1.2)
    bound = kl_bound_counts(x, groups)
    ess = PopulationEss(Interval(0.1, 0.5, 1.0), Interval(0.0, None, 1.0), 64, "weight_moments")
    got = with_kl_bound(ess, bound)
    assert got.median.high == bound.interval(0.5)[1] < 1
    assert got.q10.high == bound.interval(0.1)[1] < got.median.high
    assert with_kl_bound(PopulationEss(None, None, 0, None, "why"), bound).median is None


def test_weights_of_zero_count_as_a_term_of_one():
    counts = kl_bound_counts(np.array([-np.inf] * 2 + [math.log(2)] * 2), Groups.equal(1, 4))
    want = math.exp(-(2 + 2 * (2 * math.log(2) - 1)) / 4)
    (cell,) = counts.counts
    assert cell / CELLS == pytest.approx(want, abs=1 / CELLS)
