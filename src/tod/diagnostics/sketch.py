"""Quantiles of more values than can be held: counts in geometric buckets, which add up exactly.

    i = ⌈log_γ x⌉,   γ = (1 + α)/(1 − α),   bucket i is told as 2γ^i/(γ + 1)

which is no further from any x > 0 of the bucket than αx. The counts of two shards, added, are the
counts of both: a quantile does not depend on how values were split (Masson, Rim and Lee,
"DDSketch", VLDB 12, 2019, arXiv 1908.10693, sections 2.1 and 2.3).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError
from tod.diagnostics.quantiles import RankedValues

__all__ = ["LogCounts"]

ACCURACY = 1e-3
"""α: largest relative error of a quantile."""


@dataclass(frozen=True, eq=False)
class LogCounts(RankedValues):
    """How many values lie in every geometric bucket; ``a + b`` is that of the values of both.

    Quantiles and the ends of their intervals are those of the values to a relative α.

    Attributes:
        buckets: Numbers i of the buckets that hold anything, ascending, [B].
        counts: Values in each, [B].
        zeros: Values that are 0.
        infinite: Values that are +∞.
        unknown: Values that are NaN, which means unknown; no quantile counts them.
        total: Sum of the finite values.
        smallest: Smallest known value; +∞ without any.
        largest: Largest finite value; −∞ without any.
        accuracy: α.
    """

    buckets: Int[np.ndarray, " B"]
    counts: Int[np.ndarray, " B"]
    zeros: int
    infinite: int
    unknown: int
    total: float
    smallest: float
    largest: float
    accuracy: float = ACCURACY

    @classmethod
    def of(cls, x: Float[np.ndarray, " n"], accuracy: float = ACCURACY) -> "LogCounts":
        """Counts of some values ≥ 0; +∞ and NaN have counts of their own.

        Raises:
            DataError: A value is negative, or α is not in (0, 1).
        """
        if not 0 < accuracy < 1:
            raise DataError(f"accuracy = {accuracy}: a relative error lies between 0 and 1.")
        known = x[~np.isnan(x)]
        if bool((known < 0).any()):
            raise DataError(f"{known.min()} is negative: geometric buckets count values from 0 on.")
        finite = known[known < np.inf]
        positive = finite[finite > 0]
        numbers = np.ceil(np.log(positive) / _log_gamma(accuracy)).astype(np.int64)
        buckets, counts = np.unique(numbers, return_counts=True)
        return cls(
            buckets,
            counts,
            zeros=len(finite) - len(positive),
            infinite=len(known) - len(finite),
            unknown=len(x) - len(known),
            total=float(finite.sum()),
            smallest=float(known.min(initial=math.inf)),
            largest=float(finite.max(initial=-math.inf)),
            accuracy=accuracy,
        )

    def __add__(self, other: "LogCounts") -> "LogCounts":
        """Counts of the values of both.

        Raises:
            DataError: The two have another accuracy.
        """
        if self.accuracy != other.accuracy:
            raise DataError(
                f"accuracy {self.accuracy} and {other.accuracy}: buckets of another width do not "
                "add up. Count both at one accuracy."
            )
        buckets, places = np.unique(
            np.concatenate([self.buckets, other.buckets]), return_inverse=True
        )
        counts = np.zeros(len(buckets), dtype=np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, other.counts]))
        return replace(
            self,
            buckets=buckets,
            counts=counts,
            zeros=self.zeros + other.zeros,
            infinite=self.infinite + other.infinite,
            unknown=self.unknown + other.unknown,
            total=self.total + other.total,
            smallest=min(self.smallest, other.smallest),
            largest=max(self.largest, other.largest),
        )

    def __len__(self) -> int:
        """How many values are known."""
        return self.zeros + int(self.counts.sum()) + self.infinite

    @property
    def mean(self) -> float:
        """Mean of the known values; NaN without any, +∞ where one is."""
        if self.infinite:
            return math.inf
        return self.total / len(self) if len(self) else math.nan

    def ranked(self, place: int) -> float:
        """The value of a rank from 1; the smallest and the largest finite one are exact."""
        finite = self.zeros + int(self.counts.sum())
        if place <= self.zeros:
            return 0.0
        if place in (1, finite):
            return self.smallest if place == 1 else self.largest
        at = int(np.searchsorted(np.cumsum(self.counts), place - self.zeros))
        if at == len(self.buckets):
            return math.inf
        step = _log_gamma(self.accuracy)
        middle = math.exp(int(self.buckets[at]) * step) * 2 / (math.exp(step) + 1)
        return min(max(middle, self.smallest), self.largest)


def _log_gamma(accuracy: float) -> float:
    return math.log1p(accuracy) - math.log1p(-accuracy)
