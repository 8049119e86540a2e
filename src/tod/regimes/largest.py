"""The largest sharpness that a batch affords: over contexts, with candidates held fixed.

`tod.regimes.feasible` has the root of one context for b = μ, and the interval
of one context for any anchor; here a quantile over contexts decides.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tod.base import Groups, to_numpy
from tod.diagnostics import ess_rel, quantile, quantile_interval
from tod.procedure import Examined, weights_at
from tod.regimes.feasible import eta_for_ess

__all__ = ["QUANTILES", "Largest", "feasible_eta", "largest_sharpness"]

QUANTILES = {"median": 0.5, "q10": 0.1}
POINTS = 512
"""Sharpnesses at which an ESS_rel that need not be monotone is looked at: between two of them a
gap of infeasibility may be missed."""
MOST_CONTEXTS = 4096
"""Contexts that a search over sharpness reads, evenly spread: its median then has a 90 % interval
of ±1.3 percentage points of rank, and a million candidates cost no more than some ten thousand."""
Attained = Literal["yes", "unbounded", "never"]


@dataclass(frozen=True)
class Largest:
    """The largest sharpness at which a quantile over contexts of ESS_rel is still at a goal.

    Attributes:
        eta: It; None where there is no largest one, or none at all: see ``attained``.
        attained: ``yes``; ``unbounded`` where no sharpness is too much (ties at the best utility
            hold the ESS); ``never`` where none is small enough; None where there is no sharpness,
            or no informative context.
    """

    eta: float | None = None
    attained: Attained | None = None

    @classmethod
    def of(cls, value: float | None) -> "Largest":
        """Of what `largest_eta` returns."""
        if value is None:
            return cls(None, "never")
        return cls(None, "unbounded") if value == math.inf else cls(value, "yes")

    @property
    def limit(self) -> float | None:
        """As a number: ∞ where no sharpness is too much, 0 where none is small enough."""
        return {"unbounded": math.inf, "never": 0.0}.get(self.attained or "", self.eta)


def largest_sharpness(examined: Examined, goal: float, p: float = 0.5) -> Largest:
    """The largest sharpness of a batch, over the contexts behind its quantiles.

    A context that no sharpness brings to the goal counts as below it.

    Args:
        examined: The batch under its target.
        goal: ESS_rel to keep.
        p: Which quantile over contexts keeps it.
    """
    weights = examined.weights
    if weights is None or weights.declared is None:
        return Largest()
    everything = weights.unit(slice(None))
    chosen = examined.diagnostics.compared & varied(everything, examined.candidates.contexts)
    contexts, rows = examined.candidates.contexts.take(spread_out(np.flatnonzero(chosen)))
    if not len(contexts):
        return Largest()
    base, unit, eta = weights.base(rows), everything[rows], weights.declared
    top = search_top(unit, contexts, eta)
    return Largest.of(largest_eta(base, unit, contexts, goal, p, eta, top)[0])


def feasible_eta(examined: Examined, goal: float, p: float = 0.5) -> float | None:
    """The number that a controller steers to: ∞ where none is too much, None where none can be.

    None too where there is no sharpness, or no informative context. See `largest_sharpness`.
    """
    found = largest_sharpness(examined, goal, p)
    return math.inf if found.attained == "unbounded" else found.eta


def spread_out(places: Any, most: int | None = None) -> Any:
    """At most ``MOST_CONTEXTS`` of the contexts, or ``most``, evenly spread."""
    most = MOST_CONTEXTS if most is None else most
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).astype(np.int64)]


def varied(unit: Any, contexts: Groups) -> Any:
    """Whether a context's candidates differ in utility, [C]: others say nothing of sharpness."""
    groups: Any = contexts
    top, bottom = groups.max(unit), groups.min(unit)
    return (top > bottom) & np.isfinite(top)


def largest_eta(
    log_w0: Any, unit: Any, contexts: Groups, target: float, p: float, eta: float, top: float
) -> tuple[float | None, tuple[float | None, float | None] | None]:
    """Largest common η at which the p-quantile of ESS_rel is ≥ target, and its 90 % interval.

    With b = μ it is the order statistic ⌈pn⌉ of the contexts' own roots, exactly, and the interval
    is that of order statistics. Otherwise the quantile is followed from ``eta`` to the end of the
    feasible interval that holds it (or of the nearest one), and there is no interval.

    Returns:
        ∞ where no sharpness up to ``top`` is too much; None where none is feasible.
    """
    if log_w0 is not None:
        return _followed(log_w0, unit, contexts, target, p, eta, top), None
    star = eta_for_ess(unit, contexts, target)
    star = np.where(np.isnan(star), -np.inf, star)  # infeasible at every sharpness
    low, high = quantile_interval(star, p)
    value = quantile(star, p)
    bounds = tuple(None if not math.isfinite(x) else float(x) for x in (low, high))
    return (None if value == -np.inf else value), (bounds[0], bounds[1])


def _followed(
    log_w0: Any, unit: Any, contexts: Groups, target: float, p: float, eta: float, top: float
) -> float | None:
    def margin(value: float) -> float:
        rel = to_numpy(ess_rel(weights_at(log_w0, unit, value), contexts))
        return quantile(np.where(np.isnan(rel), 0.0, rel), p) - target

    grid = np.unique(np.concatenate([np.linspace(0.0, top, POINTS), [eta]]))
    good = np.array([margin(float(value)) >= 0 for value in grid])
    if not good.any():
        return None
    here = int(np.searchsorted(grid, eta))
    places = np.flatnonzero(good)
    last = int(places[np.argmin(np.abs(grid[places] - grid[here]))])
    while last + 1 < len(grid) and good[last + 1]:
        last += 1
    if last + 1 == len(grid):
        return math.inf
    low, high = float(grid[last]), float(grid[last + 1])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if margin(middle) >= 0 else (low, middle)
    return low


def search_top(unit: Any, contexts: Groups, eta: float) -> float:
    """Where a search over sharpness ends: 64 deviations of the utility within contexts."""
    return max(64.0 * scale_of(unit, contexts), 4.0 * eta)


def scale_of(unit: Any, contexts: Groups) -> float:
    """1/(median deviation of the utility within contexts), the natural unit of sharpness."""
    deviation = np.sqrt(to_numpy(contexts.variance(np.where(np.isfinite(unit), unit, np.nan))))
    known = deviation[np.isfinite(deviation) & (deviation > 0)]
    return 1.0 / float(np.median(known)) if known.size else 1.0
