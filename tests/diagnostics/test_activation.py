"""Activation, clip fractions by sign, and quantiles of log ρ."""

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.diagnostics import activation, clip_fractions, gate_quantiles, log_rho_quantiles

OLD = np.array([-1.0, -2.0, -0.5, -0.7, -1.5, -2.5, -0.3])
NEW = np.array([-0.5, -2.1, -0.5, -1.2, -0.2, -2.4, -0.35])
LOG_RHO = NEW - OLD
ADVANTAGE = Groups(np.array([3, 4])).spread(np.array([1.2, -0.7]))


def test_reference_fractions(backend):
    found = clip_fractions(backend.make(LOG_RHO), backend.make(ADVANTAGE), 0.2, 0.28)
    assert (found.low, found.high) == (1 / 7, 1 / 7)


def test_soft_gate_reference(backend):
    tau = np.where(ADVANTAGE > 0, 1.0, 1.05)
    p = 1 / (1 + np.exp(-tau * (np.exp(LOG_RHO) - 1)))
    assert activation(backend.make(4 * p * (1 - p))) == pytest.approx(
        1 - 0.8671331715, abs=max(1e-9, 10 * backend.rtol)
    )


def test_the_sign_decides():
    """Every token is outside the band; a clip acts only where it would stop a gradient."""
    x = np.log([0.5, 2.0, 0.5, 2.0])
    found = clip_fractions(x, np.array([1.0, -1.0, -1.0, 1.0]), 0.2, 0.2)
    assert (found.low, found.high) == (0.25, 0.25)


def test_the_band_is_in_rho_not_in_its_logarithm():
    """1 − 0.2 = 0.8 is the lower edge, 1/1.2 = 0.83 is not."""
    x = np.log([0.82, 0.79, 1.19, 1.21])
    found = clip_fractions(x, np.array([-1.0, -1.0, 1.0, 1.0]), 0.2, 0.2)
    assert (found.low, found.high) == (0.25, 0.25)


def test_both_denominators(backend):
    x = backend.make(np.log([0.5, 2.0, 2.0, 1.0]))
    found = clip_fractions(x, backend.make([-1.0, 1.0, 0.0, 0.0]), 0.2, 0.2)
    assert (found.low, found.high) == (0.25, 0.25)
    assert (found.low_active, found.high_active) == (0.5, 0.5)
    blind = clip_fractions(x, backend.make(np.zeros(4)), 0.2, 0.2)
    assert (blind.low, blind.low_active, blind.high_active) == (0.0, None, None)


def test_no_lower_bound_from_one_on():
    found = clip_fractions(np.array([-np.inf, -50.0]), np.array([-1.0, -1.0]), 1.0, 0.2)
    assert found.low == 0.0


@pytest.mark.parametrize(("low", "high", "size"), [(-0.1, 0.2, 1), (0.2, -0.1, 1), (0.2, 0.2, 0)])
def test_nonsense(low, high, size):
    with pytest.raises(DataError, match="clip fractions"):
        clip_fractions(np.zeros(size), np.zeros(size), low, high)


def test_activation_of_nothing_is_unknown(backend):
    assert activation(backend.make([])) is None
    assert activation(backend.make([1.0, 0.0, 0.5, 0.5])) == 0.5


def test_quantiles_are_order_statistics(backend, rng):
    x = rng.normal(size=101)
    found = log_rho_quantiles(backend.make(x))
    ordered = np.sort(x)
    assert list(found) == ["min", "q01", "q05", "q50", "q95", "q99", "max"]
    picked = [ordered[i] for i in (0, 1, 5, 50, 95, 99, 100)]
    assert list(found.values()) == pytest.approx(picked, rel=backend.rtol)
    assert gate_quantiles(backend.make(x))["q50"] == pytest.approx(ordered[50], rel=backend.rtol)
