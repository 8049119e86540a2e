"""Refit the thresholds on a swap study: where does each statistic separate operators?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from tod.base import DataError
from tod.regimes.thresholds import Thresholds

__all__ = ["FIELDS", "STATISTICS", "Cut", "fit_cuts", "fit_thresholds"]

STATISTICS = ("ess_tri", "ess_two", "ess_median", "ess_q10")
"""What a condition of a study may hold and a cut is made of."""
FIELDS: Mapping[str, tuple[str, str | None]] = {
    "ess_tri": ("overlap_dominated", "overlap_stable"),
    "ess_q10": ("ess_q10_dominated", None),
}
"""Statistic → the bounds that it refits, the lower and the upper one. The others are compared with
them and bound nothing: one band serves every leg."""


@dataclass(frozen=True)
class Cut:
    """How well one statistic tells conditions in which operators ended apart.

    Attributes:
        threshold: Youden's: below it "apart" is predicted, sensitivity + specificity largest.
        sensitivity: Share of the apart conditions below it.
        specificity: Share of the others at or above it.
        auroc: P(an apart condition scores lower than another), ties one half.
        stable: Smallest value at and above which at most ``tolerated`` of the conditions are apart
            and at least ten lie; None if there is none.
        count: Conditions with the statistic known.
    """

    threshold: float
    sensitivity: float
    specificity: float
    auroc: float
    stable: float | None
    count: int


def auroc(
    scores: Float[np.ndarray, " n"],
    apart: Bool[np.ndarray, " n"],
    counts: Float[np.ndarray, "*r n"],
) -> Float[np.ndarray, " *r"]:
    """P(an apart condition scores lower than another), ties one half; NaN with one class only.

    Args:
        scores: Low where operators end apart; no NaN.
        apart: Where they did.
        counts: How often every condition counts, such as rows of resamples; ones for the
            conditions themselves.

    Source: Hanley and McNeil 1982
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    bad, good = (
        np.add.reduceat((counts * which)[..., order], starts, axis=-1) for which in (apart, ~apart)
    )
    above = good.sum(axis=-1, keepdims=True) - good.cumsum(axis=-1)
    pairs = bad.sum(axis=-1) * good.sum(axis=-1)
    wins = (bad * (above + good / 2)).sum(axis=-1)
    share: Float[np.ndarray, " *r"] = np.full(wins.shape, np.nan)
    np.divide(wins, pairs, out=share, where=pairs > 0)
    return share


def youden(
    scores: Float[np.ndarray, " n"], apart: Bool[np.ndarray, " n"], *, tolerated: float = 0.05
) -> Cut:
    """The best cut of a score that is low where operators end apart (Youden 1950).

    Thresholds are midpoints between neighbouring scores; of equally good ones the lowest.

    Raises:
        DataError: NaN among the scores, or only one of the two classes.
    """
    x, bad = np.asarray(scores, dtype=np.float64), np.asarray(apart, dtype=bool)
    if x.shape != bad.shape or bool(np.isnan(x).any()) or not 0 < int(bad.sum()) < len(bad):
        raise DataError(
            f"{int(bad.sum())} of {len(bad)} conditions are apart: a cut needs some of either "
            "class and a known score for each. Widen the study's grid of eta and proposals."
        )
    levels = np.unique(x)
    cuts = np.concatenate([[levels[0]], (levels[1:] + levels[:-1]) / 2])
    below = x[None, :] < cuts[:, None]
    sensitivity, specificity = below[:, bad].mean(axis=1), 1 - below[:, ~bad].mean(axis=1)
    best = int(np.argmax(sensitivity + specificity))
    return Cut(
        threshold=float(cuts[best]),
        sensitivity=float(sensitivity[best]),
        specificity=float(specificity[best]),
        auroc=float(auroc(x, bad, np.ones(len(x)))),
        stable=_stable(x, bad, tolerated),
        count=len(x),
    )


def fit_cuts(records: Iterable[Mapping[str, Any]], *, limit: float = 0.1) -> dict[str, Cut]:
    """A cut for every statistic that the conditions hold and that two classes allow.

    Args:
        records: Conditions of a swap study: ``excess`` and any of ``ess_tri``, ``ess_two``,
            ``ess_median``, ``ess_q10``; None is unknown.
        limit: Operators are apart where the seed-debiased excess exceeds this.

    Raises:
        DataError: A record has no excess.
    """
    rows = list(records)
    if any(row.get("excess") is None for row in rows):
        raise DataError("a condition has no `excess`: calibration needs a finished swap study.")
    cuts: dict[str, Cut] = {}
    for name in STATISTICS:
        known = [row for row in rows if row.get(name) is not None]
        apart = np.array([row["excess"] > limit for row in known], dtype=bool)
        if 0 < int(apart.sum()) < len(known):
            cuts[name] = youden(np.array([float(row[name]) for row in known]), apart)
    return cuts


def fit_thresholds(
    records: Iterable[Mapping[str, Any]], *, limit: float = 0.1, base: Thresholds | None = None
) -> Thresholds:
    """Thresholds with the bands refitted that the study can refit, the others as in ``base``.

    A statistic above which operators still end apart (it never licenses a swap) gets
    a stable edge of 1.

    Raises:
        DataError: No statistic could be fitted, or a record has no excess.
    """
    cuts = fit_cuts(records, limit=limit)
    fitted = {name: cut for name, cut in cuts.items() if name in FIELDS}
    if not fitted:
        raise DataError(
            f"no statistic can be calibrated: the study needs conditions on both sides of excess "
            f"{limit} and at least one of {', '.join(FIELDS)}."
        )
    changes: dict[str, float] = {}
    for name, cut in fitted.items():
        lower, upper = FIELDS[name]
        low = changes[lower] = min(max(cut.threshold, 1e-6), 1.0)
        if upper is not None:
            changes[upper] = 1.0 if cut.stable is None else min(max(cut.stable, low), 1.0)
    return (base or Thresholds()).revised(**changes)


def _stable(x: Any, bad: Any, tolerated: float) -> float | None:
    for level in np.unique(x):
        above = x >= level
        if above.sum() >= _ENOUGH and bad[above].mean() <= tolerated:
            return float(level)
    return None


_ENOUGH = 10
"""Conditions a stable edge must rest on; fewer would make it an accident of the grid."""
