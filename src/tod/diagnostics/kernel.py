"""All statistics of every context in one pass over cache-sized blocks (numpy).

The equations are in ``ess``, ``tails``, ``overlap``, ``coverage`` and ``classes``; here a block of
contexts shares their shifts and one exponential per candidate. A block turns a stretch of a flat
array [N] into rows: row k holds candidate k of every context that has one, the largest contexts
first, so that a row is as long as there are contexts of more than k candidates. Reductions over
candidates then run along long contiguous rows that stay in the cache, and nothing is padded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, DataError, Groups, is_numpy, to_numpy
from tod.diagnostics.ess import ess_of_sums
from tod.diagnostics.overlap import (
    SMALLEST_RHO,
    carried_by,
    leg_of_sums,
    policy_proposal,
    target_policy,
)

__all__ = ["weight_statistics"]

ELEMENTS = 3 << 15
"""Most candidates of a block of several contexts: 768 KiB in float64, within L2 with its rows."""
CONTEXTS = 3 << 12
"""Most contexts of a block: 96 KiB a row."""
WIDE = 512
"""From this K on a context is a long row by itself, and reductions run along it as it lies."""


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
    log_w: Float[Array, " N"],
    contexts: Groups,
    top: int = 2,
    *,
    out: Float[np.ndarray, "5 C"] | None = None,
) -> WeightStatistics:
    """ESS, largest weight, top mass, variance and log Ẑ of every context, in float64.

    Args:
        log_w: log q̃*/μ, nats, of either library; −∞ outside the target's support.
        contexts: Candidates in contexts.
        top: How many of the largest weights ``top_mass`` adds.
        out: Memory for the result, to be used again by a caller with many batches of one size:
            fresh memory costs about as much as a third of the statistics.

    Raises:
        DataError: ``top`` < 1, or log_w is not one value per candidate.
    """
    return WeightStatistics(**per_context(contexts, log_w, top=top, out=out))


def per_context(
    contexts: Groups,
    log_w: Array,
    *,
    tilt: Array | None = None,
    utility: Array | None = None,
    log_r: Array | None = None,
    top: int = 2,
    out: Any = None,
) -> dict[str, Any]:
    """Columns [C] by name: ``WEIGHT``, then ``TILT``, ``UTILITY``, ``LEG`` and ``RHO`` where known.

    Raises:
        DataError: ``top`` < 1, or an array is not one value per candidate.
    """
    if top < 1:
        raise DataError(f"top={top}: the mass of the largest weights needs at least one of them.")
    w, a, u, r = (_float64(x, contexts.total) for x in (log_w, tilt, utility, log_r))
    names = [*WEIGHT]
    for x, more in ((a, TILT), (u, UTILITY), (r, (*LEG, *RHO))):
        names += [] if x is None else more
    columns = np.empty((len(names), len(contexts))) if out is None else out
    for block in blocks(contexts):
        part = block.columns_of(columns)
        weights = block.gather(w, 0)
        of_weights(block, weights, top, part[: len(WEIGHT)])
        if a is not None:
            _extremes(block, block.gather(a, 1), part[names.index(TILT[0]) :])
        if u is not None:
            mean = names.index(UTILITY[0])
            x = block.gather(u, 1)
            block.reduce(np.add, x, part[mean])
            part[mean] *= block.inverse
            _extremes(block, x, part[mean + 1 :])
        if r is not None:
            _of_policy(block, weights, block.gather(r, 1), (w, r), part[names.index(LEG[0]) :])
        block.restore(part, columns)
    return dict(zip(names, columns, strict=True))


def of_weights(
    block: "Block", x: Float[np.ndarray, " M"], top: int, out: Float[np.ndarray, "5 B"]
) -> None:
    """Statistics in the order of ``WEIGHT`` from gathered log-weights, which become w/max w.

    An invalid context is NaN throughout from the shift on: ∞ − ∞.
    """
    effective, heaviest, held, variance, log_z = out
    first, *others = block.largest(x, top)
    with np.errstate(over="ignore", invalid="ignore"):
        block.subtract(x, first)
        _variance(block, x, variance)
        np.exp(x, out=x)
        total, squares = block.sums(x, heaviest, held)
        effective[:] = ess_of_sums(total, squares)
        np.clip(effective, 1, block.sizes, out=effective)  # the bounds hold to rounding only
        np.multiply(total, block.inverse, out=log_z)
        np.log(log_z, out=log_z)
        log_z += first
        np.divide(1, total, out=heaviest)
        held[:] = heaviest
        for other in others:
            other -= first
            np.exp(other, out=other)
            other *= heaviest
            held += other
        np.minimum(held, 1, out=held)


def _variance(block: "Block", x: Any, out: Any) -> None:
    """Variance of shifted log-weights, ddof 1, over finite entries; NaN below two of them.

    Each context holds a 0, its largest: Σx² ≤ (K + 1) Σ(x − mean)², so that in short contexts the
    difference Σx² − (Σx)²/K loses no more than K + 1 roundings.
    """
    total, _ = block.sums(x, np.empty_like(out), out)
    if block.longest < WIDE and out.max() < np.inf:
        total *= total
        total *= block.inverse
        out -= total
        count = block.sizes
    else:
        finite = np.isfinite(x)  # some context holds −∞, or is invalid and NaN throughout
        deviation = np.where(finite, x, 0.0)
        count = block.reduce(np.add, finite.astype(np.float64))
        block.subtract(deviation, block.reduce(np.add, deviation) / np.maximum(count, 1))
        deviation *= finite
        block.sums(deviation, total, out)
    out *= np.divide(1, count - 1, out=np.full(np.shape(count), np.nan), where=np.greater(count, 1))


def _extremes(block: "Block", x: Any, out: Any) -> None:
    """Smallest and largest of every context."""
    block.reduce(np.minimum, x, out[0])
    block.reduce(np.maximum, x, out[1])


def _of_policy(block: "Block", w: Any, r: Any, flat: tuple[Any, Any], out: Any) -> None:
    """``LEG`` and ``RHO``; w is e^ω over its largest, r is log π/μ and becomes ρ over its largest.

    With s = w²/ρ the legs are (Σρ)²/(K Σρ²), (Σw)²/(Σρ Σs) and (Σs)²/Σs². Where some ρ is too small
    for plain weights the equations of ``overlap`` apply, which carry logarithms, to ``flat``, the
    log-weights and log π/μ of all contexts.
    """
    proposal, policy, carried, largest, total, squares = out
    block.reduce(np.maximum, r, largest)
    usable = np.isfinite(largest)
    with np.errstate(over="ignore", invalid="ignore"):
        block.subtract(r, largest if usable.all() else np.where(usable, largest, 0.0))
        np.exp(r, out=r)
        block.sums(r, total, squares)
    if block.shortest < 2 or not usable.all() or not r.min() > SMALLEST_RHO:  # NaN too
        omega, gap = (block.values(x) for x in flat)
        groups = Groups(block.counts)
        proposal[:] = block.ordered(policy_proposal(gap, groups))
        policy[:] = block.ordered(target_policy(omega, gap, groups))
        carried[:] = block.ordered(carried_by(omega, gap, groups))
        return
    s = w * w
    s /= r
    total_s, squares_s = block.sums(s, np.empty_like(total), np.empty_like(total))
    proposal[:] = ess_of_sums(total, squares) / block.sizes
    policy[:] = leg_of_sums(block.reduce(np.add, w), total, total_s)
    carried[:] = ess_of_sums(total_s, squares_s)


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive contexts, gathered into rows: M candidates, B contexts.

    Attributes:
        first: Place of the first context.
        counts: K of each, in their order.
        start: First candidate of all.
        total: M.
        shortest: The smallest K.
        longest: The largest K.
        room: Memory for gathered values, used again by the next block.
    """

    first: int
    counts: Int[np.ndarray, " B"]
    start: int
    total: int
    shortest: int
    longest: int
    room: Float[np.ndarray, "4 R"]

    @cached_property
    def order(self) -> Int[np.ndarray, " B"] | None:
        """The contexts from the largest to the smallest; None where all are equal."""
        if self.longest == self.shortest:
            return None
        narrow = np.uint8 if self.longest < 1 << 8 else np.uint16  # the narrower, the faster
        return np.argsort((self.longest - self.counts).astype(narrow), kind="stable")

    @property
    def contexts(self) -> slice:
        """Their places among all contexts."""
        return slice(self.first, self.first + len(self.counts))

    @cached_property
    def sizes(self) -> Any:
        """K of every column, as a float; one for all where they are equal."""
        if self.order is None:
            return float(self.longest)
        return self.counts[self.order].astype(np.float64)

    @cached_property
    def inverse(self) -> Any:
        """1/K of every column."""
        return 1 / self.sizes

    @cached_property
    def lengths(self) -> list[int]:
        """Length of every row: how many contexts hold more than k candidates."""
        of_size = np.bincount(self.counts, minlength=self.longest)
        return (len(self.counts) - np.cumsum(of_size[: self.longest])).tolist()  # type: ignore[no-any-return]

    def columns_of(self, columns: Any) -> Any:
        """Where to write [n, B]: the columns themselves, or memory for `restore`."""
        if self.order is None:
            return columns[:, self.contexts]
        return np.empty((len(columns), len(self.counts)))

    def restore(self, values: Any, columns: Any) -> None:
        """What was written, into the columns in the order of the contexts."""
        if self.order is None:
            return
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        for value, column in zip(values, columns[:, self.contexts], strict=True):
            value.take(place, out=column, mode="clip")

    def values(self, x: Any) -> Float[np.ndarray, " M"]:
        """Their values as they lie."""
        return x[self.start : self.start + self.total]  # type: ignore[no-any-return]

    def ordered(self, y: Any) -> Any:
        """One value per context [B], in the order of the columns."""
        return y if self.order is None else y[self.order]

    def gather(self, x: Any, part: int) -> Any:
        """Their values [M] row by row, copied into a part of the room."""
        values, copy = self.values(x), self.room[part, : self.total]
        if self.order is not None:
            place = (np.cumsum(self.counts) - self.counts)[self.order]
            for k, row in enumerate(self.rows(copy)):
                values[k:].take(place[: len(row)], out=row, mode="clip")
            return copy
        self.table(copy)[...] = values.reshape(len(self.counts), self.longest).T
        return copy

    def table(self, p: Any) -> Float[np.ndarray, "K B"]:
        """Gathered values of equal contexts; long ones lie as they were."""
        if self.longest >= WIDE:
            return p.reshape(len(self.counts), self.longest).T  # type: ignore[no-any-return]
        return p.reshape(self.longest, len(self.counts))  # type: ignore[no-any-return]

    def rows(self, p: Any) -> Iterator[Any]:
        """Row by row."""
        stop = 0
        for length in self.lengths:
            start, stop = stop, stop + length
            yield p[start:stop]

    def reduce(self, operation: np.ufunc, p: Any, out: Any = None) -> Any:
        """Over the candidates of every context, [B]."""
        if self.order is None:
            return operation.reduce(self.table(p), axis=0, out=out)
        rows = self.rows(p)
        out = np.empty(len(self.counts)) if out is None else out
        out[:] = next(rows)
        for row in rows:
            part = out[: len(row)]
            operation(part, row, out=part)
        return out

    def sums(self, p: Any, total: Any, squares: Any) -> tuple[Any, Any]:
        """Σx and Σx² of every context, written to ``total`` and ``squares``."""
        if self.order is None:
            table = self.table(p)
            np.add.reduce(table, axis=0, out=total)
            return total, np.einsum("kb,kb->b", table, table, out=squares)
        total[:] = squares[:] = 0
        product = self.room[2]
        for row in self.rows(p):
            length = len(row)
            part = total[:length]
            part += row
            part = squares[:length]
            part += np.multiply(row, row, out=product[:length])
        return total, squares

    def subtract(self, p: Any, y: Float[np.ndarray, " B"]) -> None:
        """One value per context from all its candidates, in place."""
        if self.order is None:
            table = self.table(p)
            table -= y
            return
        for row in self.rows(p):
            row -= y[: len(row)]

    def largest(self, p: Any, top: int) -> list[Any]:
        """The ``top`` largest of every context, largest first, −∞ where it has fewer; NaN spreads.

        By compare and exchange; long contexts are partitioned.
        """
        top = min(top, self.longest)
        if self.longest >= WIDE:
            last = np.partition(self.table(p), -top, axis=0)[-top:]
            return list(np.sort(last, axis=0)[::-1])
        ordered: list[Any] = []
        spare = self.room[2].reshape(2, -1)
        for row in self.table(p) if self.order is None else self.rows(p):
            rest, length = row, len(row)
            for place, best in enumerate(ordered):
                part, lower = best[:length], None
                if place + 1 < top:
                    lower = np.minimum(part, rest, out=spare[place % 2, :length])
                np.maximum(part, rest, out=part)
                rest = lower
            if len(ordered) < top:
                ordered.append(np.full(len(self.counts), -np.inf))
                ordered[-1][:length] = rest
        return ordered


def blocks(contexts: Groups) -> Iterator[Block]:
    """Every context once, in blocks of at most ``ELEMENTS`` candidates; a wide one is alone."""
    offsets, sizes, count, size = contexts.offsets, contexts.sizes, len(contexts), contexts.uniform
    room = np.empty((4, 2 * max(ELEMENTS, CONTEXTS, int(sizes.max(initial=0)))))
    wide = np.flatnonzero(sizes >= WIDE).tolist() if size is None else []
    alone = iter([*wide, count])
    first, barrier = 0, next(alone)
    while first < count:
        if size is not None:
            last = first + max(1, ELEMENTS // size)
        elif first == barrier:
            last, barrier = first + 1, next(alone)
        else:
            last = int(np.searchsorted(offsets, offsets[first] + ELEMENTS, side="right")) - 1
        last = max(min(last, first + CONTEXTS, barrier), first + 1)
        part, start, stop = sizes[first:last], int(offsets[first]), int(offsets[last])
        span = (size, size) if size is not None else (int(part.min()), int(part.max()))
        yield Block(first, part, start, stop - start, *span, room)
        first = last


def _float64(x: Any, total: int) -> Any:
    """An array of either library in numpy's float64; None stays None."""
    if x is None:
        return None
    if tuple(x.shape) != (total,):
        raise DataError(
            f"an array of shape {tuple(x.shape)} for {total} rollouts: give one value per "
            "rollout, prompts contiguous."
        )
    return np.asarray(x if is_numpy(x) else to_numpy(x.double()), dtype=np.float64)
