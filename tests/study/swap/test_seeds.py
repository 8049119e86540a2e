"""Means over pairs of seeds by loops, and the jackknife's expectation."""

import numpy as np
import pytest
from scipy import stats

from tod.study.swap.estimate import Estimate, mean_over_seeds
from tod.study.swap.seeds import jackknife_error, mean_over_pairs, without_each
from tolerance import chance, double


def symmetric(rng: np.random.Generator, seeds: int, *before: int) -> np.ndarray:
    table = rng.normal(size=(*before, seeds, seeds))
    return table + table.swapaxes(-1, -2)


def looped(kernel: np.ndarray) -> float:
    places = range(len(kernel))
    return float(np.mean([kernel[s, t] for s in places for t in places if s != t]))


@pytest.mark.parametrize("seeds", [3, 4, 7])
def test_every_mean_is_the_one_of_the_seeds_left(seeds: int) -> None:
    kernel = symmetric(np.random.default_rng(seeds), seeds, 2)
    near = double(seeds**2 + 4, 10)
    for row in range(2):
        assert mean_over_pairs(kernel)[row] == pytest.approx(looped(kernel[row]), abs=near)
        for s in range(seeds):
            rest = np.delete(np.delete(kernel[row], s, 0), s, 1)
            assert without_each(kernel)[row, s] == pytest.approx(looped(rest), abs=near)


def test_the_diagonal_is_not_read() -> None:
    kernel = symmetric(np.random.default_rng(0), 4)
    other = kernel + np.diag(np.full(4, np.nan))
    assert mean_over_pairs(other) == mean_over_pairs(kernel)
    assert (without_each(other) == without_each(kernel)).all()


def test_two_seeds_leave_no_pair() -> None:
    kernel = np.ones((2, 2))
    assert mean_over_pairs(kernel) == 1
    assert np.isnan(without_each(kernel)).all()
    assert np.isnan(jackknife_error(without_each(kernel)))


def test_of_a_mean_it_is_the_standard_error() -> None:
    x = np.random.default_rng(1).normal(size=5)
    kernel = 0.5 * (x[:, None] + x[None, :])
    error = jackknife_error(without_each(kernel))
    assert error == pytest.approx(x.std(ddof=1) / np.sqrt(5), rel=double(40, 10))
    estimate = mean_over_seeds(x)
    assert estimate.error == pytest.approx(error, rel=double(40, 10))
    assert estimate.p == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    low, high = estimate.interval(0.9)
    want = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert (low, high) == pytest.approx((want.low, want.high))


@pytest.mark.parametrize("seeds", [4, 8])
def test_where_no_seed_matters_it_is_too_large_by_the_factor_told(seeds: int) -> None:
    """h(s, t) = x_s·x_t has mean 0 and no part of one seed alone: Var U = 2/(S(S − 1))."""
    draws = 20_000
    x = np.random.default_rng(2).normal(size=(draws, seeds))
    errors = jackknife_error(without_each(x[:, :, None] * x[:, None, :])) ** 2
    truth = 2 / (seeds * (seeds - 1))
    factor = 2 * (seeds - 1) / (seeds - 2)
    assert abs(errors.mean() / truth - factor) < chance(errors.std() / truth, draws)


def test_an_estimate_says_what_it_does_not_know() -> None:
    one = mean_over_seeds(np.array([0.3]))
    assert (one.value, one.error, one.t, one.p, one.interval(), one.beyond(2)) == (
        0.3, None, None, None, None, None,
    )  # fmt: skip
    same = Estimate(0.1, 0.0, 4)
    assert same.p == 0
    assert same.beyond(100)
    assert Estimate(0.0, 0.0, 4).p == 1
    assert not Estimate(0.0, 0.0, 4).beyond(0)
    assert Estimate(-0.1, 0.0, 4).t == -np.inf
