"""ESS_rel against K by subsampling: whether more rollouts would say something else."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.diagnostics import TrendPoint
from tod.diagnostics import k_trend as subsampled
from tod.show.figures.plot import Plot, PlotLine
from tod.show.page.run_data import RunView

AGAINST_K = "ESS_rel against the number of rollouts"


def by_k(log_w: Float[np.ndarray, " N"], contexts: Groups) -> list[TrendPoint]:
    """ESS_rel at 2, 4, 8 … candidates of every context that has the median K; empty below K = 4."""
    if not len(contexts):
        return []
    most = int(np.sort(contexts.sizes)[(len(contexts) - 1) // 2])
    if most < 4:
        return []
    sizes = [2**power for power in range(1, most.bit_length()) if 2**power < most]
    held = np.flatnonzero(contexts.sizes >= most)
    kept, rows = contexts.take(held)
    return subsampled(log_w[rows], kept, [*sizes, most])


def side_by_side(runs: Sequence[RunView], style: Sequence[str]) -> Plot | None:
    """The median ESS_rel of q*/μ against K, a line for every diagnosis that has one."""
    lines = []
    for run, colour in zip(runs, style, strict=True):
        saved = [] if run.diagnosis is None else run.diagnosis.get("k_trend") or []
        points = [p for p in saved if p["leg"] == "target_proposal"]
        if len(points) > 1:
            medians = [p["median"] for p in points]
            lines.append(PlotLine(run.name, [p["k"] for p in points], medians, colour))
    sizes = sorted({k for line in lines for k in line.x})
    if not lines:
        return None
    least = PlotLine("least possible, 1/K", sizes, [1 / k for k in sizes], "s7", dashed=True)
    note = "Median over informative prompts; subsets without replacement. Compare at equal K."
    title = AGAINST_K
    return Plot(title, [*lines, least], note=note, axis="K", at=sizes)


def k_trend(points: list[TrendPoint]) -> Plot | None:
    """The curve, and its least possible value 1/K."""
    if len(points) < 2:
        return None
    sizes = [point.k for point in points]
    fall = points[-2].mean - points[-1].mean
    ending = (
        "Still falling at the right end: more rollouts would read lower."
        if fall > 0.02
        else "Level at the right end: more rollouts would change it little."
    )
    return Plot(
        AGAINST_K,
        [
            PlotLine("median ESS_rel", sizes, [point.median for point in points], "s0"),
            PlotLine("mean", sizes, [point.mean for point in points], "s2"),
            PlotLine("worst tenth", sizes, [point.q10 for point in points], "s1"),
            PlotLine("least possible, 1/K", sizes, [1 / k for k in sizes], "s7", dashed=True),
        ],
        note=f"Subsets without replacement of {points[0].contexts} prompts. {ending}",
        axis="K",
        at=sizes,
    )
