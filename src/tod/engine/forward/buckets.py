"""Which rows share a rectangle: the partition of lengths that pads least."""

import itertools

import numpy as np
from jaxtyping import Int

_DISTINCT = 64  # lengths are rounded up to at most this many values, which keeps the search O(64²)


def buckets(
    lengths: Int[np.ndarray, " n"], *, overhead: float, base: float = 0.0
) -> list[Int[np.ndarray, " m"]]:
    """Rows grouped by length so that padding plus a fixed cost per rectangle is least.

    cost(partition) = Σ_buckets [overhead + rows · (base + longest)], found exactly by dynamic
    programming over the distinct lengths. Rows of length zero are left out. Every list is
    sorted by length, then by row; the buckets go from short to long. Deterministic.

    Args:
        lengths: Tokens of every row, >= 0.
        overhead: Cost of one more rectangle, in tokens.
        base: Cost of a row besides its own tokens, in tokens; it does not change the partition
            and is there so that the cost reads in full.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    if not order.size:
        return []
    step = max(1, -(-int(lengths.max()) // _DISTINCT))
    rounded = -(-lengths[order] // step) * step
    values, first, counts = np.unique(rounded, return_index=True, return_counts=True)
    rows = np.concatenate([[0], np.cumsum(counts)])
    best = np.zeros(len(values) + 1)
    came = np.zeros(len(values) + 1, dtype=np.int64)
    for end in range(1, len(values) + 1):
        inside = rows[end] - rows[:end]
        cost = best[:end] + overhead + inside * (base + values[end - 1])
        came[end] = int(np.argmin(cost))
        best[end] = cost[came[end]]
    edges = [len(values)]
    while edges[-1] > 0:
        edges.append(int(came[edges[-1]]))
    starts = np.append(first, order.size)
    edges.reverse()
    return [order[starts[a] : starts[b]] for a, b in itertools.pairwise(edges)]
