"""ESS against sharpness, line by line, as a plan shows it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tod.base import Groups, to_numpy
from tod.diagnosis.plan_feasible import Feasible
from tod.diagnosis.plan_pilot import Pilot
from tod.diagnostics import ess_rel, max_weight, quantile
from tod.diagnostics.population_ess import PopulationEss
from tod.population import LegStatistics, jackknife_counts, leg_statistics, needed_k
from tod.procedure import weights_at
from tod.regimes import k_for_ess
from tod.regimes.largest import scale_of

__all__ = ["row_at", "table_of"]

GRID = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Sharpnesses of the table, in units of 1/(deviation of the utility within contexts)."""


def table_of(
    statistics: LegStatistics,
    pilot: Pilot,
    goal: float,
    count: float,
    feasible: Sequence[Feasible],
) -> tuple[dict[str, Any], ...]:
    """ESS against η: a grid, the sharpness in force and the feasible ones.

    Args:
        statistics: Of the pilot.
        pilot: The informative contexts.
        goal: ESS_rel to keep.
        count: Effective candidates wanted.
        feasible: Of the whole target, first.
    """
    base, unit, contexts = pilot.base, pilot.unit, pilot.contexts
    scale = scale_of(unit, contexts)
    marks = _marks(pilot.eta, feasible)
    etas = sorted({*(float(f"{scale * x:.2g}") for x in GRID), *marks})
    rows = []
    for eta in etas:
        ess = _population_at(statistics, pilot, eta)
        median = None if ess is None else ess.median
        needed = needed_k(median, count)
        rows.append(
            {
                **row_at(base, unit, contexts, eta, goal, count),
                "mark": marks.get(eta),
                "population": None if median is None else median.to_dict(),
                "needed": None if needed is None else needed.to_dict(),
            }
        )
    return tuple(rows)


def _marks(now: float, feasible: Sequence[Feasible]) -> dict[float, str]:
    """What some sharpnesses are."""
    marks = {now: "in force"}
    for item in feasible[:2]:
        if item.read:
            found = {item.population.safe: "safe", item.population.eta: "feasible"}
        else:
            found = {item.sample.eta: "feasible at your K"}
        for eta, words in found.items():
            if eta is not None and 0 < eta < math.inf:
                marks[eta] = f"{words}, {item.quantile}"
    return marks


def _population_at(statistics: LegStatistics, pilot: Pilot, eta: float) -> PopulationEss | None:
    """ESS_rel of q*/μ over the population at a sharpness."""
    log_w = pilot.log_w(eta)
    if not statistics.anchored:
        if not statistics.aimed:
            return None
        return leg_statistics(pilot.contexts, log_w=log_w).population().get("target_proposal")
    jackknife = None
    if statistics.rewards is None:
        jackknife = jackknife_counts(log_w, pilot.contexts, constant="blind")
    return statistics.population(eta, jackknife).get("target_proposal")


def row_at(
    log_w0: Any, unit: Any, contexts: Groups, eta: float, target: float, count: float
) -> dict[str, Any]:
    """One line of the table: what the candidates say at a sharpness."""
    log_w = weights_at(log_w0, unit, eta)
    rel = to_numpy(ess_rel(log_w, contexts))
    known = rel[~np.isnan(rel)]
    if not known.size:
        return {
            "eta": eta,
            "median": None,
            "q10": None,
            "below": None,
            "max_weight": None,
            "k": None,
        }
    heaviest = to_numpy(max_weight(log_w, contexts))
    return {
        "eta": eta,
        "median": quantile(known, 0.5),
        "q10": quantile(known, 0.1),
        "below": float((known < target - 1e-12).mean()),
        "max_weight": quantile(heaviest[~np.isnan(heaviest)], 0.5),
        "k": int(quantile(k_for_ess(known, count), 0.5)),
    }
