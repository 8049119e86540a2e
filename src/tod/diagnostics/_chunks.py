"""Whole contexts in cache-sized pieces: large temporaries cost more in page faults than in sums."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tod.base import Groups, is_numpy

CHUNK = 1 << 15
"""Candidates of a piece: 256 KiB in float64, so that a handful of temporaries stay in L2."""


def chunks(contexts: Groups) -> Iterator[tuple[slice, slice, Groups]]:
    """(contexts, their candidates, the contexts as groups) of consecutive pieces.

    A piece holds about ``CHUNK`` candidates, or one context if that one is larger.
    """
    start, ends = 0, contexts.offsets[1:]
    while start < len(contexts):
        first = int(contexts.offsets[start])
        stop = max(start + 1, int(np.searchsorted(ends, first + CHUNK, side="right")))
        rows = slice(first, int(contexts.offsets[stop]))
        yield slice(start, stop), rows, Groups(contexts.sizes[start:stop])
        start = stop


def by_chunks(
    function: Callable[..., dict[str, Any]], contexts: Groups, *arrays: Any
) -> dict[str, Any]:
    """``function(contexts, *arrays)``, numpy arrays piece by piece; its [C] results are joined."""
    on_numpy = all(x is None or is_numpy(x) for x in arrays)
    if not on_numpy or contexts.total <= CHUNK:
        return function(contexts, *arrays)
    parts = [
        function(group, *(None if x is None else x[rows] for x in arrays))
        for _, rows, group in chunks(contexts)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
