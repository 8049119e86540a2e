"""Quantiles over contexts, with intervals that assume nothing about their distribution.

A quantile here is an order statistic (numpy's ``inverted_cdf``), never an interpolation: it is a
context that exists, and "at most a share φ below t" can be solved for exactly.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError

__all__ = ["cluster_bootstrap", "fraction_interval", "quantile", "quantile_interval"]


def quantile(x: Float[np.ndarray, " n"], p: float) -> float:
    """The ⌈np⌉-th smallest of x (the smallest for p = 0).

    Raises:
        DataError: x is empty or holds NaN; leave invalid contexts out, and report them.
    """
    if not x.size or bool(np.isnan(x).any()):
        raise DataError(
            f"no quantile of {x.size} values of which {int(np.isnan(x).sum())} are NaN: select the "
            "valid prompts first and report how many were not."
        )
    at = rank(x.size, p) - 1
    return float(np.partition(x, at)[at])


def rank(n: int, p: float) -> int:
    """⌈np⌉, at least 1."""
    return max(math.ceil(n * p), 1)


def binomial_cdf(n: int, p: float) -> tuple[int, Float[np.ndarray, " w"]]:
    """P(Bin(n, p) ≤ k) for k = first, first + 1, …; returns (first, cdf).

    Below ``first`` the cdf is 0 and past the end it is 1, to within 1e-100 for n up to 1e9. The
    pmf is multiplied outwards from its mode and normalised, so that no factorial is needed.
    """
    mode = min(n, int((n + 1) * p))
    width = math.ceil(40 * math.sqrt(n * p * (1 - p))) + 200
    low, high = max(0, mode - width), min(n, mode + width)
    if p <= 0 or p >= 1:
        return mode, np.ones(1)
    up = np.arange(mode, high, dtype=np.float64)
    down = np.arange(mode, low, -1, dtype=np.float64)
    right = np.cumprod((n - up) / (up + 1) * (p / (1 - p)))
    left = np.cumprod(down / (n - down + 1) * ((1 - p) / p))
    pmf = np.concatenate([left[::-1], np.ones(1), right])
    return low, np.cumsum(pmf) / pmf.sum()


@lru_cache(maxsize=1024)
def quantile_ranks(n: int, p: float, level: float = 0.9) -> tuple[int, int]:
    """Ranks l, u (from 1) such that [X_(l), X_(u)] covers the p-quantile with ≥ ``level``.

    l is the largest with P(Bin(n,p) ≤ l−1) ≤ α/2, u the smallest with P(Bin(n,p) ≤ u−1) ≥ 1−α/2.
    Rank 0 means −∞ and n + 1 means +∞: n is too small for that side.

    >>> quantile_ranks(50, 0.1, 0.95)
    (1, 10)
    """
    first, cdf = binomial_cdf(n, p)
    tail = (1 - level) / 2
    lower = first + int(np.searchsorted(cdf, tail, side="right"))
    upper = first + int(np.searchsorted(cdf, 1 - tail, side="left")) + 1
    return lower, min(upper, n + 1)


def quantile_interval(
    x: Float[np.ndarray, " n"], p: float, level: float = 0.9
) -> tuple[float, float]:
    """Distribution-free interval of the p-quantile; ±∞ on a side that n cannot bound.

    Source: order statistics (equation quantile-interval)
    """
    return Ordered(x).interval(p, level)


class RankedValues(ABC):
    """Values of which each rank can be read: their quantiles and the intervals of these."""

    @abstractmethod
    def __len__(self) -> int:
        """How many values are known."""

    @abstractmethod
    def ranked(self, place: int) -> float:
        """The value of a rank from 1, the smallest, to the number of values."""

    def quantile(self, p: float) -> float | None:
        """``quantile`` of the known values; None without any, and where it is not finite."""
        value = self.ranked(rank(len(self), p)) if len(self) else math.nan
        return value if math.isfinite(value) else None

    def interval(self, p: float, level: float = 0.9) -> tuple[float, float]:
        """``quantile_interval`` of the known values; ±∞ without any."""
        n = len(self)
        if not n:
            return -math.inf, math.inf
        lower, upper = quantile_ranks(n, p, level)
        low = -math.inf if lower < 1 else self.ranked(lower)
        return low, math.inf if upper > n else self.ranked(upper)


class Ordered(RankedValues):
    """Values sorted once, for many quantiles of them; NaN, which means unknown, is left out.

    Attributes:
        values: Ascending, without NaN.
        unknown: How many were NaN.
    """

    def __init__(self, x: Float[np.ndarray, " n"]) -> None:
        """Sort a copy."""
        ordered = np.sort(x)  # NaN comes last
        self.values: Float[np.ndarray, " m"] = ordered[: np.searchsorted(ordered, np.nan)]
        self.unknown = len(ordered) - len(self.values)

    def __len__(self) -> int:
        """How many are known."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean of the known values; NaN without any."""
        return float(self.values.mean()) if len(self) else math.nan

    def ranked(self, place: int) -> float:
        """The value of a rank from 1."""
        return float(self.values[place - 1])


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta I_x(a, b), a, b > 0, x in [0, 1]; absolute error below 1e-11.

    Continued fraction (Abramowitz and Stegun 26.5.8) by Lentz's method, on the side where it
    converges quickly.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, _away(1 - (a + b) * x / (a + 1))
    d = 1 / d
    value = d
    for m in range(1, 20_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _away(1 + step * d)
            c = _away(1 + step / c)
            value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return front * value


def _away(x: float) -> float:
    """Lentz's guard: a denominator that vanishes is replaced by the smallest one that does not."""
    return x if abs(x) > 1e-300 else 1e-300


def fraction_exceeds(
    below: int, n: int, phi: float, prior: tuple[float, float] = (1.0, 1.0)
) -> float:
    """P(F > φ | ``below`` of n contexts lie below the threshold), F ~ Beta(a+k, b+n−k).

    >>> round(fraction_exceeds(9, 50, 0.1), 10)
    0.9721291373

    Source: conjugate prior of a share (equation share-below)
    """
    a, b = prior
    return incomplete_beta(b + n - below, a + below, 1 - phi)


def fraction_interval(
    below: int, n: int, level: float = 0.9, prior: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float]:
    """Credible interval of the fraction below the threshold (Beta posterior); it holds below/n.

    Equal tails, but for none and for all of n: the end on that side is then 0, or 1.
    """
    tail = (1 - level) / 2
    low = _root(below, n, 1 - tail, prior) if below else 0.0
    return low, _root(below, n, tail, prior) if below < n else 1.0


def _root(below: int, n: int, exceed: float, prior: tuple[float, float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):  # bisection to 1e-18
        middle = (low + high) / 2
        above = fraction_exceeds(below, n, middle, prior) > exceed
        low, high = (middle, high) if above else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Bootstrap:
    """Percentile interval and standard error of a statistic under resampling of contexts."""

    low: float
    high: float
    standard_error: float


def cluster_bootstrap(
    statistic: Callable[[Int[np.ndarray, " C"]], float],
    count: int,
    *,
    resamples: int = 200,
    level: float = 0.9,
    seed: int = 0,
) -> Bootstrap:
    """Resample whole contexts with replacement; never candidates inside one (ties change ESS).

    Args:
        statistic: Value of the statistic on the contexts with these indices.
        count: Number of contexts.
        resamples: Number of resamples.
        level: Coverage of the percentile interval.
        seed: Seed of the draws; equal seeds give equal intervals.
    """
    rng = np.random.default_rng(seed)
    draws = np.array([statistic(rng.integers(count, size=count)) for _ in range(resamples)])
    tail = (1 - level) / 2
    return Bootstrap(quantile(draws, tail), quantile(draws, 1 - tail), float(draws.std(ddof=1)))


def common_k(k: Any) -> int | None:
    """The most common size above 1, the larger on a tie."""
    counts = np.bincount(k[k > 1])
    sizes = np.flatnonzero(counts)
    return most_common(sizes, counts[sizes])


def most_common(sizes: Any, counts: Any) -> int | None:
    """The size with the largest count, the larger on a tie; ``sizes`` ascend."""
    return int(sizes[np.flatnonzero(counts == counts.max())[-1]]) if len(sizes) else None
