"""How ESS_rel is distributed over prompts, step by step; and what the prompts are."""

from tod.base.text import percent
from tod.show.figures.plot import Plot, PlotLine
from tod.show.page.run_data import QUANTILES, RunView

CLASSES = (
    ("informative", "informative"),
    ("all rollouts pass", "all_pass"),
    ("all rollouts fail", "all_fail"),
    ("zero-variance otherwise", "blind"),
    ("single rollout", "singleton"),
    ("invalid", "invalid"),
)


def distribution(run: RunView, style: str = "s0", name: str = "") -> Plot | None:
    """Median, middle half and middle four fifths of ESS_rel over informative prompts."""
    if not run.bands:
        return None
    steps = sorted(run.bands)
    columns = {q: [run.bands[step][i] for step in steps] for i, q in enumerate(QUANTILES)}
    series = [
        PlotLine("q90", steps, columns[0.9], f"{style} faint", area=columns[0.1]),
        PlotLine("q75", steps, columns[0.75], f"{style} faint", area=columns[0.25]),
        PlotLine("median", steps, columns[0.5], style),
        PlotLine("q25", steps, columns[0.25], f"{style} faint"),
        PlotLine("q10", steps, columns[0.1], f"{style} faint"),
    ]
    title = "ESS_rel over prompts" + (f": {name}" if name else "")
    note = "Informative prompts: median, middle half, and from the lowest to the highest tenth."
    return Plot(title, series, note=note)


def classes(run: RunView, name: str = "") -> Plot | None:
    """Shares of the classes of prompts, stacked to 1."""
    found = [_counts(record.get("contexts") or {}) for record in run.steps]
    kept = [(step, c) for step, c in zip(run.numbers(), found, strict=True) if any(c.values())]
    if not kept:
        return None
    steps, counts = [step for step, _ in kept], [c for _, c in kept]
    series: list[PlotLine] = []
    below: list[float] = [0.0] * len(steps)
    for i, (label, key) in enumerate(CLASSES):
        share = [c.get(key, 0) / max(1, sum(c.values())) for c in counts]
        if not any(share):
            continue
        above = [low + part for low, part in zip(below, share, strict=True)]
        series.append(PlotLine(label, steps, above, f"k{i} stack", area=below, read=share))
        below = above
    title = "What the prompts are" + (f": {name}" if name else "")
    note = "Only informative prompts count in the quantiles of ESS_rel; the others tell nothing."
    return Plot(title, series, show=percent, note=note)


def _counts(contexts: dict[str, object]) -> dict[str, int]:
    """Disjoint counts: zero-variance groups split by pass and fail where that is known."""

    def count(key: str) -> int:
        value = contexts.get(key)
        return value if isinstance(value, int) else 0

    if not count("total"):
        return {}
    blind = count("zero_information")
    passing, failing = min(count("all_pass"), blind), min(count("all_fail"), blind)
    return {
        "informative": count("informative"),
        "all_pass": passing,
        "all_fail": failing,
        "blind": max(0, blind - passing - failing),
        "singleton": count("singleton"),
        "invalid": count("invalid"),
    }
