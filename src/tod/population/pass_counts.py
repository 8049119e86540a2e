"""How many groups had how many passes: all that 0/1 rewards say about the pass rates of prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, DataError, Groups, to_numpy

__all__ = ["PassCounts"]


@dataclass(frozen=True, eq=False)
class PassCounts:
    """Groups of K rollouts by their number of passes m, for every K that occurred.

    Sums of counts are the counts of the pooled groups: steps add up, and no label of a step or a
    prompt is kept. Groups without a signal (m = 0 or m = K) are counted too.

    Attributes:
        by_size: K → groups with m = 0 … K passes, int64, [K + 1].
    """

    by_size: Mapping[int, Int[np.ndarray, " K+1"]]

    def __post_init__(self) -> None:
        """Check, order and freeze the counts.

        Raises:
            DataError: A K below 1, a table of another length than K + 1, or a negative count.
        """
        tables = {int(k): np.array(row, dtype=np.int64) for k, row in self.by_size.items()}
        for k, row in tables.items():
            if k < 1 or row.shape != (k + 1,) or int(row.min()) < 0:
                raise DataError(
                    f"pass counts of groups of {k}: {row.tolist()}. They are the numbers of groups "
                    f"with 0 … {k} passes: {k + 1} whole numbers of at least 0, for K ≥ 1."
                )
            row.flags.writeable = False
        object.__setattr__(self, "by_size", {k: tables[k] for k in sorted(tables)})

    @classmethod
    def of(
        cls, utility: Float[Array, " N"], groups: Groups, levels: tuple[float, float] = (0.0, 1.0)
    ) -> Self:
        """The counts of a batch.

        Args:
            utility: Reward of every rollout, [N]; each is one of the levels.
            groups: Rollouts in prompts; sizes may differ.
            levels: The reward of a failure and that of a pass.

        Raises:
            DataError: A reward is neither level, or their number is not that of the groups.
        """
        values = to_numpy(utility).astype(np.float64)
        passed = values == max(levels)
        other = ~passed & (values != min(levels))
        if bool(other.any()):
            raise DataError(
                f"rewards of {min(levels):g} and {max(levels):g} are counted, and "
                f"{int(other.sum())} of {values.size} are neither, {values[other][0]:g} the first."
            )
        passes = to_numpy(groups.sum(passed)).astype(np.int64)
        return cls(
            {
                int(k): np.bincount(passes[groups.sizes == k], minlength=int(k) + 1)
                for k in np.unique(groups.sizes)
            }
        )

    @classmethod
    def total(cls, tables: Iterable["PassCounts"]) -> "PassCounts":
        """The counts of all groups of several tables; those of nothing where there is none."""
        sums: dict[int, Int[np.ndarray, " K+1"]] = {}
        for table in tables:
            for k, row in table.by_size.items():
                sums[k] = sums[k] + row if k in sums else row
        return cls(sums)

    def __add__(self, other: "PassCounts") -> "PassCounts":
        """The counts of both."""
        return PassCounts.total((self, other))

    def __eq__(self, other: object) -> bool:
        """The same counts."""
        return isinstance(other, PassCounts) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        """Hash of the counts."""
        return hash(tuple((k, row.tobytes()) for k, row in self.by_size.items()))

    @property
    def prompts(self) -> int:
        """Groups counted."""
        return sum(int(row.sum()) for row in self.by_size.values())

    @property
    def with_signal(self) -> int:
        """Groups whose rewards differ: 0 < m < K."""
        return sum(int(row[1:-1].sum()) for row in self.by_size.values())

    @property
    def without_signal(self) -> int:
        """Groups whose rewards are all the same."""
        return self.prompts - self.with_signal

    def shares(self) -> tuple[tuple[int, float], ...]:
        """Every K with its share of the groups."""
        counted = ((k, int(row.sum())) for k, row in self.by_size.items())
        return tuple((k, n / self.prompts) for k, n in counted if n)

    def to_dict(self) -> dict[str, list[int]]:
        """Plain data; K is written as text."""
        return {str(k): row.tolist() for k, row in self.by_size.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, list[int]]) -> Self:
        """The counts that `to_dict` wrote.

        Raises:
            DataError: A K is no whole number, or its counts are not K + 1 numbers of at least 0.
        """
        try:
            return cls({int(k): np.asarray(row) for k, row in data.items()})
        except ValueError as error:
            raise DataError(f"pass counts name K as text, e.g. '8': got {list(data)}.") from error
