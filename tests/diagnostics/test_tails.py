"""Tail indicators against definitions in 50 digits, and their edge cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tod.base import DataError, Groups, to_numpy
from tod.diagnostics import ess_rel, length_mean, length_root, max_weight
from tod.diagnostics.tails import (
    SURROGATES,
    infinite_count,
    log_w_variance,
    max_minus_median,
    top_mass,
    truncated,
)
from tolerance import chance, double, of_weights, printed

W = np.array([0.0, -0.5, -1.2, -3.0])


def test_reference_values(backend):
    x, g = backend.make(W), Groups.equal(1, 4)
    near = printed(10) + backend.of_weights(4, 3.0)
    assert float(max_weight(x, g)[0]) == pytest.approx(0.5108525673, abs=near)
    assert float(top_mass(x, g)[0]) == pytest.approx(0.8207003119, abs=near)
    assert float(log_w_variance(x, g, ddof=0)[0]) == pytest.approx(1.2918750000, abs=near)
    assert float(log_w_variance(x, g)[0]) == pytest.approx(1.7225, abs=near)
    assert float(max_minus_median(x, g)[0]) == pytest.approx(1.2, abs=near)


def test_fifty_digits_on_adversarial_weights(adversarial, exact, rounded):
    for log_w, contexts, lists in adversarial:
        oracle = [exact(x) for x in lists]
        near = of_weights("float64", max(len(x) for x in lists), 1.0)
        np.testing.assert_allclose(
            max_weight(log_w, contexts), [float(o.max_weight()) for o in oracle], rtol=near
        )
        for m in (1, 2, 3):
            np.testing.assert_allclose(
                top_mass(log_w, contexts, m), [float(o.top_mass(m)) for o in oracle], rtol=near
            )
        np.testing.assert_allclose(
            log_w_variance(log_w, contexts), [rounded(o.variance()) for o in oracle], rtol=near
        )


def test_invalid_contexts_are_nan(invalid, backend):
    log_w, contexts = invalid
    for statistic in (log_w_variance, max_weight, top_mass, max_minus_median):
        assert np.isnan(to_numpy(statistic(backend.make(log_w), contexts))).all(), statistic


def test_variance_leaves_out_weights_outside_the_support(backend):
    x = backend.make([1.0, -np.inf, 3.0, -np.inf, 2.0, -np.inf])
    g = Groups(np.array([4, 2]))
    value = to_numpy(log_w_variance(x, g))
    assert value[0] == pytest.approx(2.0)
    assert np.isnan(value[1])
    assert infinite_count(x, g).tolist() == [2, 1]


def test_singleton_context(backend):
    x, g = backend.make([-3.0]), Groups.equal(1, 1)
    assert float(max_weight(x, g)[0]) == 1.0
    assert float(top_mass(x, g)[0]) == 1.0
    assert float(max_minus_median(x, g)[0]) == 0.0
    assert np.isnan(float(log_w_variance(x, g)[0]))


def test_top_mass_of_fewer_candidates_is_all_of_it(batch):
    log_w, contexts = batch
    value = top_mass(log_w, contexts, m=4)
    np.testing.assert_allclose(value[contexts.sizes <= 4], 1, rtol=double(8))
    assert (value[contexts.sizes > 4] < 1).all()


def test_top_mass_needs_a_candidate():
    with pytest.raises(DataError, match="m=0"):
        top_mass(W, Groups.equal(1, 4), m=0)


def test_median_is_an_order_statistic():
    g = Groups(np.array([4, 3, 3]))
    x = np.array([5.0, 1.0, 2.0, 9.0, 0.0, 7.0, 1.0, -np.inf, 4.0, -np.inf])
    assert max_minus_median(x, g).tolist() == [7.0, 6.0, np.inf]


@given(arrays(np.float64, st.integers(2, 10), elements=st.floats(-1, 1)), st.floats(1e-6, 1e-3))
def test_small_variance_is_minus_log_ess_rel(x, scale):
    g = Groups.equal(1, len(x))
    variance = log_w_variance(scale * x, g, ddof=0)[0]
    # the next term of the series: cumulants κ₃ of log w enter with 1, and |κ₃| ≤ 8·scale³
    near = 8 * scale**3 + double(len(x) + 8)
    assert -np.log(ess_rel(scale * x, g)[0]) == pytest.approx(variance, abs=near)


@given(arrays(np.float64, st.integers(1, 10), elements=st.floats(-30, 30)), st.integers(1, 4))
def test_bounds(x, m):
    g, k = Groups.equal(1, len(x)), len(x)
    slack = double(k + 8)
    assert 1 / k - slack <= max_weight(x, g)[0] <= 1
    assert min(m, k) / k - slack <= top_mass(x, g, m)[0] <= 1 + slack
    assert top_mass(x, g, 1)[0] == pytest.approx(max_weight(x, g)[0], rel=slack)


def test_permutations(batch, rng):
    log_w, contexts = batch
    order = rng.permutation(len(contexts))
    moved, rows = contexts.take(order)
    shuffle = np.lexsort((rng.random(contexts.total), contexts.owner))
    near = of_weights("float64", 16, np.abs(log_w).max())
    gap = max_minus_median(log_w, contexts)
    rounded = double(16 + 8, 4 * 64 / gap[gap > 0].min())  # the shift itself rounds the inputs
    for statistic in (log_w_variance, max_weight, top_mass, max_minus_median):
        value = statistic(log_w, contexts)
        np.testing.assert_allclose(statistic(log_w[rows], moved), value[order], rtol=near)
        np.testing.assert_allclose(statistic(log_w[shuffle], contexts), value, rtol=near)
        np.testing.assert_allclose(
            statistic(log_w + 64.0, contexts), value, rtol=rounded, err_msg=statistic.__name__
        )


def test_backends_agree(backend, batch):
    log_w, contexts = batch
    near = backend.of_weights(16, np.abs(log_w).max())
    for statistic in (log_w_variance, max_weight, top_mass, max_minus_median):
        np.testing.assert_allclose(
            to_numpy(statistic(backend.make(log_w), contexts)),
            statistic(log_w, contexts),
            rtol=near,
        )


def test_definitions(backend):
    w, lengths = backend.make([2.0, -6.0, 9.0]), np.array([1, 4, 9])
    near = {"rtol": backend.rounding(4)}
    np.testing.assert_allclose(to_numpy(length_mean(w, lengths)), [2, -1.5, 1], **near)
    np.testing.assert_allclose(to_numpy(length_root(w, lengths)), [2, -3, 3], **near)
    np.testing.assert_allclose(to_numpy(truncated(w, 1.5)), [1.5, -6, 1.5], **near)


def test_names_are_listed():
    assert set(SURROGATES) == {"length_mean", "length_root", "truncated", "tilt_only"}


def test_root_has_one_scale_at_all_lengths(rng):
    """Independent token gaps of variance s²: Var ω = T s², ESS_rel ≈ exp(−T s²)."""
    s, found = 0.05, {}
    for length in (100, 900):
        w = rng.normal(size=(4000, length)).sum(axis=1) * s
        one = Groups.equal(1, 4000)
        # a variance of n normal draws has the standard error √(2/n), relatively
        assert log_w_variance(w, one)[0] == pytest.approx(length * s**2, rel=chance(2**0.5, 4000))
        found[length] = log_w_variance(length_root(w, np.full(4000, length)), one)[0]
        if length == 100:
            # (mean w)²/mean w² of a log-normal: relatively √((e^{4v} − 4e^v + 3)/n), v = T s²
            spread = np.sqrt(np.exp(4 * length * s**2) - 4 * np.exp(length * s**2) + 3)
            near = chance(spread, 4000)
            assert ess_rel(w, one)[0] == pytest.approx(np.exp(-length * s**2), rel=near)
    assert found[100] == pytest.approx(found[900], rel=chance(2, 4000))


@pytest.mark.parametrize("lengths", [[1, 2], [1, 0, 2]])
def test_lengths_that_cannot_be(lengths):
    with pytest.raises(DataError, match="one positive number of tokens"):
        length_mean(np.zeros(3), np.array(lengths))
