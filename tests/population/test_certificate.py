"""The bound from a declared range: true and sharp with b = μ, refused and false without."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import Groups, SpecError
from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population import leg_statistics, range_bound, with_bound
from tolerance import double, printed


def ess(mu, log_w):
    w = np.exp(log_w - np.max(log_w))
    return float((mu @ w) ** 2 / (mu @ w**2))


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=2, max_size=12),
    st.floats(0, 20),
)
def test_no_law_within_the_range_is_below(pairs, eta):
    mass, u = np.array(pairs).T
    mu = mass / mass.sum()
    assert ess(mu, eta * u) >= range_bound(eta) * (1 - double(64, 1 + eta))


@pytest.mark.parametrize("width", [0.3, 1.2309, 1.7627, 6.0])
def test_two_values_reach_it(width):
    high = 1 / (1 + math.exp(width))
    reached = ess(np.array([1 - high, high]), np.array([0.0, width]))
    assert range_bound(width) == pytest.approx(reached, rel=double(64, 1 + width))


def test_reference_ranges():
    steepest = 2 / 27**0.5  # of sech²(R/2), by R
    for least, width in ((0.7, 1.2302), (0.5, 1.7627)):
        assert range_bound(width) == pytest.approx(least, abs=printed(4) * steepest)
    assert range_bound(1.0) == pytest.approx(0.786, abs=printed(3))
    assert range_bound(0.0) == 1
    assert range_bound(1e6) == range_bound(math.inf) == 0


@pytest.mark.parametrize("width", [-0.1, math.nan])
def test_a_range_is_not_negative(width):
    with pytest.raises(SpecError, match="range"):
        range_bound(width)


def test_it_is_false_where_the_anchor_is_not_the_proposal():
    """μ = (.98, .02), b = (.5, .5): e is .037, and the bound of the reward alone says .786."""
    mu, b, u = np.array([0.98, 0.02]), np.array([0.5, 0.5]), np.array([0.0, 1.0])
    true = ess(mu, np.log(b) - np.log(mu) + u)
    assert true == pytest.approx(0.037, abs=printed(3))
    assert true < range_bound(1.0)
    groups = Groups.equal(40, 8)
    rows = np.random.default_rng(0).choice(2, size=groups.total, p=mu)
    log_w = (np.log(b) - np.log(mu) + u)[rows]
    said = leg_statistics(groups, log_w=log_w, anchored=False, eta=1.0, width=1.0)
    assert said.population()["target_proposal"].bound is None


def test_with_the_anchor_at_the_proposal_it_is_told_first_whatever_was_drawn():
    """Forty groups without a signal: nothing is measured, and every prompt is at .786."""
    groups = Groups.equal(40, 8)
    statistics = leg_statistics(groups, log_w=np.ones(320), anchored=True, eta=1.0, width=1.0)
    said = statistics.population()["target_proposal"]
    assert said.bound == said.median.low == said.q10.low == range_bound(1.0)
    assert (said.median.value, said.median.high, said.method) == (None, 1.0, "range")
    assert statistics.population(4.0)["target_proposal"].bound == range_bound(4.0)


def test_it_lifts_what_was_measured():
    ends = Interval(0.5, 0.8, 0.9)
    said = with_bound(PopulationEss(ends, Interval(0.1, 0.2, 0.3), 64, "pass_rates"), 1.0)
    bound = range_bound(1.0)
    assert said.median == Interval(bound, 0.8, 0.9)
    assert said.q10 == Interval(bound, bound, bound)
    assert said.method == "pass_rates"
