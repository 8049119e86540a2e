"""Spearman's rank correlation, and what is left of it once a third variable is known.

All functions take how often every condition counts: 1 of the conditions themselves, and whole
numbers of rows of resamples, all at once.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["partial_spearman", "ranks", "spearman"]

Counts = Float[np.ndarray, "*r n"]


def ranks(x: Float[np.ndarray, " n"], counts: Counts) -> Float[np.ndarray, "*r n"]:
    """Places in rising order from 1, as if x_i stood there ``counts[..., i]`` times.

    Equal values share the mean of their places.
    """
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.diff(x[order], prepend=np.nan) != 0)
    by_value = np.add.reduceat(counts[..., order], starts, axis=-1)
    mean = by_value.cumsum(axis=-1) - (by_value - 1) / 2
    place = np.unique(x, return_inverse=True)[1]
    each: Float[np.ndarray, "*r n"] = mean[..., place]
    return each


def spearman(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], counts: Counts
) -> Float[np.ndarray, " *r"]:
    """Correlation of the ranks, in [−1, 1]; NaN where one of the two does not vary.

    Source: Spearman 1904
    """
    middle = (counts.sum(axis=-1, keepdims=True) + 1) / 2
    a, b = ranks(x, counts) - middle, ranks(y, counts) - middle
    both, first, second = ((counts * s).sum(axis=-1) for s in (a * b, a * a, b * b))
    scale = np.sqrt(first * second)
    rho: Float[np.ndarray, " *r"] = np.full(both.shape, np.nan)
    np.divide(both, scale, out=rho, where=scale > 0)
    return rho


def partial_spearman(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    known: Float[np.ndarray, " n"],
    counts: Counts,
) -> Float[np.ndarray, " *r"]:
    """Correlation of the ranks of x and y once those of a third variable are taken out of both.

    (ρ_xy − ρ_xz·ρ_yz)/√((1 − ρ_xz²)(1 − ρ_yz²)), in [−1, 1]; NaN where the third says one of them
    whole, or one does not vary.

    Source: Kendall 1942, of ranks
    """
    xy, xz, yz = spearman(x, y, counts), spearman(x, known, counts), spearman(y, known, counts)
    left = (1 - xz**2) * (1 - yz**2)
    scale = np.where(left > _WHOLE, np.sqrt(np.maximum(left, _WHOLE)), np.nan)
    partial: Float[np.ndarray, " *r"] = np.clip((xy - xz * yz) / scale, -1.0, 1.0)
    return partial


_WHOLE = 1e-12
"""Share of the ranks' variance below which nothing is left but rounding."""
