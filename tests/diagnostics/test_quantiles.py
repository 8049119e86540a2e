"""Order statistics, their intervals and Beta posteriors, against scipy and enumeration."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError
from tod.diagnostics import cluster_bootstrap, fraction_interval, quantile, quantile_interval
from tod.diagnostics.quantiles import (
    Ordered,
    binomial_cdf,
    fraction_exceeds,
    incomplete_beta,
    quantile_ranks,
)
from tolerance import chance, double, printed


@pytest.mark.parametrize("p", [0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_sorted_once_or_not_a_quantile_is_numpys(p, rng):
    for n in range(1, 60):
        x = rng.normal(size=n)
        expected = np.quantile(x, p, method="inverted_cdf")
        assert quantile(x, p) == Ordered(np.append(x, np.nan)).quantile(p) == expected


def test_unknown_values_are_left_out_and_counted():
    ordered = Ordered(np.array([2.0, np.nan, 1.0, np.nan]))
    assert (ordered.values.tolist(), len(ordered), ordered.unknown) == ([1, 2], 2, 2)
    assert Ordered(np.array([np.nan])).quantile(0.5) is None
    assert Ordered(np.array([np.inf])).quantile(0.5) is None


def test_quantile_is_a_value_that_exists():
    x = np.array([5.0, 1.0, 4.0, 2.0])
    assert [quantile(x, p) for p in (0.0, 0.25, 0.26, 0.5, 1.0)] == [1, 1, 2, 2, 5]


@pytest.mark.parametrize("x", [[], [1.0, np.nan]])
def test_quantile_of_unusable_values(x):
    with pytest.raises(DataError, match="no quantile"):
        quantile(np.array(x), 0.5)


@pytest.mark.parametrize("n", [1, 7, 50, 1000, 125_000])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.93])
def test_binomial_cdf_against_scipy(n, p):
    first, cdf = binomial_cdf(n, p)
    at = np.arange(first, first + len(cdf))
    near = double(len(cdf), 4 * n * np.log(max(n, 2)))  # log n! of both is some n·log n
    np.testing.assert_allclose(cdf, scipy.stats.binom.cdf(at, n, p), rtol=0, atol=near)
    assert scipy.stats.binom.cdf(first - 1, n, p) < 1e-30
    assert cdf[-1] == pytest.approx(1, abs=near)


def test_reference_ranks_and_their_coverage():
    low, high = quantile_ranks(50, 0.1, 0.95)
    assert (low, high) == (1, 10)
    cdf = scipy.stats.binom.cdf
    assert cdf(high - 1, 50, 0.1) - cdf(low - 1, 50, 0.1) == pytest.approx(
        0.9703082891, abs=printed(10)
    )


@given(st.integers(1, 400), st.sampled_from([0.05, 0.1, 0.5, 0.77]), st.sampled_from([0.5, 0.9]))
def test_ranks_are_the_tightest_that_cover(n, p, level):
    low, high = quantile_ranks(n, p, level)
    cdf, tail = (lambda k: scipy.stats.binom.cdf(k, n, p)), (1 - level) / 2
    edge = double(n, 4 * n * np.log(max(n, 2)))  # where a probability and the level are tied
    assert cdf(low - 1) <= tail + edge
    assert cdf(low) > tail - edge
    assert high == n + 1 or cdf(high - 1) >= 1 - tail - edge
    assert cdf(high - 2) < 1 - tail + edge


def test_few_contexts_bound_nothing():
    assert quantile_interval(np.array([0.3, 0.5]), 0.1) == (-math.inf, 0.5)
    assert quantile_interval(np.array([0.3]), 0.5) == (-math.inf, math.inf)
    assert quantile_interval(np.zeros(0), 0.5) == (-math.inf, math.inf)


def test_interval_covers_as_often_as_it_says(rng):
    truth, hits, trials = math.log(2), 0, 600
    for _ in range(trials):
        low, high = quantile_interval(rng.exponential(size=60), 0.5, 0.9)
        hits += low <= truth <= high
    assert hits / trials > 0.9 - chance(0.3, trials)


@given(st.floats(0.3, 3000), st.floats(0.3, 3000), st.floats(0, 1))
def test_incomplete_beta_against_scipy(a, b, x):
    size = (a + b) * np.log(a + b + 2)  # of the logarithms of Γ that cancel
    near = double(64, 4 * size)
    assert incomplete_beta(a, b, x) == pytest.approx(scipy.special.betainc(a, b, x), abs=near)


def test_reference_posterior():
    assert fraction_exceeds(9, 50, 0.1) == pytest.approx(0.9721291373, abs=printed(10))


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize(("below", "n"), [(0, 10), (10, 10), (9, 50), (400, 1000)])
def test_fraction_interval_against_scipy(below, n, prior):
    posterior = scipy.stats.beta(prior[0] + below, prior[1] + n - below)
    low, high = posterior.interval(0.9)
    want = (low if below else 0.0, high if below < n else 1.0)
    near = double(64, 4 * n * np.log(n)) / 0.05  # a density of 0.05·height at the ends
    assert fraction_interval(below, n, 0.9, prior) == pytest.approx(want, abs=near)


@pytest.mark.parametrize("n", [1, 2, 7, 48, 1000])
def test_an_interval_of_a_fraction_holds_the_fraction(n):
    """Version 0.1 showed `0.0% [0.1%, 4.0%]`."""
    for below in sorted({*range(min(n, 12) + 1), n // 2, n - 1, n}):
        low, high = fraction_interval(below, n)
        assert 0 <= low <= below / n <= high <= 1


def test_cluster_bootstrap_recovers_the_standard_error(rng):
    x = rng.normal(size=400)
    found = cluster_bootstrap(lambda c: float(x[c].mean()), 400, resamples=2000, seed=1)
    near = chance(0.5**0.5, 2000)  # a standard deviation of n draws: 1/√(2n), relatively
    assert found.standard_error == pytest.approx(x.std() / 20, rel=near)
    assert found.low < x.mean() < found.high
    again = cluster_bootstrap(lambda c: float(x[c].mean()), 400, resamples=2000, seed=1)
    assert again == found


@pytest.mark.parametrize("n", [1, 7])
def test_the_certain_and_the_impossible_outcome(n):
    assert [v.tolist() if hasattr(v, "tolist") else v for v in binomial_cdf(n, 0.0)] == [0, [1.0]]
    assert [v.tolist() if hasattr(v, "tolist") else v for v in binomial_cdf(n, 1.0)] == [n, [1.0]]
