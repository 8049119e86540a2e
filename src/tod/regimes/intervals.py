"""The verdict as a function of sharpness: what could be said, were the target declared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from tod.base import SpecError
from tod.diagnostics.population_ess import PopulationEss
from tod.diagnostics.summary import Summary
from tod.regimes.classify import classify
from tod.regimes.regime import EtaInterval, Verdict
from tod.regimes.thresholds import Thresholds

__all__ = ["verdict_by_eta"]

HALVINGS = 10
"""Bisections of a cell of the grid in which the verdict changes: to a thousandth of the cell."""


def verdict_by_eta(
    population: Callable[[float], Mapping[str, PopulationEss]],
    etas: Sequence[float],
    summary: Summary,
    thresholds: Thresholds | None = None,
) -> tuple[EtaInterval, ...]:
    """Intervals of η over which the verdict is the same, with boundaries to a thousandth of a cell.

    Each is the verdict of the target declared at that η, on the same pool of prompts.

    Args:
        population: ESS_rel of every leg over the population, by sharpness.
        etas: Increasing grid, at least two values; intervals narrower than a cell may be missed.
        summary: What was judged, whose counts, coverage and activation hold at every η.
        thresholds: Bounds; the provisional defaults if None.

    Raises:
        SpecError: The grid is not increasing, or shorter than two.
    """
    grid = [float(eta) for eta in etas]
    if len(grid) < 2 or any(not a < b for a, b in pairwise(grid)):
        raise SpecError(f"etas = {grid}: intervals need an increasing grid of at least two values.")

    def verdict(eta: float) -> Verdict:
        return classify(replace(summary, population=population(eta)), thresholds).verdict

    verdicts = [verdict(eta) for eta in grid]
    edges, names = [grid[0]], [verdicts[0]]
    for (low, high), (before, after) in zip(pairwise(grid), pairwise(verdicts), strict=True):
        if before != after:
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                low, high = (middle, high) if verdict(middle) == before else (low, middle)
            edges.append(high)
            names.append(after)
    ends = [*edges[1:], grid[-1]]
    return tuple(EtaInterval((a, b), v) for a, b, v in zip(edges, ends, names, strict=True))
