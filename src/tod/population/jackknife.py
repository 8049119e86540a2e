"""ESS_rel of single groups with its first-order bias in K removed, as counts over cells."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, to_numpy
from tod.diagnostics.quantiles import quantile_ranks
from tod.population.equal_sizes import by_size
from tod.population.moments import SMALLEST_GROUP, Constant, constant_columns

__all__ = ["EssCounts", "jackknife_counts", "jackknife_ess"]

CELLS = 256
"""Cells of [0, 1] in which values are counted."""


@dataclass(frozen=True)
class EssCounts:
    """Groups by a value in [0, 1], in cells of 1/256; additive, so that steps can be pooled.

    Attributes:
        counts: Groups in every cell that holds one.
    """

    counts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Float[np.ndarray, " G"]) -> "EssCounts":
        """Count values, clipped to [0, 1]; NaN is left out."""
        finite = np.clip(values[~np.isnan(values)], 0.0, 1.0)
        cells, groups = np.unique(np.rint(finite * CELLS).astype(np.int64), return_counts=True)
        return cls(dict(zip(cells.tolist(), groups.tolist(), strict=True)))

    def __add__(self, other: "EssCounts") -> "EssCounts":
        """Counts of the groups of both."""
        cells = sorted({*self.counts, *other.counts})
        return EssCounts({c: self.counts.get(c, 0) + other.counts.get(c, 0) for c in cells})

    def __len__(self) -> int:
        """How many groups there are."""
        return sum(self.counts.values())

    def interval(self, share: float) -> tuple[float, float]:
        """Distribution-free 90 % interval of a quantile of the values, cut to [0, 1].

        Source: order statistics, the ranks of ``quantile_ranks``
        """
        n = len(self)
        lower, upper = quantile_ranks(n, share) if n else (0, 1)
        below = np.cumsum(list(self.counts.values()))
        cells = list(self.counts)
        low = 0.0 if lower < 1 else cells[int(np.searchsorted(below, lower))] / CELLS
        high = 1.0 if upper > n else cells[int(np.searchsorted(below, upper))] / CELLS
        return low, high

    def quantile(self, share: float) -> float:
        """The ⌈n·share⌉-th smallest value, to its cell."""
        wanted = max(math.ceil(len(self) * share), 1)
        below = np.cumsum(list(self.counts.values()))
        return list(self.counts)[int(np.searchsorted(below, wanted))] / CELLS

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"cells": list(self.counts), "groups": list(self.counts.values())}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EssCounts":
        """What ``to_dict`` made."""
        return cls(dict(zip(data["cells"], data["groups"], strict=True)))


def jackknife_ess(log_w: Float[Array, " N"], groups: Groups) -> Float[np.ndarray, " G"]:
    """K·ê − (K−1)·mean over i of ê without rollout i, ê = (Σw)²/(K·Σw²) of a group, [G].

    It may lie outside [0, 1]. NaN for groups of one rollout, and for those that hold NaN or +∞ or
    nothing finite; a weight of zero (−∞) counts in K.

    Source: Quenouille's jackknife of ESS_rel
    """
    x = to_numpy(log_w).astype(np.float64, copy=False)
    values = np.full(len(groups), np.nan)
    for where, columns in by_size(x, groups):
        if len(columns) > 1:
            values[where] = _of_columns(columns)
    return values


def jackknife_counts(log_w: Float[Array, " N"], groups: Groups, *, constant: Constant) -> EssCounts:
    """`jackknife_ess` of the groups that moments are made of, those with ω = −∞ among them.

    Args:
        log_w: ω, [N], nats, η included.
        groups: Rollouts of one prompt each; those of fewer than 4 are left out.
        constant: Whether constant groups are left out (``"blind"``) or count as 1 (``"one"``).
    """
    x = to_numpy(log_w).astype(np.float64, copy=False)
    values = [np.empty(0)]
    for _, columns in by_size(x, groups):
        if len(columns) >= SMALLEST_GROUP:
            found = _of_columns(columns)
            values.append(found[~constant_columns(columns)] if constant == "blind" else found)
    return EssCounts.of(np.concatenate(values))


def _of_columns(columns: Float[np.ndarray, "K G"]) -> Float[np.ndarray, " G"]:
    """The same of groups of equal size K ≥ 2, a group a column."""
    n = len(columns)
    top = columns.max(axis=0)
    usable = np.isfinite(top)
    with np.errstate(invalid="ignore"):
        w = columns - np.where(usable, top, np.inf)
        np.exp(w, out=w)
    square = w * w
    s1, s2 = w.sum(axis=0), square.sum(axis=0)
    without = (s1 - w) ** 2
    squares = s2 - square
    # without its largest weight the rest of a group is summed anew: the difference would cancel
    at = np.argmax(w, axis=0), np.arange(w.shape[1])
    w[at] = 0.0
    scale = np.maximum(w.max(axis=0), np.finfo(np.float64).tiny)
    w /= scale
    without[at] = w.sum(axis=0) ** 2
    squares[at] = np.einsum("kg,kg->g", w, w)
    ess = np.divide(without, squares, out=np.zeros_like(w), where=squares > 0) / (n - 1)
    with np.errstate(invalid="ignore"):
        value = s1 * s1 / s2 - (n - 1) * ess.mean(axis=0)
    return np.where(usable, value, np.nan)
