"""Pairs of candidates of the same context, better and worse, as a flat grid.

The grid holds every ordered pair (i, j) of every context, K² of them, row by row; those in which i
is better than j have a positive weight. It is regular, so that slopes flow back by a reduction
over rows and one over columns.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, Groups, constant_like, namespace, to_numpy
from tod.operators.batch import Batch

Which = Literal["all", "best_worst"]


@dataclass(frozen=True)
class Grid:
    """All ordered pairs of every context.

    Attributes:
        rows: Partners of every candidate: N groups of K elements.
        first: Candidate i of every pair, [P].
        second: Candidate j of every pair, [P].
        mirror: Place of (j, i), [P].
    """

    rows: Groups
    first: Int[np.ndarray, " P"]
    second: Int[np.ndarray, " P"]
    mirror: Int[np.ndarray, " P"]

    @classmethod
    def of(cls, contexts: Groups) -> "Grid":
        """The grid of some contexts."""
        size = np.repeat(contexts.sizes, contexts.sizes)
        rows = Groups(size)
        start = np.repeat(contexts.offsets[:-1], contexts.sizes)
        first, second = rows.owner, rows.position + start[rows.owner]
        local = first - start[first]
        return cls(rows, first, second, rows.offsets[:-1][second] + local)

    def add_up(
        self, by_first: Float[Array, " P"], by_second: Float[Array, " P"]
    ) -> Float[Array, " N"]:
        """What every candidate gets from its pairs, as the first and as the second, [N]."""
        return self.rows.sum(by_first + by_second[self.mirror])


def pair_weights(batch: Batch, grid: Grid, which: Which) -> Float[Array, " P"]:
    """1/(number of pairs of the context) where i is better than j, else 0.

    Every context counts once, and a context without a better and a worse one not at all.
    ``best_worst`` takes the first of the best and the last of the worst.
    """
    xp: Any = namespace(batch.value)
    better: Any = batch.value[grid.first] > batch.value[grid.second]
    if which == "best_worst":
        better = better & constant_like(_extremes(batch, grid), batch.value)
    one = xp.ones_like(batch.value[grid.first])
    chosen = xp.where(better, one, 0 * one)
    count = batch.contexts.sum(grid.rows.sum(chosen))
    share = batch.contexts.spread(
        xp.where(count > 0, 1 / xp.where(count > 0, count, count + 1), count)
    )
    return chosen * share[grid.first]  # type: ignore[no-any-return]


def _extremes(batch: Batch, grid: Grid) -> Any:
    """Pairs of the first of the best and the last of the worst of their context, [P]."""
    value, contexts = to_numpy(batch.value), batch.contexts
    best, worst = np.zeros(len(value), bool), np.zeros(len(value), bool)
    for a, b in zip(contexts.offsets[:-1], contexts.offsets[1:], strict=True):
        best[a + int(np.argmax(value[a:b]))] = True
        worst[b - 1 - int(np.argmin(value[a:b][::-1]))] = True
    return best[grid.first] & worst[grid.second]
