"""When a run left the stable region: change points, then a region with two edges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float

from tod.base import DataError
from tod.diagnostics import Summary
from tod.diagnostics.overlap import LEGS
from tod.regimes.reasons import legs
from tod.regimes.thresholds import Thresholds

__all__ = ["Crossing", "last_level", "stable_crossings"]


@dataclass(frozen=True)
class Segment:
    """A stretch of a series with one level: positions ``start`` to ``stop`` (excluded).

    ``median`` ignores a blip shorter than half the stretch, which the mean does not.
    """

    start: int
    stop: int
    mean: float
    median: float

    @classmethod
    def of(cls, x: Float[np.ndarray, " n"], start: int, stop: int) -> "Segment":
        """The levels of that stretch of x."""
        part = x[start:stop]
        return cls(start, stop, float(part.mean()), float(np.median(part)))


@dataclass(frozen=True)
class Crossing:
    """A change of level that carried a statistic across the stable region's edge.

    Attributes:
        step: First step of the new level.
        event: ``left`` or ``entered``.
        before: Median over the level before.
        after: Median over the new level.
        what: The statistic: a leg of overlap, or ``ess_rel.q10``.
        last: Median over the last level of the series.
    """

    step: int
    event: Literal["left", "entered"]
    before: float
    after: float
    what: str
    last: float

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.what} {self.event} the stable region at step {self.step} "
            f"({self.before:.2f} -> {self.after:.2f})"
        )


def segments(values: Float[np.ndarray, " n"], *, least: int = 5) -> tuple[Segment, ...]:
    """The piecewise-constant fit of a series with the best penalised least squares.

    Minimises Σ(x − level)²/σ² + 3 ln(n) per change, over all partitions into stretches of
    ``least`` values or more, exactly (optimal partitioning, Jackson et al. 2005; penalty after
    Zhang and Siegmund 2007). σ is the median absolute first difference over 0.6745 √2, so that a
    change does not inflate it, of the noisiest part of a long series. A slow drift is cut into
    steps. Time O(n²), vectorised.

    Args:
        values: The series, finite.
        least: Shortest stretch.

    Raises:
        DataError: A value is not finite, or ``least`` < 1.
    """
    x = np.asarray(values, dtype=np.float64)
    if not bool(np.isfinite(x).all()) or least < 1:
        raise DataError("segments need finite values and stretches of at least one; drop unknowns.")
    n, sigma = len(x), _noise(x)
    if n == 0:
        return ()
    if n < 2 * least or sigma == 0:
        return (Segment.of(x, 0, n),)
    first = np.concatenate([[0.0], np.cumsum(x - x.mean())])
    penalty = 3 * np.log(n) * sigma**2
    lengths = np.arange(n, 0, -1, dtype=np.float64)
    before = np.full(n + 1, np.inf)  # best cost up to s, less the squares that precede s
    last = np.zeros(n + 1, dtype=np.int64)
    before[0] = -penalty
    for t in range(least, n + 1):
        stop = t - least + 1
        gap = first[t] - first[:stop]
        total = before[:stop] - gap * gap / lengths[n - t : n - t + stop]
        last[t] = int(np.argmin(total))
        before[t] = total[last[t]] + penalty
    bounds = [n]
    while bounds[-1] > 0:
        bounds.append(int(last[bounds[-1]]))
    return tuple(Segment.of(x, a, b) for a, b in pairwise(bounds[::-1]))


def crossings(
    steps: Sequence[int],
    values: Sequence[float],
    *,
    enter: float,
    leave: float,
    least: int = 5,
    what: str = "the series",
) -> tuple[Crossing, ...]:
    """Changes of level that leave (median < ``leave``) or enter (median ≥ ``enter``) a region.

    A level between the two edges changes nothing (hysteresis), nor does a blip shorter than half
    of ``least``. The series begins inside when its
    first level is at or above ``leave``.

    Raises:
        DataError: Lengths differ, steps do not increase, or leave > enter.
    """
    if len(steps) != len(values) or any(not a < b for a, b in pairwise(steps)) or leave > enter:
        raise DataError(
            f"{len(values)} values at {len(steps)} steps, leave = {leave}, enter = {enter}: needs "
            "one value per increasing step and leave <= enter."
        )
    changes: list[Crossing] = []
    stretches = segments(np.array(values, dtype=np.float64), least=least)
    inside = bool(stretches) and stretches[0].median >= leave
    for before, after in pairwise(stretches):
        event: Literal["left", "entered"] = "left" if inside else "entered"
        if after.median < leave if inside else after.median >= enter:
            levels = before.median, after.median
            changes.append(Crossing(steps[after.start], event, *levels, what, stretches[-1].median))
            inside = not inside
    return tuple(changes)


def stable_crossings(
    steps: Sequence[int],
    summaries: Sequence[Summary],
    thresholds: Thresholds | None = None,
    *,
    hysteresis: float = 0.1,
    least: int = 5,
) -> tuple[Crossing, ...]:
    """When a statistic that a step's verdict reads left or entered its stable region.

    The three legs at ``overlap_stable`` and the 10 % quantile of ESS_rel at ``ess_q10_dominated``,
    each on its own: a stale policy leaves ESS_rel where it is. A leg that is declared, not
    measured, has no crossing of its own. Steps at which a statistic is unknown are skipped for it.
    The region is entered at the bound and left below (1 − hysteresis) times it.

    Raises:
        DataError: As `crossings`.
    """
    if len(steps) != len(summaries):
        raise DataError(f"{len(summaries)} summaries at {len(steps)} steps: give one per step.")
    bounds = thresholds or Thresholds()
    read = [legs(s) | {"ess_rel.q10": s.ess_rel.q10} for s in summaries]
    changes: list[Crossing] = []
    for name in (*LEGS, "ess_rel.q10"):
        edge = bounds.overlap_stable if name in LEGS else bounds.ess_q10_dominated
        known = [
            (step, value)
            for step, summary, values in zip(steps, summaries, read, strict=True)
            if (value := values[name]) is not None and name not in summary.overlap.declared
        ]
        changes += crossings(
            [step for step, _ in known],
            [value for _, value in known],
            enter=edge,
            leave=edge * (1 - hysteresis),
            least=least,
            what=name.replace("_", "/") if name in LEGS else name,
        )
    return tuple(sorted(changes, key=lambda crossing: crossing.step))


def last_level(steps: Sequence[int], values: Sequence[float | None]) -> int | None:
    """The first step of the last level of a series, where a change preceded it.

    Steps without a value are passed over. Stretches whose means differ by less than `APART`
    standard errors are one level, for where noise grows `segments` cuts it. None where the series
    has one level.
    """
    known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    x = np.array([value for _, value in known], dtype=np.float64)
    stretches = list(segments(x))
    while len(stretches) > 1:
        before, last = stretches[-2:]
        a, b = x[before.start : before.stop], x[last.start : last.stop]
        if abs(b.mean() - a.mean()) > APART * math.hypot(_error(a), _error(b)):
            return known[last.start][0]
        stretches[-2:] = [Segment.of(x, before.start, last.stop)]
    return None


APART = 4.0
"""Standard errors between two levels; the place of the change was chosen to make them many."""


def _error(x: Float[np.ndarray, " n"]) -> float:
    """Standard error of a mean; 0 of one value."""
    return float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else 0.0


def _noise(x: Float[np.ndarray, " n"]) -> float:
    """The largest σ of up to eight stretches, from the first differences of 20 or more values.

    A leg near 1 hardly varies, and far below 1 it does: one σ for both, set by the quiet part,
    would read the noise of the other as changes.
    """
    steps = np.diff(x)
    stretches = np.array_split(steps, min(8, max(1, len(steps) // 20)))
    return max(_deviation(part) for part in stretches)


def _deviation(steps: Float[np.ndarray, " n"]) -> float:
    """σ from first differences; their root mean square where over half of them are 0."""
    if not steps.size:
        return 0.0
    robust = float(np.median(np.abs(steps))) / (0.6744897501960817 * np.sqrt(2))
    return robust if robust > 0 else float(np.sqrt(np.mean(steps**2) / 2))
