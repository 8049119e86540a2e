"""PSIS against arviz-stats and the closed forms of its thresholds."""

import warnings

import numpy as np
import pytest
from arviz_stats.base import array_stats

from tod.base import Groups
from tod.diagnostics import fit_tail, pareto_k, smoothed_log_weights, weight_statistics
from tod.diagnostics.pareto import (
    convergence_rate,
    fit_generalised_pareto,
    khat_threshold,
    min_sample_size,
    pareto_k_pooled,
    tail_length,
)
from tolerance import chance, double, printed


def near(x, size=8.0):
    """Rounding of k̂: exceedances over the cutoff cancel, and their profile has the power M.

    Args:
        x: Log-weights, sorted or not.
        size: Largest of them, less their maximum where the difference is exact.
    """
    m = tail_length(len(x))
    w = np.exp(np.sort(x)[-m - 1 :] - x.max())
    first = w[int(m / 4 + 0.5)]
    return double(m + 35, size * m * first / (first - w[0]))


def test_reference_sample():
    x = -0.6 * np.log(1 - (np.arange(1, 1001) - 0.5) / 1000)
    assert tail_length(1000) == 94
    assert pareto_k(x, Groups.equal(1, 1000))[0] == pytest.approx(
        0.5832570419, abs=printed(10) + near(x)
    )


@pytest.mark.parametrize("size", [25, 60, 225, 226, 1000, 4321])
@pytest.mark.parametrize("law", ["normal", "heavy", "bounded"])
def test_arviz_agrees(size, law, rng):
    draw = {
        "normal": lambda: rng.normal(size=size) * 2,
        "heavy": lambda: -0.9 * np.log(rng.random(size)),
        "bounded": lambda: rng.beta(2, 3, size=size),
    }
    x = draw[law]()
    smoothed, k = array_stats.psislw(-x)  # it takes negative log-weights
    assert pareto_k(x, Groups.equal(1, size))[0] == pytest.approx(float(k), abs=near(x))
    # a quantile (1 − p)^{−k} is log(size) ≤ 9 times as far off as k
    np.testing.assert_allclose(smoothed_log_weights(x), smoothed, rtol=0, atol=10 * near(x))


def test_shift_and_order_do_not_matter(rng):
    x = np.round(rng.normal(size=300) * 2, 6)
    k = fit_tail(x).k
    assert fit_tail(rng.permutation(x)).k == pytest.approx(k, abs=near(x))
    assert fit_tail(x + 1e5).k == pytest.approx(k, abs=near(x, 1e5))  # rounded by the shift


def test_small_contexts_have_no_tail(rng):
    contexts = Groups(np.array([24, 25, 1]))
    found = pareto_k(rng.normal(size=50), contexts)
    assert np.isnan(found).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(100),
        np.r_[np.zeros(30), np.full(70, -np.inf)],
        np.full(40, -np.inf),
        np.r_[np.zeros(39), np.nan],
        np.r_[np.zeros(39), np.inf],
        np.r_[np.zeros(99), 1.0],  # a tail that is its cutoff but for one draw
    ],
    ids=["tied", "ties_and_outside", "outside", "nan", "infinite", "one_above"],
)
def test_tails_without_a_shape(x):
    assert np.isnan(fit_tail(x).k)


@pytest.mark.parametrize("noise", [0.0, 1e-13])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("eta", [1.0, 3.0])
def test_the_grid_of_a_binary_utility_is_no_tail(p, eta, noise, rng):
    """Weights of a 0/1 utility take as many values as there are pass counts: nothing to fit.

    Without the rule some of these read 10 and others -5, by which atoms the tail's quarter meets.
    """
    u = (rng.random((1000, 16)) < p).astype(float)
    keep = u.max(axis=1) > u.min(axis=1)
    x = (eta * u).ravel() + noise * rng.normal(size=u.size)
    assert pareto_k_pooled(x, Groups.equal(1000, 16), keep) is None


def test_repeated_draws_keep_their_shape(rng):
    """Every weight drawn twice is no grid: arviz and we read the same tail."""
    x = np.repeat(-0.6 * np.log(rng.random(1000)), 2)
    _, k = array_stats.psislw(-x)
    assert fit_tail(x).k == pytest.approx(float(k), abs=near(x))
    assert np.isnan(fit_tail(np.repeat(x[::2], 3)).k)


def test_a_fit_needs_five_values(rng):
    x = np.sort(rng.normal(size=30))
    assert not np.isnan(fit_tail(x).k)
    x[-1] = x[-2]  # six draws in the tail, five values
    assert not np.isnan(fit_tail(x).k)
    x[-1] = x[-2] = x[-3]  # four
    assert np.isnan(fit_tail(x).k)


def test_rounding_on_the_cutoff_is_a_tie(rng):
    """A quarter of the tail at the cutoff but for rounding must not set the scale."""
    x = np.sort(rng.normal(size=1000))
    size = tail_length(1000)
    x[-size - 1 : -size + size // 3] = x[-size - 1]
    assert np.isnan(fit_tail(x).k)
    x[-size - 1 : -size + size // 3] += 1e-14 * np.arange(size // 3 + 1)
    assert np.isnan(fit_tail(x).k)


def test_smoothing_without_a_fit_only_normalises():
    x = np.array([1.0, 1.0, -np.inf])
    assert np.exp(smoothed_log_weights(x)).tolist() == [0.5, 0.5, 0.0]


def test_pooled_is_the_fit_of_scaled_weights(rng):
    contexts = Groups(np.array([8, 3, 1, 16, 8]))
    x = rng.normal(size=contexts.total) * 2
    bar = contexts.softmax(x) * contexts.spread(contexts.sizes)
    assert pareto_k_pooled(x, contexts) == pytest.approx(
        fit_tail(np.log(bar)).k, abs=near(np.log(bar))
    )
    shift = contexts.spread(np.array([5.0, -3.0, 0.0, 100.0, 2.0]))
    assert pareto_k_pooled(x + shift, contexts) == pytest.approx(
        pareto_k_pooled(x, contexts), abs=near(np.log(bar), 100)
    )


def test_pooled_over_some_contexts(rng):
    contexts = Groups.equal(30, 8)
    x = rng.normal(size=240) * 2
    keep = rng.random(30) < 0.6
    x[8 * int(np.flatnonzero(~keep)[0])] = np.nan
    some, rows = contexts.take(np.flatnonzero(keep))
    assert pareto_k_pooled(x, contexts, keep) == pareto_k_pooled(x[rows], some)
    assert pareto_k_pooled(x, contexts) is None


def test_known_columns_only_save_work(rng):
    contexts = Groups(rng.permutation(np.array([8] * 40 + [16] * 20)))
    x = rng.normal(size=contexts.total) * 2
    keep = rng.random(60) < 0.7
    known = weight_statistics(x, contexts)
    given = pareto_k_pooled(x, contexts, keep, known.max_weight, known.log_z)
    assert given == pytest.approx(pareto_k_pooled(x, contexts, keep), abs=near(x))


def test_the_upper_part_is_enough(rng):
    x = rng.normal(size=5000)
    upper = np.sort(x)[-tail_length(5000) - 1 :]
    assert fit_tail(upper, draws=5000) == fit_tail(x)


def test_pooled_needs_25_candidates(rng):
    assert pareto_k_pooled(rng.normal(size=24), Groups.equal(3, 8)) is None
    assert pareto_k_pooled(np.zeros(32), Groups.equal(4, 8)) is None


def test_thresholds():
    found = [khat_threshold(s) for s in (64, 200, 1000, 2200)]
    expected = [0.4463453175, 0.5654120103, 0.6666666667, 0.7]
    assert found == pytest.approx(expected, abs=printed(10))
    found = [min_sample_size(k) for k in (-1.0, 0.5, 0.6, 0.7, 1.0)]
    expected = [10, 100, 316.2277660168, 2154.4346900319, np.inf]
    assert found == pytest.approx(expected, abs=printed(10))


def test_convergence_rate_limits():
    assert [convergence_rate(k, 1000) for k in (-0.5, 0.0, 1.0, 1.5)] == [1, 1, 0, 0]
    assert convergence_rate(0.5, 1000) == pytest.approx(1 - 1 / np.log(1000))
    rates = [convergence_rate(k, 10_000) for k in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert rates == sorted(rates, reverse=True)


def test_true_shape_is_recovered(rng):
    """Weights u^(−k) are Pareto with shape k."""
    for shape in (0.3, 0.7):
        x = -shape * np.log(rng.random(200_000))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert fit_tail(x).k == pytest.approx(
                shape, abs=chance(1 + shape, tail_length(200_000))
            )


@pytest.mark.parametrize("draws", [5, 30, 1000])
def test_the_rate_near_one_half(draws):
    """L'Hôpital at k = ½: S/(S − 1) − 1/ln S, of which the published limit is that of large S."""
    step = 1e-5
    near = [convergence_rate(0.5 + side * step, draws) for side in (-1, 1)]
    limit = draws / (draws - 1) - 1 / np.log(draws)
    assert near == pytest.approx([limit, limit], abs=step * np.log(draws))  # |slope| ≤ ln S
    assert convergence_rate(0.3, 10) == pytest.approx(0.8465409743, abs=printed(10))


def test_a_grid_point_of_the_exponential_law_is_its_limit():
    """M = 20: the ninth of 34 points is 1 − √(34/8.5) = −1, so that b = 0 where x_M = 3 x_q."""
    x = np.linspace(0.05, 0.9, 20)
    x[4], x[-1] = 1 / 3, 1.0
    near = x.copy()
    step = 1e-9
    near[-1] += step
    for exact, close in zip(fit_generalised_pareto(x), fit_generalised_pareto(near), strict=True):
        assert exact == pytest.approx(close, rel=4 * len(x) * step)  # M terms, each of slope 1
