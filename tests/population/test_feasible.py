"""The largest sharpness, the needed K and informative groups, against closed forms."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from tod.base import Groups, SpecError
from tod.diagnostics.population_ess import Interval
from tod.population import (
    PassCounts,
    feasible_eta,
    leg_statistics,
    needed_k,
    pass_rate_posterior,
    range_at_bound,
    range_bound,
)
from tod.population.beta_family import EDGES
from tod.population.pass_rates import HALVINGS
from tod.population.scale_mixture import ENDS
from tod.population.shape import scale_at_ess
from tod.population.weight_moments import SAFE_Z, weight_shape
from tolerance import chance, double

PROMPTS, K = 20_000, 16


def statistics(u, **known):
    u = np.asarray(u, dtype=float)
    return leg_statistics(Groups.equal(*u.shape), log_w=u.ravel(), anchored=True, eta=1.0, **known)


def binary_eta(p, goal):
    """The largest η of one prompt, ln((p(1−p) + √(p(1−p)g(1−g)))/(p(g−p))); ∞ for p ≥ g."""
    if p >= goal:
        return math.inf
    both = p * (1 - p)
    return math.log((both + math.sqrt(both * goal * (1 - goal))) / (p * (goal - p)))


@pytest.mark.parametrize("goal", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_normal_rewards(goal, share, rng):
    """ESS_rel = exp(−η²σ²): η = √(−ln g)/σ at the (1−φ)-quantile of σ."""
    sigma = 0.7 * np.exp(0.3 * rng.normal(size=(PROMPTS, 1)))
    got = feasible_eta(statistics(sigma * rng.normal(size=(PROMPTS, K))), goal, share)
    scale = 0.7 * math.exp(0.3 * norm.ppf(1 - share))
    want = math.sqrt(-math.log(goal)) / scale
    # sd of ln σ̂ of a prompt is √(.3² + 1/2K); of a quantile its density is at least .17 of 1/sd
    error = chance(math.hypot(0.3, math.sqrt(1 / (2 * K))) * 2.5, PROMPTS)
    assert got.method == "weight_moments"
    # the shape, γ2 of standard error √(24/N), moves ln η by at most (7/24)·γ2·h²
    shape = chance(math.sqrt(24) * 7 / 24, PROMPTS * K)
    assert got.eta == pytest.approx(want, rel=error + shape, abs=0)
    assert got.safe < got.eta < got.high
    assert got.attained == "yes"
    assert not got.undecided


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_safe_is_a_worse_shape_and_a_larger_scale_together(share, rng):
    """From the posterior of σ by its own definition, of the prompts of the (1−φ)-quantile."""
    u = np.exp(0.5 * rng.normal(size=(12, 1))) * rng.normal(size=(12, 8))
    got = feasible_eta(statistics(u), 0.5, share)
    shape = weight_shape(statistics(u).weights.moments)
    law, z = shape.scales, norm.ppf(1 - share)
    log_sigma = (law.m[:, None] + z * law.tau).ravel()
    order = np.argsort(log_sigma)
    mass = law.mass.ravel()[order]
    low, middle, high = np.interp(ENDS, np.cumsum(mass) - mass / 2, log_sigma[order])
    moved = {
        s: scale_at_ess(
            0.5,
            shape.skew + s * SAFE_Z * shape.skew_error,
            shape.kurtosis + s * SAFE_Z * shape.kurtosis_error,
        )
        for s in (1, 0, -1)
    }
    down = math.hypot(math.log(moved[0] / moved[1]), high - middle)
    up = math.hypot(math.log(moved[-1] / moved[0]), middle - low)
    eta = moved[0] / math.exp(middle)
    near = double(law.mass.size, 64)
    assert got.eta == pytest.approx(eta, rel=near)
    assert got.safe == pytest.approx(eta * math.exp(-down), rel=near)
    assert got.high == pytest.approx(eta * math.exp(up), rel=near)


def test_rewards_of_another_unit_have_an_eta_of_another_unit(rng):
    """e² is a whole number of the cells in which ln k2 is counted."""
    u = rng.normal(size=(200, 8))
    one, other = (feasible_eta(statistics(c * u), 0.5) for c in (1.0, math.exp(2)))
    for name in ("eta", "safe", "high"):
        assert getattr(one, name) == pytest.approx(math.exp(2) * getattr(other, name))
    coin = (rng.random((200, 8)) < 0.3).astype(float)
    one, other = (feasible_eta(statistics(c * coin - 1), 0.5) for c in (1.0, 10.0))
    assert one.eta == pytest.approx(10 * other.eta)


@pytest.mark.parametrize("goal", [0.5, 0.7])
def test_coins_of_one_pass_rate(goal, rng):
    """The closed form of one p, at p moved by its standard error: all prompts have it."""
    p = 0.3
    got = feasible_eta(statistics(rng.random((PROMPTS, K)) < p), goal)
    error = chance(math.sqrt(p * (1 - p)), PROMPTS * K) + 1 / 16 * p * (1 - p)  # a cell of logit p
    assert got.method == "pass_rates"
    assert binary_eta(p - error, goal) <= got.eta <= binary_eta(p + error, goal)
    assert got.limit.value == pytest.approx(p, abs=error, rel=0)


def test_the_eta_of_a_posterior_is_where_its_quantiles_cross_the_goal():
    """Another solver of the same: ends of the interval of e at the ends of that of η."""
    posterior = pass_rate_posterior(PassCounts({8: np.array([20, 12, 8, 7, 6, 5, 4, 3, 5])}))

    def crossing(eta, goal, share, end):
        return getattr(posterior.ess(eta, share), end) - goal

    for goal, share in ((0.5, 0.5), (0.7, 0.5), (0.5, 0.1)):
        got = posterior.eta_at_ess(goal, share)
        for end in ("low", "value", "high"):
            want = brentq(crossing, 0.1, 30, args=(goal, share, end))
            bracket = (EDGES[-1] + want) / 2**HALVINGS  # in which |logit p + η| is known
            assert getattr(got, end) == pytest.approx(want, abs=4 * bracket, rel=0)


def test_no_largest_eta_where_most_prompts_pass_more_often_than_the_goal(rng):
    got = feasible_eta(statistics(rng.random((400, 8)) < 0.75), 0.5)
    assert (got.eta, got.safe, got.attained) == (math.inf, math.inf, "unbounded")
    assert got.limit.low > 0.5
    assert not got.undecided
    even = feasible_eta(statistics(rng.random((60, 8)) < rng.random((60, 1))), 0.5)
    assert even.undecided
    assert even.safe < math.inf


def test_a_declared_range_guarantees_an_eta_of_any_prompt(rng):
    u = rng.random((100, 6)) < 0.02
    got = feasible_eta(statistics(u, width=1.0), 0.5)
    # sech²(R/2) = 1/2 at R = 2·ln(1 + √2)
    assert got.guaranteed == pytest.approx(2 * math.log(1 + math.sqrt(2)))
    assert got.safe >= got.guaranteed
    p = 1 / (1 + math.exp(got.guaranteed))  # the worst pass rate
    at_worst = ((1 - p) + p * math.exp(got.guaranteed)) ** 2 / (
        (1 - p) + p * math.exp(2 * got.guaranteed)
    )
    assert at_worst == pytest.approx(range_bound(range_at_bound(0.5)))
    assert at_worst == pytest.approx(0.5)
    alone = feasible_eta(statistics(np.zeros((4, 6)), width=0.5), 0.5)
    assert (alone.method, alone.eta) == ("range", 2 * got.guaranteed)


def test_nothing_is_said_where_nothing_can_be(rng):
    few = feasible_eta(statistics(rng.normal(size=(5, 8))), 0.5)
    assert few.eta is None
    assert few.attained is None
    assert "8 are needed" in few.unreadable
    other = leg_statistics(Groups.equal(40, 8), log_w=rng.normal(size=320), eta=1.0)
    assert "anchor is not the proposal" in feasible_eta(other, 0.5).unreadable
    for wrong in ({"goal": 1.0}, {"goal": 0.5, "share": 0.0}):
        with pytest.raises(SpecError):
            feasible_eta(other, **wrong)


def test_needed_k_is_the_count_over_ess():
    assert needed_k(Interval(0.4, 0.5, 0.8), 8.0) == Interval(10, 16, 20)
    assert needed_k(Interval(0.0, None, 0.3), 8.0) == Interval(27, None, None)
    assert needed_k(Interval(None, 0.5, 0.6), 8.0) == Interval(14, None, None)
    assert needed_k(Interval(1.0, 1.0, 1.0), 0.5) == Interval(1, 1, 1)
    assert needed_k(None, 8.0) is None
