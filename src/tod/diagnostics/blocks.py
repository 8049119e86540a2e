"""Contexts of one size at a time, in cache-sized blocks laid out for reductions over candidates.

A block turns a flat array [N] into columns [K, B], one context a column, so that every reduction
runs along the first axis over long contiguous rows. Large temporaries would cost more in page
faults than in arithmetic. Contexts of unequal size are gathered size by size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups

ELEMENTS = 1 << 15
"""Elements of a block: 256 KiB in float64, so that a handful of temporaries stay in L2."""
WIDE = 2048
"""From this K on a context fills vectors by itself: the equations read its rows as they lie."""


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

    def columns(self, x: Any) -> Float[np.ndarray, "K B"]:
        """Their values in float64, one context a column; a copy that the caller may overwrite."""
        if self.together:
            first = int(self.start[0])
            rows = x[first : first + len(self.start) * self.size].reshape(-1, self.size)
            return np.array(rows.T, dtype=np.float64, order="C")
        block = np.empty((self.size, len(self.start)))
        place = self.start.copy()
        for row in block:
            row[:] = x.take(place, mode="clip")
            place += 1
        return block

    def flat(self, x: Any) -> Float[np.ndarray, " N"]:
        """Their values in float64, one context behind the other."""
        if self.together:
            first = int(self.start[0])
            return x[first : first + len(self.start) * self.size].astype(np.float64, copy=False)  # type: ignore[no-any-return]
        return self.columns(x).T.reshape(-1)


def blocks(contexts: Groups) -> Iterator[Block]:
    """Every context once, in blocks of about ``ELEMENTS`` candidates."""
    if contexts.uniform is not None:
        yield from _cut(contexts, None, contexts.uniform)
        return
    narrow = np.uint16 if contexts.sizes.max(initial=0) < 1 << 16 else np.int64
    order = np.argsort(contexts.sizes.astype(narrow), kind="stable")  # radix sort when narrow
    changes = np.flatnonzero(np.diff(contexts.sizes[order])) + 1
    for members in np.split(order, changes) if len(order) else ():
        yield from _cut(contexts, members, int(contexts.sizes[members[0]]))


def _cut(contexts: Groups, members: Any, size: int) -> Iterator[Block]:
    """The members (None: all contexts) block by block."""
    count = len(contexts) if members is None else len(members)
    step = max(1, ELEMENTS // size)
    for first in range(0, count, step):
        last = min(first + step, count)
        chosen = slice(first, last) if members is None else members[first:last]
        yield Block(chosen, size, contexts.offsets[:-1][chosen], members is None)
