"""Roots against closed forms, over many orders of magnitude at once."""

import math

import numpy as np
import pytest

from tod.base.roots import falling_roots
from tolerance import double


@pytest.mark.parametrize("guess", [1e-12, 1.0, 1e12])
def test_roots_of_a_falling_exponential(guess):
    """C e^(−x/s) − 1 falls through 0 at s ln C."""
    scale, factor = np.array([1e-8, 0.3, 7.0, 1e9]), np.array([1.5, 20.0, math.e, 1e6])

    def function(x):
        e = factor * np.exp(-x / scale)
        return e - 1, -e / scale

    with np.errstate(under="ignore"):
        found = falling_roots(function, np.full(4, guess))
    # a value is rounded where it crosses 0, and log C of the first is small
    near = double(8, 1 + 1 / np.log(factor).min())
    np.testing.assert_allclose(found, scale * np.log(factor), rtol=near)


def test_a_function_that_never_falls_has_its_root_at_infinity_and_stops_no_other():
    calls = []

    def function(x):
        calls.append(x.copy())
        return np.where([True, False], 1.0, 5.0 - x), np.where([True, False], 0.0, -1.0)

    assert falling_roots(function, np.array([1.0, 1.0])).tolist() == [np.inf, 5.0]
    finite = [x[0] for x in calls if np.isfinite(x[0])]
    assert max(finite) > 1e307  # looked for until the floats end
    assert len(calls) < 1100 + 20


def test_newton_steps_out_of_the_bracket_are_halvings():
    """1 − x^9 is so flat below 1 that Newton's step from there leaves the bracket."""
    found = falling_roots(lambda x: (1 - x**9, -9 * x**8), np.array([0.3]))
    assert found == pytest.approx([1.0], rel=double(4), abs=0)
    kink = falling_roots(
        lambda x: (np.where(x < 2, 1.0, 2 - x), np.where(x < 2, 0.0, -1.0)), np.ones(1)
    )
    assert kink == pytest.approx([2.0], rel=double(4), abs=0)


def test_a_root_at_the_guess_is_the_guess():
    assert falling_roots(lambda x: (3 - x, -np.ones_like(x)), np.array([3.0])).tolist() == [3.0]


def test_few_evaluations_are_needed():
    calls = []

    def function(x):
        calls.append(1)
        return 2 - np.sqrt(x), -0.5 / np.sqrt(x)

    assert falling_roots(function, np.array([1.0])).tolist() == [4.0]
    assert len(calls) <= 12
