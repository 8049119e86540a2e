"""ESS_rel from scale and shape: stated values, and the cumulant functions in many digits."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.population import ess_of_scale, log_ess_of_scale, scale_at_ess
from tod.population.shape import cumulant_function
from tolerance import double, printed, stated

STATED = {
    (0.0, 0.0): (0.91393, 0.69762, 0.44469),
    (0.0, 3.0): (0.89774, 0.0, 0.0),
    (0.0, -1.2): (0.91873, 0.74711, 0.58054),
    (1.0, 1.5): (0.88113, 0.44407, 0.01194),
    (-1.0, 1.5): (0.93366, 0.80340, 0.66691),
}
"""At h = .3, .6, .9, from quadratures good to 1e-3 of each."""


@pytest.mark.parametrize(("skew", "kurtosis"), STATED)
def test_stated_values(skew, kurtosis):
    got = ess_of_scale(np.array([0.3, 0.6, 0.9]), skew, kurtosis)
    near = stated(1e-3, "the digits that the stated values are good to")
    np.testing.assert_allclose(got, STATED[skew, kurtosis], rtol=near, atol=printed(5))


def exact_kappa(t: float, skew: float, kurtosis: float) -> mpmath.mpf:
    """κ of the closing law in 60 digits, from its usual parameters."""
    with mpmath.workdps(60):
        t, g1, g2 = mpmath.mpf(t), mpmath.mpf(skew), mpmath.mpf(kurtosis)
        if g2 >= 5 * g1**2 / 3:
            if g2 == 0:
                return t**2 / 2
            d = 3 / (g2 - 4 * g1**2 / 3)
            rho = g1 * mpmath.sqrt(d) / 3
            a = mpmath.sqrt(d) / (1 - rho**2)
            b, g = rho * a, a * mpmath.sqrt(1 - rho**2)
            inside = a**2 - (b + t) ** 2
            if inside < 0:
                return mpmath.inf
            return d / g * (g - mpmath.sqrt(inside)) - t * d / g * b / g
        if g2 >= 0:
            r, s = 2 / abs(g1), mpmath.sign(g1)
            if s * t >= r:
                return mpmath.inf
            return -(r**2) * mpmath.log(1 - s * t / r) - s * r * t
        roots = mpmath.polyroots([2, 0, g2, -(g1**2)], maxsteps=500, extraprec=400)
        x = max(root.real for root in roots if abs(root.imag) < abs(root.real))
        x = min(x, mpmath.mpf(1))
        s = g1 / x ** mpmath.mpf("1.5")
        p = (1 - s / mpmath.sqrt(4 + s**2)) / 2
        root = mpmath.sqrt(x)
        up, down = mpmath.sqrt((1 - p) / p), mpmath.sqrt(p / (1 - p))
        two = p * mpmath.exp(t * root * up) + (1 - p) * mpmath.exp(-t * root * down)
        return mpmath.log(two) + (1 - x) * t**2 / 2


SHAPES = [
    (0.0, 0.0),
    (0.0, 1e-9),
    (0.0, 0.4),
    (0.3, 0.151),
    (0.3, 6.0),
    (-0.8, 2.5),
    (1e-5, 1e-10),
    (0.02, 5e-4),
    (0.5, 0.3),
    (-0.5, 0.3),
    (1.7, 0.1),
    (0.0, -1e-6),
    (0.0, -1.9),
    (0.4, -0.5),
    (-1.2, -0.3),
    (1.5, -0.01),
    (2.0, -1.0),
]


@pytest.mark.parametrize(("skew", "kurtosis"), SHAPES)
def test_cumulant_function_in_many_digits(skew, kurtosis):
    for t in (1e-6, 0.01, 0.3, 0.9, 1.7, 3.0):
        got = float(cumulant_function(np.array([t]), np.array([skew]), np.array([kurtosis]))[0])
        want = float(exact_kappa(t, skew, kurtosis))
        # the two-point law's is the logarithm of a number near 1: rounded absolutely
        size = max(1.0, abs(want)) if kurtosis < 0 else abs(want)
        at = double(32, 8) * size if math.isfinite(want) else 0
        assert got == pytest.approx(want, rel=double(32, 8), abs=at), t


@given(st.floats(0.0, 2.5), st.floats(-2.5, 2.5), st.floats(-2.0, 8.0), st.floats(0.0, 1.0))
def test_it_is_a_share_and_falls_with_the_scale(h, skew, kurtosis, part):
    less, more = log_ess_of_scale(np.array([part * h, h]), skew, kurtosis)
    assert more <= less or less == pytest.approx(more, abs=double(32, 8 * (1 + h * h)))
    assert less <= 0


@given(st.floats(0.05, 0.95), st.floats(-1.0, 1.5), st.floats(-1.0, 5.0))
def test_the_scale_of_an_ess_is_the_largest_that_reaches_it(ess, skew, kurtosis):
    h = scale_at_ess(ess, skew, kurtosis)
    step = 2.0**-40
    assert float(ess_of_scale(h * (1 - step), skew, kurtosis)) >= ess
    assert h > 1e5 or float(ess_of_scale(h * (1 + step), skew, kurtosis)) < ess


def test_shapes_broadcast():
    got = log_ess_of_scale(np.array([[0.3], [0.6]]), np.array([0.0, 1.0, -1.0]), 1.5)
    assert got.shape == (2, 3)
    assert got[1, 2] == log_ess_of_scale(0.6, -1.0, 1.5)
