"""How many groups had which rewards, where only a few values occur: additive over batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, Groups, to_numpy

__all__ = ["MOST_LEVELS", "RewardCounts"]

MOST_LEVELS = 9
"""Distinct rewards up to which they are counted one by one: partial credit, not a graded score."""


LARGEST = 2.0**64
"""Reward beyond which none is counted: their differences need not be numbers."""


@dataclass(frozen=True, eq=False)
class RewardCounts:
    """Groups by their composition: how many of the K rollouts had each of the few rewards.

    Sums of counts are those of the pooled groups, whatever step or prompt they came from.

    Attributes:
        levels: The rewards that occurred, ascending, at most nine.
        by_size: K → composition (rollouts at every level, [L], adding up to K) → groups.
    """

    levels: tuple[float, ...]
    by_size: Mapping[int, Mapping[tuple[int, ...], int]]

    @classmethod
    def of(cls, reward: Float[Array, " N"], groups: Groups) -> "RewardCounts | None":
        """The counts of a batch; None where one is not finite or huge, or more than nine occur.

        Args:
            reward: Reward of every rollout, [N].
            groups: Rollouts in prompts; sizes may differ.
        """
        x = to_numpy(reward).astype(np.float64, copy=False)
        if not bool(np.isfinite(x).all()) or len(np.unique(x[: 4 * MOST_LEVELS])) > MOST_LEVELS:
            return None
        if float(np.abs(x).max(initial=0.0)) > LARGEST:
            return None
        two = _of_two(x, groups)
        if two is not None:
            return two
        levels, level = np.unique(x, return_inverse=True)
        if len(levels) > MOST_LEVELS:
            return None
        owner, many = groups.owner, len(levels)
        table = np.bincount(owner * many + level, minlength=len(groups) * many)
        table = table.reshape(len(groups), many)
        by_size = {int(k): _counted(table[groups.sizes == k]) for k in np.unique(groups.sizes)}
        return cls(tuple(levels.tolist()), by_size)

    def joined(self, other: "RewardCounts") -> "RewardCounts | None":
        """The counts of the groups of both; None where more than nine rewards occur in them."""
        levels = tuple(sorted({*self.levels, *other.levels}))
        if len(levels) > MOST_LEVELS:
            return None
        total: dict[int, dict[tuple[int, ...], int]] = {}
        for part in (self.at_levels(levels), other.at_levels(levels)):
            for k, cells in part.by_size.items():
                into = total.setdefault(k, {})
                for composition, groups in cells.items():
                    into[composition] = into.get(composition, 0) + groups
        return RewardCounts(levels, dict(sorted(total.items())))

    def at_levels(self, levels: tuple[float, ...]) -> "RewardCounts":
        """The same with more levels, at which no rollout was."""
        if levels == self.levels:
            return self
        place = [levels.index(level) for level in self.levels]

        def widened(composition: tuple[int, ...]) -> tuple[int, ...]:
            row = [0] * len(levels)
            for at, count in zip(place, composition, strict=True):
                row[at] = count
            return tuple(row)

        return RewardCounts(
            levels,
            {k: {widened(c): n for c, n in cells.items()} for k, cells in self.by_size.items()},
        )

    @property
    def with_signal(self) -> int:
        """Groups whose rewards differ."""
        return sum(
            n
            for k, cells in self.by_size.items()
            for composition, n in cells.items()
            if max(composition) < k
        )

    @property
    def groups(self) -> int:
        """Groups counted."""
        return sum(sum(cells.values()) for cells in self.by_size.values())

    def passes(self) -> dict[int, Int[np.ndarray, " K+1"]]:
        """K → groups with m = 0 … K rollouts at the higher of two levels.

        A single level that occurred counts as failures: groups without a signal say nothing of
        which of the two it is.
        """
        tables = {}
        for k, cells in self.by_size.items():
            row = np.zeros(k + 1, dtype=np.int64)
            for composition, n in cells.items():
                row[composition[1] if len(self.levels) > 1 else 0] += n
            tables[k] = row
        return tables

    def rows(self) -> tuple[Float[np.ndarray, " N"], Groups]:
        """Rewards of so many groups of such compositions, in an order of no meaning."""
        sizes, values = [], []
        for k, cells in self.by_size.items():
            for composition, groups in cells.items():
                values.append(np.tile(np.repeat(self.levels, composition), groups))
                sizes += [k] * groups
        return np.concatenate(values) if values else np.zeros(0), Groups(np.array(sizes, dtype=int))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "levels": list(self.levels),
            "by_size": {
                str(k): {"at": [list(c) for c in cells], "groups": list(cells.values())}
                for k, cells in self.by_size.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RewardCounts":
        """What `to_dict` wrote."""
        return cls(
            tuple(float(x) for x in data["levels"]),
            {
                int(k): dict(zip(map(tuple, cells["at"]), cells["groups"], strict=True))
                for k, cells in data["by_size"].items()
            },
        )


def _of_two(x: Float[np.ndarray, " N"], groups: Groups) -> RewardCounts | None:
    """The counts where two rewards occur, without sorting; None where more do, or one alone."""
    if not len(x):
        return None
    low, high = float(x.min()), float(x.max())
    top = x == high
    if low == high or not bool((top | (x == low)).all()):
        return None
    passes = to_numpy(groups.sum(top.astype(np.float64))).astype(np.int64)
    by_size: dict[int, dict[tuple[int, ...], int]] = {}
    for k in np.unique(groups.sizes).tolist():
        table = np.bincount(passes[groups.sizes == k], minlength=k + 1)
        by_size[k] = {(k - m, m): int(n) for m, n in enumerate(table) if n}
    return RewardCounts((low, high), by_size)


def _counted(rows: Int[np.ndarray, "G L"]) -> dict[tuple[int, ...], int]:
    """Rows by how often they occur."""
    found, counts = np.unique(rows, axis=0, return_counts=True)
    return dict(zip(map(tuple, found.tolist()), counts.tolist(), strict=True))
