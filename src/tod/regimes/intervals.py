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
from tod.regimes.words import Word

__all__ = ["verdict_by_eta"]

HALVINGS = 10
"""Bisections of a cell of the grid in which the verdict changes: to a thousandth of the cell."""


def verdict_by_eta(
    population: Callable[[float], Mapping[str, PopulationEss]],
    etas: Sequence[float],
    summary: Summary,
    thresholds: Thresholds | None = None,
) -> tuple[EtaInterval, ...]:
    """Intervals of η over which the verdict and the word of target/proposal stay the same.

    Each is the verdict of the target declared at that η, on the same pool of prompts; boundaries
    are good to a thousandth of a cell. A leg that does not depend on η can leave every verdict
    undetermined: the word of target/proposal is told for itself.

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

    def said(eta: float) -> tuple[Verdict, Word]:
        regime = classify(replace(summary, population=population(eta)), thresholds)
        return regime.verdict, regime.legs[0].word

    words = [said(eta) for eta in grid]
    edges, names = [grid[0]], [words[0]]
    for (low, high), (before, after) in zip(pairwise(grid), pairwise(words), strict=True):
        if before != after:
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                low, high = (middle, high) if said(middle) == before else (low, middle)
            edges.append(high)
            names.append(after)
    ends = [*edges[1:], grid[-1]]
    return tuple(EtaInterval((a, b), *n) for a, b, n in zip(edges, ends, names, strict=True))
