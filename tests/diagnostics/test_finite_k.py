"""ESS_rel against K: subsampling against enumeration, and first-order bias against exact means."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import ess_rel, k_trend, target_policy
from tod.diagnostics.finite_k import (
    LegMoments,
    delta_ess_rel,
    delta_target_policy,
    rare_pass_ess_rel,
)
from tolerance import chance, printed


def test_subsampling_averages_over_all_subsets():
    x = np.array([0.0, 1.5, -2.0, 3.0, 0.5])
    values = [ess_rel(x[list(s)], Groups.equal(1, 3))[0] for s in combinations(range(5), 3)]
    exact, spread = np.mean(values), np.std(values)
    (point,) = k_trend(x, Groups.equal(1, 5), [3], resamples=4000)
    assert point.mean == pytest.approx(exact, abs=chance(spread, 4000))


def test_largest_size_is_the_plain_statistic(rng):
    contexts = Groups.equal(30, 16)
    x = rng.normal(size=480) * 1.5
    points = k_trend(x, contexts, [2, 4, 16])
    values = ess_rel(x, contexts)
    assert points[-1].median == pytest.approx(np.quantile(values, 0.5, method="inverted_cdf"))
    assert points[-1].q10 == pytest.approx(np.quantile(values, 0.1, method="inverted_cdf"))
    assert points[0].mean > points[1].mean > points[2].mean


def test_one_set_of_contexts_for_all_sizes(rng):
    contexts = Groups(np.array([16, 4, 16, 2, 16]))
    x = rng.normal(size=contexts.total)
    assert [(p.k, p.contexts) for p in k_trend(x, contexts, [8, 2, 64, 1, 16])] == [
        (2, 3),
        (8, 3),
        (16, 3),
    ]


def test_seed_decides(rng):
    contexts, x = Groups.equal(5, 8), rng.normal(size=40)
    assert k_trend(x, contexts, [4], seed=3) == k_trend(x, contexts, [4], seed=3)
    assert k_trend(x, contexts, [4], seed=3) != k_trend(x, contexts, [4], seed=4)


def test_unusable_contexts_and_subsets_are_left_out():
    x = np.array([np.nan, 0.0, 1.0, 2.0, 0.0, -np.inf, -np.inf, -np.inf, 0.0, 1.0, 2.0, 3.0])
    points = k_trend(x, Groups.equal(3, 4), [2, 4])
    assert [p.contexts for p in points] == [2, 2]
    assert all(np.isfinite(p.mean) for p in points)
    assert k_trend(np.full(4, -np.inf), Groups.equal(1, 4), [2]) == []
    assert k_trend(np.zeros(3), Groups.equal(3, 1), [1, 2]) == []


def binomial_mean(p, k, value):
    return sum(comb(k, m) * p**m * (1 - p) ** (k - m) * value(m) for m in range(k + 1))


def test_reference_two_point_law():
    p, heavy, k = 0.3, np.exp(1.5), 16
    moment = lambda j: (1 - p + p * heavy**j) / (1 - p + p * heavy) ** j  # noqa: E731
    assert 1 / moment(2) == pytest.approx(0.6215013937, abs=printed(10))
    exact = binomial_mean(p, k, lambda m: ess_rel(1.5 * (np.arange(k) < m), Groups.equal(1, k))[0])
    assert exact == pytest.approx(0.6361432805, abs=printed(10))
    found = delta_ess_rel(moment(2), moment(3), moment(4), k)
    assert found == pytest.approx(0.6320054681, abs=printed(10))


def test_leg_reduces_to_ess_on_policy():
    """π = μ: E w²/ρ = E w², E w³/ρ = E w³, E w⁴/ρ² = E w⁴."""
    m = LegMoments(w2=1.6, rho2=1.0, w_rho=1.0, w2_rho=1.6, w3_rho=3.1, w4_rho2=7.0)
    assert delta_target_policy(m, 16) == pytest.approx(delta_ess_rel(1.6, 3.1, 7.0, 16))


def test_leg_bias_against_an_exact_mean():
    """A binary world, every count of hits enumerated."""
    mu, pi, q, k = np.array([0.5, 0.5]), np.array([0.4, 0.6]), np.array([0.3, 0.7]), 32
    w, rho = q / mu, pi / mu
    mean = lambda x: float(mu @ x)  # noqa: E731
    moments = LegMoments(
        w2=mean(w**2),
        rho2=mean(rho**2),
        w_rho=mean(w * rho),
        w2_rho=mean(w**2 / rho),
        w3_rho=mean(w**3 / rho),
        w4_rho2=mean(w**4 / rho**2),
    )

    def leg(hits):
        drawn = (np.arange(k) < hits).astype(int)
        return target_policy(np.log(w)[drawn], np.log(rho)[drawn], Groups.equal(1, k))[0]

    exact, population = binomial_mean(0.5, k, leg), 1 / moments.w2_rho
    found = delta_target_policy(moments, k)
    assert abs(exact - population) > 1e-4
    assert found == pytest.approx(exact, abs=0.1 * abs(exact - population))


def test_rare_pass_reference():
    conditional, no_hit = rare_pass_ess_rel(0.05, 8)
    assert conditional == pytest.approx(0.1485532832, abs=printed(10))
    assert no_hit == pytest.approx(0.6634204313, abs=printed(10))
    exact = binomial_mean(0.05, 8, lambda m: m / 8) / (1 - no_hit)
    assert conditional == pytest.approx(exact)
