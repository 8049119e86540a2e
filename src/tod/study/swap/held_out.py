"""Thresholds fitted on one half of the clusters and judged on the other."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tod.regimes.calibrate import youden
from tod.study.swap.predict import DIRECTIONS, Direction, Observed, direction_of, told_low

__all__ = ["ThresholdTest", "held_out"]


@dataclass(frozen=True)
class ThresholdTest:
    """What a threshold of a diagnostic is worth on clusters that it was not fitted on.

    Attributes:
        name: Of the diagnostic.
        direction: On which side of the threshold operators are said to end apart.
        thresholds: Youden's, of each half; None where a half holds one class only.
        apart: Judged conditions in which operators ended apart.
        told: Those of them that were told.
        together: Judged conditions in which they did not.
        spared: Those of them that were not said to be apart.
        missed: Names of conditions apart on the safe side, the largest E first.
        alarmed: Names of conditions together on the other side, the smallest E first.
        unjudged: Conditions whose diagnostic, or whose threshold, is not known.
    """

    name: str
    direction: Direction
    thresholds: tuple[float | None, float | None]
    apart: int
    told: int
    together: int
    spared: int
    missed: tuple[str, ...]
    alarmed: tuple[str, ...]
    unjudged: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the apart conditions that were told; None without any."""
        return self.told / self.apart if self.apart else None

    @property
    def specificity(self) -> float | None:
        """Share of the others that were spared; None without any."""
        return self.spared / self.together if self.together else None


def held_out(
    seen: Observed,
    name: str,
    *,
    limit: float = 0.1,
    directions: dict[str, Direction] | None = None,
) -> ThresholdTest:
    """Fit Youden's threshold on every second cluster, judge the others by it, and the reverse.

    Every condition is judged once, by the half that it is not in.

    Args:
        seen: The conditions.
        name: Of the diagnostic.
        limit: Operators are apart where E is above it.
        directions: See `tod.study.swap.predict.DIRECTIONS`, which are used if None.
    """
    side = direction_of(name, DIRECTIONS if directions is None else directions)
    score, apart = told_low(seen.values[name], side), seen.excess > limit
    known, half = ~np.isnan(score), seen.clusters % 2
    cuts = [_cut(score[known & (half == h)], apart[known & (half == h)]) for h in (0, 1)]
    bound = np.array([np.nan if cut is None else cut for cut in cuts])[1 - half]
    judged = known & ~np.isnan(bound)
    below = score < bound
    missed, alarmed = judged & apart & ~below, judged & ~apart & below
    first, second = (None if c is None else float(told_low(np.array([c]), side)[0]) for c in cuts)
    return ThresholdTest(
        name=name,
        direction=side,
        thresholds=(first, second),
        apart=int((judged & apart).sum()),
        told=int((judged & apart & below).sum()),
        together=int((judged & ~apart).sum()),
        spared=int((judged & ~apart & ~below).sum()),
        missed=_named(seen, missed, -1.0),
        alarmed=_named(seen, alarmed, 1.0),
        unjudged=int((~judged).sum()),
    )


def _cut(score: Float[np.ndarray, " m"], apart: Bool[np.ndarray, " m"]) -> float | None:
    if not 0 < int(apart.sum()) < len(apart):
        return None
    return youden(score, apart).threshold


def _named(seen: Observed, rows: Bool[np.ndarray, " n"], sign: float) -> tuple[str, ...]:
    places = np.flatnonzero(rows)
    order = places[np.argsort(sign * seen.excess[places], kind="stable")]
    return tuple(seen.names[place] for place in order)
