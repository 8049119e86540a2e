"""The largest sharpness over contexts, against the closed form of a 0/1 utility."""

import math

import numpy as np
import pytest

from tod.base import Groups, to_numpy
from tod.candidates import Candidates
from tod.diagnostics import ess_rel
from tod.procedure import examine
from tod.regimes import feasible_eta
from tod.regimes.feasible import eta_for_ess_binary
from tod.regimes.largest import (
    Largest,
    largest_eta,
    scale_of,
    search_top,
    spread_out,
    varied,
)
from tod.targets import ScalarReward
from tolerance import of_weights

PASSES = np.array([1, 2, 3, 4, 1, 2, 3, 2, 5])
CONTEXTS = Groups.equal(9, 16)


def utility(passes=PASSES):
    return np.concatenate([np.repeat([1.0, 0.0], [n, 16 - n]) for n in passes])


def near_root(goal):
    """log ESS falls as slowly as n/16 − goal is small, and η is where it crosses."""
    return of_weights("float64", 16, 20.0) / np.abs(PASSES / 16 - goal).min()


def test_words_and_numbers():
    cases = {2.0: ("yes", 2.0, 2.0), math.inf: ("unbounded", None, math.inf)}
    cases |= {None: ("never", None, 0.0)}
    for value, (attained, eta, limit) in cases.items():
        found = Largest.of(value)
        assert (found.attained, found.eta, found.limit) == (attained, eta, limit)
    assert (Largest().attained, Largest().limit) == (None, None)


@pytest.mark.parametrize(("p", "rank"), [(0.5, 5), (0.1, 1), (1.0, 9)])
@pytest.mark.parametrize("goal", [0.35, 0.5])
def test_the_order_statistic_of_the_roots(p, rank, goal):
    roots = np.sort(eta_for_ess_binary(PASSES, np.full(9, 16), goal))
    value, _ = largest_eta(None, utility(), CONTEXTS, goal, p, 1.0, 64.0)
    assert value == pytest.approx(roots[rank - 1], rel=near_root(goal), abs=0)


def test_what_never_falls_and_what_never_rises():
    many = utility(np.full(9, 12))  # 12 of 16 pass: ESS_rel never falls below 3/4
    assert largest_eta(None, many, CONTEXTS, 0.7, 0.5, 1.0, 64.0)[0] == math.inf
    outside = np.where(np.arange(144) % 16 < 10, -np.inf, utility())
    value, interval = largest_eta(None, outside, CONTEXTS, 0.5, 0.5, 1.0, 64.0)
    assert (value, interval) == (None, (None, None))


@pytest.mark.parametrize("eta", [0.1, 2.0, 60.0])
def test_following_the_quantile_finds_the_same_root_where_both_apply(eta):
    """With log b − log μ = 0 the search over a grid must give the closed form."""
    roots = np.sort(eta_for_ess_binary(PASSES, np.full(9, 16), 0.5))
    value, interval = largest_eta(np.zeros(144), utility(), CONTEXTS, 0.5, 0.5, eta, 64.0)
    assert value == pytest.approx(roots[4], rel=near_root(0.5), abs=0)
    assert interval is None
    many = utility(np.full(9, 12))
    assert largest_eta(np.zeros(144), many, CONTEXTS, 0.7, 0.5, eta, 64.0)[0] == math.inf


def test_the_interval_that_holds_the_present_sharpness_or_the_nearest(rng):
    """An anchor against the utility: infeasible, feasible around η = 3, infeasible again."""
    u = rng.normal(size=144)
    for eta in (0.0, 3.0, 6.0):
        value, _ = largest_eta(-3 * u, u, CONTEXTS, 0.8, 0.5, eta, 8.0)
        assert 3.0 < value < 4.0
        rel = [np.sort(to_numpy(ess_rel((e - 3) * u, CONTEXTS)))[4] for e in (value, value + 1e-6)]
        assert rel[0] >= 0.8 > rel[1]
    assert largest_eta(-300 * u, u, CONTEXTS, 0.8, 0.5, 1.0, 8.0)[0] is None


def test_contexts_are_spread_evenly():
    places = np.arange(10)
    assert spread_out(places, 10).tolist() == places.tolist()
    assert spread_out(places, 4).tolist() == [0, 3, 6, 9]
    assert len(spread_out(np.arange(5000))) == 4096


def test_the_scale_of_a_search():
    u = np.array([0.0, 2.0, 0.0, 4.0, 1.0, 1.0, -np.inf, 3.0])
    contexts = Groups.equal(4, 2)
    assert varied(u, contexts).tolist() == [True, True, False, True]
    assert scale_of(u, contexts) == pytest.approx(1 / ((math.sqrt(2) + math.sqrt(8)) / 2))
    assert scale_of(np.ones(4), Groups.equal(2, 2)) == 1.0
    assert search_top(u, contexts, 0.0) == 64 * scale_of(u, contexts)
    assert search_top(u, contexts, 1000.0) == 4000.0


@pytest.mark.parametrize("k", [0.01, 0.3, 1.0, 50.0])
def test_the_scale_is_in_the_units_of_the_utility(k, rng):
    """Sharpness is per unit of utility: k times the utility is 1/k of the scale."""
    u = rng.normal(size=CONTEXTS.total)
    assert scale_of(k * u, CONTEXTS) == pytest.approx(scale_of(u, CONTEXTS) / k)


def test_what_a_controller_steers_to():
    """A number; ∞ where none is too much; None where none can be, or nothing is weighed."""
    target = ScalarReward(utility="r", eta=1.0, anchor={"mu": 1.0})

    def batch(u):
        return Candidates(CONTEXTS, {"r": u})

    roots = np.sort(eta_for_ess_binary(PASSES, np.full(9, 16), 0.5))
    assert feasible_eta(examine(target, batch(utility())), 0.5) == pytest.approx(roots[4])
    many = utility(np.full(9, 12))
    assert feasible_eta(examine(target, batch(many)), 0.7) == math.inf
    assert feasible_eta(examine(target, batch(np.zeros(144))), 0.5) is None
    assert feasible_eta(examine(None, batch(utility())), 0.5) is None
