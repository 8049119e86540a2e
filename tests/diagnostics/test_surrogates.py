"""Surrogates are what their names say, and none of them is the true weight."""

import numpy as np
import pytest

from tod.base import DataError, Groups, to_numpy
from tod.diagnostics import SURROGATES, ess_rel, length_mean, length_root, log_w_variance, truncated


def test_definitions(backend):
    w, lengths = backend.make([2.0, -6.0, 9.0]), np.array([1, 4, 9])
    near = {"rtol": backend.rtol}
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
        assert log_w_variance(w, one)[0] == pytest.approx(length * s**2, rel=0.1)
        found[length] = log_w_variance(length_root(w, np.full(4000, length)), one)[0]
        if length == 100:
            assert ess_rel(w, one)[0] == pytest.approx(np.exp(-length * s**2), rel=0.05)
    assert found[100] == pytest.approx(found[900], rel=0.1)


@pytest.mark.parametrize("lengths", [[1, 2], [1, 0, 2]])
def test_lengths_that_cannot_be(lengths):
    with pytest.raises(DataError, match="one positive number of tokens"):
        length_mean(np.zeros(3), np.array(lengths))
