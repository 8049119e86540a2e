"""All weight statistics of every context in one pass over cache-sized blocks (numpy).

The equations are in ``ess`` and ``tails``; this computes the same numbers fused. The largest
weights come from an exchange network of max and min, which also yields the shift.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, Groups, is_numpy, to_numpy
from tod.diagnostics.blocks import WIDE, Block, blocks
from tod.diagnostics.ess import ess, log_z
from tod.diagnostics.tails import log_w_variance, max_weight, top_mass


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


NAMES = tuple(item.name for item in fields(WeightStatistics))


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
    x: Any = log_w
    if not is_numpy(x):
        return WeightStatistics(*by_equations(x.double(), contexts, top))
    out = np.empty((len(NAMES), len(contexts)))
    for block in blocks(contexts):
        found = of_rows(block, x, top) if block.size >= WIDE else of_columns(block.columns(x), top)
        for row, value in zip(out, found, strict=True):
            row[block.contexts] = value
    return WeightStatistics(*out)


def of_columns(x: Float[np.ndarray, "K B"], top: int) -> list[Any]:
    """Statistics of the columns of x, in the order of ``NAMES``; x becomes w/max w."""
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


def of_rows(block: Block, x: Any, top: int) -> list[Any]:
    """The same for contexts so large that each fills vectors by itself."""
    return by_equations(block.flat(x), block.groups, top)


def by_equations(log_w: Any, contexts: Groups, top: int) -> list[Any]:
    """The same by the equations themselves."""
    size = contexts.sizes.astype(np.float64)
    return [
        np.clip(to_numpy(ess(log_w, contexts)), 1, size),
        to_numpy(max_weight(log_w, contexts)),
        np.minimum(to_numpy(top_mass(log_w, contexts, top)), 1),
        to_numpy(log_w_variance(log_w, contexts)),
        to_numpy(log_z(log_w, contexts)),
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
