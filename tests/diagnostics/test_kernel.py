"""The fused kernel is the equations: equal, ragged, wide, narrow, clean and invalid blocks."""

from dataclasses import astuple, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, Groups
from tod.diagnostics import (
    WeightStatistics,
    ess,
    kernel,
    log_w_variance,
    log_z,
    max_weight,
    top_mass,
    weight_statistics,
)
from tod.diagnostics import blocks as _blocks

NAMES = [item.name for item in fields(WeightStatistics)]


def by_equations(x, contexts, top):
    return WeightStatistics(
        ess(x, contexts),
        max_weight(x, contexts),
        top_mass(x, contexts, top),
        log_w_variance(x, contexts),
        log_z(x, contexts),
    )


def assert_same(got, expected, rtol=1e-13):
    for name in NAMES:
        np.testing.assert_allclose(
            getattr(got, name), getattr(expected, name), rtol=rtol, atol=1e-14, err_msg=name
        )


def polluted(rng, total, share):
    x = rng.standard_t(3, size=total) * 2
    for value in (-np.inf, np.nan, np.inf):
        x[rng.random(total) < share] = value
    return x


@pytest.mark.parametrize("top", [1, 2, 3, 20])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("size", [1, 2, 8, 33])
def test_equal_contexts(size, share, top, rng, monkeypatch):
    monkeypatch.setattr(_blocks, "ELEMENTS", 100)  # so that many blocks and a short last one occur
    contexts = Groups.equal(41, size)
    x = polluted(rng, contexts.total, share)
    assert_same(weight_statistics(x, contexts, top), by_equations(x, contexts, top))


@pytest.mark.parametrize("wide", [4, 2048])
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_ragged_contexts(share, wide, rng, monkeypatch):
    monkeypatch.setattr(_blocks, "ELEMENTS", 64)
    monkeypatch.setattr(kernel, "WIDE", wide)
    contexts = Groups(rng.integers(1, 12, size=300))
    x = polluted(rng, contexts.total, share)
    assert_same(weight_statistics(x, contexts), by_equations(x, contexts, 2))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_any_sizes(sizes, seed):
    rng, contexts = np.random.default_rng(seed), Groups(np.array(sizes))
    x = polluted(rng, contexts.total, 0.03)
    assert_same(weight_statistics(x, contexts), by_equations(x, contexts, 2))


def test_fifty_digits_on_adversarial_weights(adversarial, exact, rounded):
    for log_w, contexts, lists in adversarial:
        oracle = [exact(x) for x in lists]
        got = weight_statistics(log_w, contexts)
        for values, expected in (
            (got.ess, [float(o.ess()) for o in oracle]),
            (got.max_weight, [float(o.max_weight()) for o in oracle]),
            (got.top_mass, [float(o.top_mass(2)) for o in oracle]),
            (got.log_w_variance, [rounded(o.variance()) for o in oracle]),
            (got.log_z, [rounded(o.log_z()) for o in oracle]),
        ):
            np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_very_wide_context(rng, exact):
    x = rng.normal(size=5000) * 2
    got, oracle = weight_statistics(x, Groups.equal(1, 5000)), exact(x.tolist())
    assert got.ess[0] == pytest.approx(float(oracle.ess()), rel=1e-12)
    assert got.log_w_variance[0] == pytest.approx(float(oracle.variance()), rel=1e-12)
    assert got.top_mass[0] == pytest.approx(float(oracle.top_mass(2)), rel=1e-12)


def test_bounds_hold_exactly(rng):
    contexts = Groups.equal(20_000, 7)
    x = rng.normal(size=contexts.total) * 1e-8
    got = weight_statistics(x, contexts)
    assert (got.ess >= 1).all()
    assert (got.ess <= 7).all()
    assert (got.top_mass <= 1).all()


def test_the_input_is_left_alone(rng):
    x = rng.normal(size=24)
    before = x.copy()
    weight_statistics(x, Groups.equal(3, 8))
    weight_statistics(x, Groups(np.array([4, 20])))
    assert x.tolist() == before.tolist()


def test_backends_agree(backend, batch):
    log_w, contexts = batch
    got = weight_statistics(backend.make(log_w), contexts)
    assert all(value.dtype == np.float64 for value in astuple(got))
    assert_same(got, weight_statistics(log_w, contexts), rtol=20 * backend.rtol)


def test_single_precision_is_widened_before_the_sums(rng):
    x = (rng.normal(size=64) * 3).astype(np.float32)
    contexts = Groups.equal(8, 8)
    assert_same(weight_statistics(x, contexts), weight_statistics(x.astype(float), contexts))


def test_no_contexts():
    got = weight_statistics(np.zeros(0), Groups(np.zeros(0, np.int64)))
    assert [len(value) for value in astuple(got)] == [0] * len(NAMES)


def test_bad_input():
    with pytest.raises(DataError, match="3 candidates"):
        weight_statistics(np.zeros(4), Groups.equal(1, 3))
    with pytest.raises(DataError, match="top=0"):
        weight_statistics(np.zeros(3), Groups.equal(1, 3), top=0)
