"""Intervals of statistics over conditions that come in clusters: worlds or tasks."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from tod.diagnostics.student import critical_t

__all__ = ["FEW", "Spread", "cluster_counts", "spread"]

FEW = 8
"""Clusters below which an interval is a rough one, and is said to be."""

Scale = Literal["correlation", "share", "plain"]


@dataclass(frozen=True)
class Spread:
    """A statistic over conditions, with what other clusters would have made of it.

    Attributes:
        value: The statistic; None where it is not defined.
        low: Lower end of its interval; None where there are fewer than two clusters.
        high: Upper end.
        clusters: How many clusters it rests on.
        undefined: Share of resamples in which it was not defined, such as with one class only.
    """

    value: float | None
    low: float | None
    high: float | None
    clusters: int
    undefined: float = 0.0

    @property
    def few(self) -> bool:
        """Whether there are fewer clusters than `FEW`."""
        return self.clusters < FEW


def cluster_counts(
    clusters: Int[np.ndarray, " n"], *, resamples: int = 500, seed: int = 0
) -> Float[np.ndarray, "r n"]:
    """How often every condition counts when whole clusters are drawn with replacement.

    One table serves all statistics, so that a difference of two is paired.

    Args:
        clusters: Number of each condition's cluster, from 0 without a gap.
        resamples: Draws.
        seed: Of the draws; equal seeds give equal counts.
    """
    count = int(clusters.max(initial=0)) + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    each: Float[np.ndarray, "r n"] = times[:, clusters].astype(np.float64)
    return each


def spread(
    value: float,
    draws: Float[np.ndarray, " r"],
    clusters: int,
    *,
    scale: Scale = "plain",
    level: float = 0.95,
) -> Spread:
    """Value ± critical t of clusters − 1 · bootstrap error · √(G/(G − 1)), on a scale that fits.

    Correlations go to Fisher's z and shares to the logit and back. Percentiles of the resamples
    would be too narrow with few clusters: at 3 they held the truth in .5 to .8 of planted studies,
    this interval in .97 to .98, at 8 in .91 to .96, at 20 clusters alike.

    Args:
        value: The statistic on all conditions; NaN where it is not defined.
        draws: Its values on resampled clusters; NaN where it is not defined there.
        clusters: G.
        scale: ``correlation`` in [−1, 1], ``share`` in [0, 1], or ``plain``.
        level: Coverage.

    Source: Efron 1979; Cameron, Gelbach and Miller 2008 on few clusters
    """
    if math.isnan(value):
        return Spread(None, None, None, clusters)
    known = draws[~np.isnan(draws)]
    undefined = 1 - len(known) / max(len(draws), 1)
    if clusters < 2 or len(known) < 2:
        return Spread(value, None, None, clusters, undefined)
    error = float(_out(known, scale).std(ddof=1)) * math.sqrt(clusters / (clusters - 1))
    half = critical_t(round(1 - level, 12), clusters - 1) * error
    centre = float(_out(np.array([value]), scale)[0])
    low, high = (float(_back(centre + step, scale)) for step in (-half, half))
    return Spread(value, min(low, value), max(high, value), clusters, undefined)


_NEAREST = 1e-3
"""How near to an end of its scale a correlation or share may lie: its transform ends there."""


def _out(x: Float[np.ndarray, " r"], scale: Scale) -> Float[np.ndarray, " r"]:
    """Where the interval is symmetric."""
    if scale == "plain":
        return x
    centred = x if scale == "correlation" else 2 * x - 1
    wide: Float[np.ndarray, " r"] = np.arctanh(np.clip(centred, _NEAREST - 1, 1 - _NEAREST))
    return wide


def _back(z: float, scale: Scale) -> float:
    """The way back; of a share ½·(1 + tanh z) is the inverse of half a logit."""
    if scale == "plain":
        return z
    return math.tanh(z) if scale == "correlation" else (1 + math.tanh(z)) / 2
