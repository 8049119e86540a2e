"""All statistics of every context in one pass over cache-sized blocks (numpy).

The equations are in ``ess``, ``tails``, ``overlap``, ``coverage`` and ``classes``; here a block of
contexts shares their shifts and one exponential per candidate. A block turns a flat array [N] into
columns [K, B], one context a column, so that reductions over candidates run along long contiguous
rows. Contexts of unequal size are sorted by size, a stretch of them at a time: what is gathered and
what is stored then stay in the cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, DataError, Groups, is_numpy, to_numpy
from tod.diagnostics.ess import ess_of_sums
from tod.diagnostics.overlap import carried_by, legs_of_columns, policy_proposal, target_policy

ELEMENTS = 1 << 16
"""Candidates of a block: 512 KiB in float64, so that it stays in L2 with the rows made of it."""
WIDE = 2048
"""From this K on a context is a long row by itself, and reductions run along it as it lies."""
SHORT = 256
"""Up to this K a variance is read off the sum of squares."""
STRETCH = 4096
"""Contexts per candidate of the largest one that are sorted by size together: rows of a block are
then about as long as with equal contexts."""


@dataclass(frozen=True)
class WeightStatistics:
    """Statistics of log_w per context, each [C] float64; NaN throughout an invalid context.

    Attributes:
        ess: (Σw)²/Σw², in [1, K].
        max_weight: max w̄, in [1/K, 1].
        top_mass: Sum of the largest w̄, as many as were asked for, in (0, 1].
        log_w_variance: Variance (ddof 1) of the finite log-weights, nats²; NaN below two of them.
        log_z: LSE(ω) − log K, nats.
    """

    ess: Float[np.ndarray, " C"]
    max_weight: Float[np.ndarray, " C"]
    top_mass: Float[np.ndarray, " C"]
    log_w_variance: Float[np.ndarray, " C"]
    log_z: Float[np.ndarray, " C"]


WEIGHT = tuple(item.name for item in fields(WeightStatistics))
TILT = ("tilt_min", "tilt_max")
UTILITY = ("utility_mean", "utility_min", "utility_max")
LEG = ("policy_proposal", "target_policy", "carried_by")
RHO = ("rho_largest", "rho_total", "rho_squares")


def weight_statistics(
    log_w: Float[Array, " N"], contexts: Groups, top: int = 2
) -> WeightStatistics:
    """ESS, largest weight, top mass, variance and log Ẑ of every context, in float64.

    Args:
        log_w: log q̃*/μ, nats, of either library; −∞ outside the target's support.
        contexts: Candidates in contexts.
        top: How many of the largest weights ``top_mass`` adds.

    Raises:
        DataError: ``top`` < 1, or log_w is not one value per candidate.
    """
    return WeightStatistics(**per_context(contexts, log_w, top=top))


def per_context(
    contexts: Groups,
    log_w: Array,
    *,
    tilt: Array | None = None,
    utility: Array | None = None,
    log_r: Array | None = None,
    top: int = 2,
) -> dict[str, Any]:
    """Columns [C] by name: ``WEIGHT``, then ``TILT``, ``UTILITY``, ``LEG`` and ``RHO`` where known.

    Raises:
        DataError: ``top`` < 1, or an array is not one value per candidate.
    """
    if top < 1:
        raise DataError(f"top={top}: the mass of the largest weights needs at least one of them.")
    w, a, u, r = (_float64(x, contexts.total) for x in (log_w, tilt, utility, log_r))
    names = [*WEIGHT]
    names += [
        n
        for x, group in ((a, TILT), (u, UTILITY), (r, (*LEG, *RHO)))
        if x is not None
        for n in group
    ]
    columns = dict(zip(names, np.empty((len(names), len(contexts))), strict=True))
    room, more = np.empty((2, max(ELEMENTS, int(contexts.sizes.max(initial=0)))))
    for block in blocks(contexts):
        weights = block.columns(w, room)
        values = of_columns(weights, top)
        if a is not None:
            x = block.columns(a, more)
            values += [x.min(axis=0), x.max(axis=0)]
        if u is not None:
            x = block.columns(u, more)
            values += [x.sum(axis=0) / block.size, x.min(axis=0), x.max(axis=0)]
        if r is not None:
            values += _of_policy(block, weights, block.columns(r, more), w, r)
        for column, value in zip(columns.values(), values, strict=True):
            column[block.contexts] = value
    return columns


def of_columns(x: Float[np.ndarray, "K B"], top: int) -> list[Any]:
    """Statistics of the columns of x, in the order of ``WEIGHT``; x becomes w over its largest."""
    size = len(x)
    largest = _largest(x, min(top, size))
    valid = np.isfinite(largest[0])
    shift = largest[0] if valid.all() else np.where(valid, largest[0], np.nan)
    with np.errstate(over="ignore"):
        x -= shift
        held = sum((np.exp(row - shift) for row in largest[1:]), start=np.ones(len(shift)))
        variance = _variance(x)
    np.exp(x, out=x)
    total = x.sum(axis=0)
    heaviest = 1 / total
    held *= heaviest
    return [
        np.clip(ess_of_sums(total, _squares(x)), 1, size),  # Cauchy–Schwarz holds to rounding only
        heaviest,
        np.minimum(held, 1, out=held),
        variance,
        np.log(total, out=total) + (shift - np.log(size)),
    ]


def _of_policy(block: "Block", w: Any, r: Any, log_w: Any, log_r: Any) -> list[Any]:
    """``LEG`` and ``RHO``; w is e^ω over its largest, r is log π/μ and becomes ρ over its largest.

    Where a ρ is too small for plain weights the equations apply, which carry logarithms.
    """
    largest = r.max(axis=0)
    usable = np.isfinite(largest)
    with np.errstate(over="ignore", invalid="ignore"):
        r -= largest if usable.all() else np.where(usable, largest, 0.0)
        np.exp(r, out=r)
        sums = [largest, r.sum(axis=0), _squares(r)]
    legs = legs_of_columns(w, r) if block.size > 1 and usable.all() else None
    if legs is None:
        omega, gap, groups = block.flat(log_w), block.flat(log_r), block.groups
        legs = (
            policy_proposal(gap, groups),
            target_policy(omega, gap, groups),
            carried_by(omega, gap, groups),
        )
    return [*legs, *sums]


def _largest(x: Any, top: int) -> list[Any]:
    """The ``top`` largest of every column, largest first, NaN before all; by compare and exchange.

    Long columns are partitioned instead.
    """
    if len(x) >= WIDE:
        return list(np.sort(np.partition(x, -top, axis=0)[-top:], axis=0)[::-1])
    ordered: list[Any] = []
    for row in x:
        rest = row
        for place, best in enumerate(ordered):
            lower = np.minimum(best, rest) if place + 1 < top else None
            np.maximum(best, rest, out=best)
            rest = lower
        if len(ordered) < top:
            ordered.append(rest.copy())
    return ordered


def _squares(x: Any) -> Any:
    """Σx² of every column."""
    return np.einsum("kb,kb->b", x, x)


def _variance(x: Any) -> Any:
    """Variance of the columns of x, ddof 1, over finite entries; NaN below two of them.

    Each column holds a 0, its largest: Σx² ≤ (K + 1) Σ(x − mean)², so that in short columns the
    difference Σx² − (Σx)²/K loses no more than K + 1 roundings.
    """
    size, squares = len(x), _squares(x)
    if 1 < size <= SHORT and np.isfinite(squares).all():
        total = x.sum(axis=0)
        total *= total / size
        squares -= total
        squares /= size - 1
        return squares
    finite = np.isfinite(x)  # some column holds −∞, or is invalid and NaN throughout
    count = np.count_nonzero(finite, axis=0)
    deviation = np.where(finite, x, 0.0)
    deviation -= deviation.sum(axis=0) / np.maximum(count, 1)
    deviation *= finite
    return np.divide(
        _squares(deviation), count - 1, out=np.full(len(count), np.nan), where=count > 1
    )


@dataclass(frozen=True)
class Block:
    """B contexts of K candidates.

    Attributes:
        contexts: Their places among all contexts.
        size: K.
        start: First candidate of each, [B].
        together: Whether they lie one behind the other.
    """

    contexts: slice | Int[np.ndarray, " B"]
    size: int
    start: Int[np.ndarray, " B"]
    together: bool

    @property
    def groups(self) -> Groups:
        """The contexts of this block alone."""
        return Groups.equal(len(self.start), self.size)

    def columns(self, x: Any, room: Any) -> Any:
        """Their values [K, B], one context a column, copied into ``room``."""
        count, size = len(self.start), self.size
        block = room[: count * size]
        rows = block.reshape(count, size)
        if self.together:
            first = int(self.start[0])
            values = x[first : first + count * size].reshape(count, size)
            if size < WIDE:
                block = block.reshape(size, count)
                block[...] = values.T
                return block
            rows[...] = values
        elif size < WIDE:
            block = block.reshape(size, count)
            place = self.start.copy()
            for row in block:
                x.take(place, out=row, mode="clip")
                place += 1
            return block
        else:
            for row, first in zip(rows, self.start.tolist(), strict=True):
                row[:] = x[first : first + size]
        return rows.T

    def flat(self, x: Any) -> Any:
        """Their values [N], one context behind the other."""
        return self.columns(x, np.empty(len(self.start) * self.size)).T.reshape(-1)


def blocks(contexts: Groups) -> Iterator[Block]:
    """Every context once, in blocks of about ``ELEMENTS`` candidates."""
    offsets, sizes, count = contexts.offsets, contexts.sizes, len(contexts)
    if contexts.uniform is not None:
        for part in _cut(0, count, contexts.uniform):
            yield Block(part, contexts.uniform, offsets[:-1][part], together=True)
        return
    largest = int(sizes.max(initial=0))
    keys = sizes.astype(np.uint16) if largest < 1 << 16 else sizes  # radix sort when narrow
    for first in range(0, count, STRETCH * max(largest, 1)):
        order = first + np.argsort(keys[first : first + STRETCH * largest], kind="stable")
        ordered = sizes[order]
        edges = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(order)]
        for low, high in pairwise(edges):
            for part in _cut(low, high, int(ordered[low])):
                members = order[part]
                yield Block(members, int(ordered[low]), offsets[members], together=False)


def _cut(low: int, high: int, size: int) -> Iterator[slice]:
    """Places low to high in stretches of at most ``ELEMENTS`` candidates."""
    step = max(1, ELEMENTS // size)
    return (slice(first, min(first + step, high)) for first in range(low, high, step))


def _float64(x: Any, total: int) -> Any:
    """An array of either library in numpy's float64; None stays None."""
    if x is None:
        return None
    if tuple(x.shape) != (total,):
        raise DataError(
            f"an array of shape {tuple(x.shape)} for {total} candidates: give one value per "
            "candidate, contexts contiguous."
        )
    return np.asarray(x if is_numpy(x) else to_numpy(x.double()), dtype=np.float64)
