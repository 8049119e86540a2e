"""Roots of many falling functions at once: bracket by doubling, then guarded Newton."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

Falling = Callable[[Any], tuple[Any, Any]]
"""From x [n] to (value [n], slope [n]); value falls from above 0 to below 0."""


def falling_roots(function: Falling, guess: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The x > 0 at which each of n falling functions crosses 0, to a few units in the last place.

    Where doubling ``guess`` runs into the largest float without a crossing, the answer is +∞.
    Newton's step is taken when it stays inside the bracket, else the bracket is halved.
    """
    low, high, at_high = _bracket(function, np.array(guess, dtype=np.float64))
    unbounded = ~np.isfinite(high)
    high = np.where(unbounded, 1.0, high)
    low = np.where(unbounded, 1.0, low)
    x = np.where(at_high == 0, high, (low + high) / 2)
    for _ in range(200):  # halving alone needs at most 1100/… ; Newton ends it in about ten
        value, slope = function(x)
        low, high = np.where(value >= 0, x, low), np.where(value >= 0, high, x)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = x - value / slope
        inside = (newton > low) & (newton < high)
        following = np.where(value == 0, x, np.where(inside, newton, (low + high) / 2))
        done = np.abs(following - x) <= 2 * np.finfo(np.float64).eps * x
        x = following
        if bool((done | unbounded).all()):
            break
    return np.where(unbounded, np.inf, x)


def _bracket(function: Falling, high: Any) -> tuple[Any, Any, Any]:
    """Both ends, and the value at the upper one."""
    low = np.zeros_like(high)
    with np.errstate(over="ignore", invalid="ignore"):
        while True:
            value = function(high)[0]
            rising = np.isfinite(high) & (value > 0)
            if not rising.any():
                return low, high, value
            low = np.where(rising, high, low)
            high = np.where(rising, 2 * high, high)
