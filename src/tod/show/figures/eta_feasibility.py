"""ESS_rel against sharpness: how sharp a target these rollouts can carry."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups, to_numpy
from tod.base.text import plainly
from tod.diagnostics import ess_rel, quantile
from tod.show.figures.plot import Plot, PlotLine

POINTS, HIGH = 61, 0.6
BEYOND = 2.2
"""How far past the largest feasible sharpness the curve goes, as a factor."""


@dataclass(frozen=True)
class EtaPoint:
    """ESS_rel over contexts at one sharpness, candidates held fixed."""

    eta: float
    median: float
    q10: float


def by_eta(
    base: Float[np.ndarray, " N"],
    unit: Float[np.ndarray, " N"],
    contexts: Groups,
    eta: float,
    eta_max: float | None,
) -> list[EtaPoint]:
    """Median and 10 % quantile of ESS_rel(log b/μ + η'U) over a grid of sharpness η'.

    Args:
        base: log b/μ, nats; −∞ outside the support, at every sharpness.
        unit: The tilt at η = 1, finite.
        contexts: Informative contexts.
        eta: Sharpness in force: it is on the grid.
        eta_max: Largest feasible one, if there is one: it is on the grid.
    """
    if not len(contexts):
        return []
    known = [eta] if eta_max is None else [eta, eta_max]
    top = max(1.25 * eta, BEYOND * known[-1])
    if eta_max is not None:
        top = min(top, max(10 * eta_max, 1.25 * eta))
    grid = sorted({*np.linspace(0.0, top, POINTS).tolist(), *(x for x in known if x <= top)})
    return [_point(base + x * unit, contexts, x) for x in grid]


def eta_feasibility(
    points: list[EtaPoint], eta: float, feasible: dict[str, Any], declared: bool
) -> Plot | None:
    """The curve with the sharpness in force and the largest feasible one marked."""
    if not points:
        return None
    etas, goal = [point.eta for point in points], float(feasible["ess_rel_target"])
    limit = feasible["eta_max"]
    word = "declared" if declared else "assumed"
    marked = [(eta, "now", f"η {word} {plainly(eta)}")]
    if limit is not None:
        marked.insert(0, (limit, "stable", f"largest feasible η {plainly(limit)}"))
    guides = [(x, style + _side(points, x), name) for x, style, name in marked if x <= etas[-1]]
    kept = f"Dotted: ESS_rel {goal:g}, what a feasible η keeps for the median prompt. "
    if limit is None:
        kept = (
            f"Dotted: ESS_rel {goal:g}. No η is too much or none is small enough for the median. "
        )
    return Plot(
        "How sharp a target these rollouts can carry",
        [
            PlotLine("median ESS_rel", etas, [point.median for point in points], "s0"),
            PlotLine("worst tenth", etas, [point.q10 for point in points], "s1"),
        ],
        note=kept
        + "Curves: rollouts held fixed, which reads too high at small K; the mark is of the "
        "population where it is known. Training moves them, so start below.",
        limits=[(goal, "stable")],
        axis="η",
        guides=guides,
        rest=eta,
    )


def _side(points: list[EtaPoint], eta: float) -> str:
    """Names keep away from the curve: to the bottom where it is high."""
    near = min(points, key=lambda point: abs(point.eta - eta))
    return " low" if near.median > HIGH else ""


def _point(log_w: Any, contexts: Groups, eta: float) -> EtaPoint:
    found = to_numpy(ess_rel(log_w, contexts))
    found = np.where(np.isnan(found), 0.0, found)  # all candidates outside the support
    return EtaPoint(eta, quantile(found, 0.5), quantile(found, 0.1))
