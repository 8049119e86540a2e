"""All weight statistics of every context in one pass over cache-sized blocks (numpy).

The equations are in ``ess`` and ``tails``; this computes the same numbers fused. A block holds
contexts of one size K as [K, contexts], so that every reduction runs along the first axis over
long contiguous rows. The largest weights come from an exchange network of max and min, which also
yields the shift. Contexts of unequal size are gathered size by size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, DataError, Groups, is_numpy, to_numpy
from tod.diagnostics.ess import ess, log_z
from tod.diagnostics.tails import log_w_variance, max_weight, top_mass

_BLOCK = 1 << 16
"""Elements of a block: 512 KiB in float64, so that a block and one temporary stay in L2."""
_WIDE = 2048
"""From this K on a context fills vectors by itself; the row-wise equations are used in blocks."""


@dataclass(frozen=True)
class WeightStatistics:
    """Statistics of log_w per context, each [C] float64; NaN throughout an invalid context.

    Attributes:
        ess: (Σw)²/Σw², in [1, K].
        max_weight: max w̄.
        top_mass: Sum of the largest w̄, as many as were asked for.
        log_w_variance: Variance (ddof 1) of the finite log-weights, nats².
        log_z: LSE(ω) − log K, nats.
    """

    ess: Float[np.ndarray, " C"]
    max_weight: Float[np.ndarray, " C"]
    top_mass: Float[np.ndarray, " C"]
    log_w_variance: Float[np.ndarray, " C"]
    log_z: Float[np.ndarray, " C"]


def weight_statistics(
    log_w: Float[Array, " N"], contexts: Groups, top: int = 2
) -> WeightStatistics:
    """ESS, largest weight, top mass, variance and log Ẑ of every context.

    numpy goes through the blocked kernel, torch through the equations; both in float64.

    Raises:
        DataError: ``top`` < 1, or log_w is not one value per candidate.
    """
    if top < 1:
        raise DataError(f"top={top}: the mass of the largest weights needs at least one of them.")
    if tuple(log_w.shape) != (contexts.total,):
        raise DataError(
            f"log_w has shape {tuple(log_w.shape)}, the contexts hold {contexts.total} candidates."
        )
    if not is_numpy(log_w):
        return _by_equations(log_w, contexts, top)
    out = np.empty((len(fields(WeightStatistics)), len(contexts)))
    for chosen, block, wide in _blocks(np.asarray(log_w), contexts):
        for row, value in zip(out, _wide(block, top) if wide else _tall(block, top), strict=True):
            row[chosen] = value
    return WeightStatistics(*out)


def _tall(x: Any, top: int) -> list[Any]:
    """Statistics of the columns of x [K, B], in the order of the fields; overwrites x."""
    size = len(x)
    largest = _exchange(x, min(top, size))
    first = largest[0]
    valid = np.isfinite(first)
    shift = first if valid.all() else np.where(valid, first, np.nan)
    with np.errstate(over="ignore"):
        x -= shift
        held = sum((np.exp(row - shift) for row in largest[1:]), start=np.ones(len(shift)))
        variance = _variance(x)
    np.exp(x, out=x)
    total = x.sum(axis=0)
    effective = total * total / np.einsum("kb,kb->b", x, x)
    return [
        np.clip(effective, 1, size),  # Cauchy–Schwarz holds to rounding only
        1 / total,
        np.minimum(held / total, 1),
        variance,
        np.log(total) + (shift - np.log(size)),
    ]


def _exchange(x: Any, top: int) -> list[Any]:
    """The ``top`` largest of every column, largest first, by compare and exchange; NaN spreads."""
    held: list[Any] = []
    for row in x:
        rest = row
        for place, best in enumerate(held):
            lower = np.minimum(best, rest) if place + 1 < top else None
            np.maximum(best, rest, out=best)
            rest = lower
        if len(held) < top:
            held.append(rest.copy())
    return held


def _variance(x: Any) -> Any:
    """Variance of the columns of shifted x, ddof 1, over finite entries; NaN below two of them."""
    total = x.sum(axis=0)
    if len(x) > 1 and np.isfinite(total).all():
        deviation = x - total / len(x)
        return np.einsum("kb,kb->b", deviation, deviation) / (len(x) - 1)
    finite = np.isfinite(x)  # some column holds −∞, or is invalid and NaN throughout
    count = np.count_nonzero(finite, axis=0)
    deviation = np.where(finite, x, 0.0)
    deviation -= deviation.sum(axis=0) / np.maximum(count, 1)
    deviation *= finite
    squares = np.einsum("kb,kb->b", deviation, deviation)
    return np.divide(squares, count - 1, out=np.full(len(count), np.nan), where=count > 1)


def _wide(rows: Any, top: int) -> list[Any]:
    """Statistics of the rows of x [B, K] for large K, where a row fills vectors by itself."""
    flat = rows.astype(np.float64, copy=False).reshape(-1)
    found = _by_equations(flat, Groups.equal(*rows.shape), top)
    return [getattr(found, item.name) for item in fields(found)]


def _by_equations(log_w: Any, contexts: Groups, top: int) -> WeightStatistics:
    exact = log_w if is_numpy(log_w) else log_w.double()
    size = contexts.sizes.astype(np.float64)
    return WeightStatistics(
        ess=np.clip(to_numpy(ess(exact, contexts)), 1, size),
        max_weight=to_numpy(max_weight(exact, contexts)),
        top_mass=np.minimum(to_numpy(top_mass(exact, contexts, top)), 1),
        log_w_variance=to_numpy(log_w_variance(exact, contexts)),
        log_z=to_numpy(log_z(exact, contexts)),
    )


def _blocks(x: Any, contexts: Groups) -> Iterator[tuple[Any, Any, bool]]:
    """(contexts, log-weights, wide): [K, B] float64 and ours to overwrite, or [B, K] when wide."""
    if contexts.uniform is not None:
        yield from _equal_blocks(x.reshape(len(contexts), contexts.uniform))
        return
    narrow = np.uint16 if contexts.sizes.max(initial=0) < 1 << 16 else np.int64
    order = np.argsort(contexts.sizes.astype(narrow), kind="stable")  # radix sort when narrow
    changes = np.flatnonzero(np.diff(contexts.sizes[order])) + 1
    for members in np.split(order, changes):
        yield from _gathered_blocks(x, contexts, members)


def _equal_blocks(rows: Any) -> Iterator[tuple[Any, Any, bool]]:
    count, size = rows.shape
    step = max(1, _BLOCK // size)
    for start in range(0, count, step):
        part = rows[start : start + step]
        wide = size >= _WIDE
        block = part if wide else np.array(part.T, dtype=np.float64, order="C")
        yield slice(start, start + len(part)), block, wide


def _gathered_blocks(
    x: Any, contexts: Groups, members: Int[np.ndarray, " c"]
) -> Iterator[tuple[Any, Any, bool]]:
    size = int(contexts.sizes[members[0]]) if len(members) else 1
    step = max(1, _BLOCK // size)
    for start in range(0, len(members), step):
        chosen = members[start : start + step]
        place = contexts.offsets[chosen]
        if size >= _WIDE:
            yield chosen, x[place[:, None] + np.arange(size)], True
            continue
        block = np.empty((size, len(chosen)))
        for row in block:
            x.take(place, out=row, mode="clip")
            place += 1
        yield chosen, block, False
