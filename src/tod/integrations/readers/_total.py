"""Several reward columns: which of the numbers are rewards, and their sum."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from tod.integrations.readers._rows import Block, Rows

TOTAL = "reward"


def add_total(rows: Rows, names: Sequence[str]) -> None:
    """Add ``reward``, the sum of the reward columns, unless there is but one.

    A reward function that does not apply writes NaN and counts as 0 in the sum, as in TRL; a row
    to which none applies has no utility.
    """
    if len(names) < 2 or TOTAL in names:
        return
    rows.note(
        f"`{TOTAL}` is the unweighted sum of {', '.join(names)}; if the run weighs them, say so "
        "with --target"
    )
    rows.blocks[:] = [_with_total(block, names) for block in rows.blocks]


def _with_total(block: Block, names: Sequence[str]) -> Block:
    parts = np.array([block.utility[name] for name in names if name in block.utility])
    return replace(block, utility={TOTAL: total(parts), **block.utility})


def total(parts: Any) -> Any:
    """Sum over columns, [n, N] to [N]; NaN counts as 0 unless all are NaN."""
    if not len(parts):
        return np.zeros(0)
    return np.where(np.isnan(parts).all(axis=0), np.nan, np.nansum(parts, axis=0))


def explains(value: Any, advantage: Any, group: Any) -> bool:
    """Whether the advantage is a positive multiple of the centred value in every group.

    True for centred, z-scored and batch-scaled advantages alike (GRPO, Dr. GRPO, RLOO): dividing
    by a deviation keeps the direction within a group.
    """
    known = ~(np.isnan(value) | np.isnan(advantage))
    value, advantage, group = value[known], advantage[known], group[known]
    if not value.size:
        return False
    count = np.maximum(np.bincount(group), 1)

    def centred(x: Any) -> Any:
        return x - (np.bincount(group, x, len(count)) / count)[group]

    a, b = centred(value), centred(advantage)
    aa, bb, ab = (np.bincount(group, x, len(count)) for x in (a * a, b * b, a * b))
    moves = (aa > 1e-12) | (bb > 1e-12)
    if not moves.any():
        return False
    cosine = ab[moves] / np.sqrt(np.maximum(aa * bb, 1e-300))[moves]
    return bool((cosine > 0.999).all())


def rewards_among(columns: dict[str, Any], advantage: Any, group: Any) -> tuple[list[str], bool]:
    """Which numeric columns are rewards, and whether the advantages confirm it.

    Logged extras are numeric columns too. The largest set whose sum explains the advantages is
    taken, if there are at most ten columns; otherwise all, unconfirmed.
    """
    names = list(columns)
    if advantage is not None and len(names) <= 10:
        for size in range(len(names), 0, -1):
            for chosen in combinations(names, size):
                if explains(total(np.array([columns[n] for n in chosen])), advantage, group):
                    return list(chosen), True
    return names, False
