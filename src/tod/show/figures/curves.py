"""Curves over the steps: one quantity a plot; with several runs, one line a run."""

from collections.abc import Callable
from dataclasses import replace

from tod.base.text import fixed, plainly
from tod.runs.facts import BY_PATH, FACTS, PLOTS, listed
from tod.show.figures.plot import Plot, PlotLine
from tod.show.figures.scales import nice
from tod.show.page.run_data import RunView, at, thresholds

Show = Callable[[float | None], str]
Lines = list[tuple[str, tuple[str, ...]]]


def curves(
    runs: list[RunView],
    title: str,
    lines: Lines,
    show: Show = fixed,
    domain: tuple[float, float] | None = None,
    note: str = "",
) -> Plot | None:
    """The lines of one run, or the first line of each of several; None when nothing is known.

    Args:
        runs: What to draw.
        title: Heading.
        lines: Name and path in the record of every line, the most telling first.
        show: How values are written.
        domain: Of the vertical axis; round numbers around the data by default.
        note: What to know when reading it.
    """
    if len(runs) == 1:
        series = [
            PlotLine(name, runs[0].numbers(), runs[0].values(*path), f"s{i}")
            for i, (name, path) in enumerate(lines)
        ]
    else:
        title = f"{title}: {lines[0][0]}" if len(lines) > 1 else title
        series = [
            PlotLine(run.name, run.numbers(), run.values(*lines[0][1]), f"r{i}")
            for i, run in enumerate(runs)
        ]
    drawn = [line for line in series if line.known()]
    if not drawn:
        return None
    reach = domain or nice([value for line in drawn for value in line.y])
    return Plot(title, drawn, reach, show, note)


def figures(runs: list[RunView]) -> list[Plot]:
    """A plot of every group of figures (`tod.runs.facts`) of which something is known."""
    found = []
    for title, (note, reach) in PLOTS.items():
        facts = [fact for fact in FACTS if fact.plot == title]
        if len(runs) > 1 and title == "Overlap":
            facts = [BY_PATH["overlap.minimum"]]
        lines = [(fact.label, tuple(fact.path.split("."))) for fact in facts]
        unit = facts[0].unit
        domain = None
        if reach is not None:
            known = [v for run in runs for _, path in lines for v in run.values(*path)]
            domain = nice([*known, *reach])
        note = f"{note} Unit: {unit}." if unit else note
        plot = curves(runs, title, lines, facts[0].show, domain, note)
        if plot is not None:
            found.append(_with_bounds(plot, runs) if title == "Overlap" else plot)
    return found


def _with_bounds(plot: Plot, runs: list[RunView]) -> Plot:
    """The legs with the bounds that the verdict reads, and what was declared of them."""
    bounds = thresholds(runs)
    high, low = bounds.overlap_stable, bounds.overlap_dominated
    declared = sorted({str(name) for run in runs for name in _declared(run)})
    note = plot.note + f" 1 by declaration: {listed(declared)}." * bool(declared)
    note += f" Dotted: swap-stable above {high:g}, operator-dominated below {low:g}."
    return replace(plot, note=note, limits=[(high, "stable"), (low, "dominated")])


def knobs(runs: list[RunView]) -> list[Plot]:
    """One plot per knob that ever moves or that a controller decided on."""
    found = []
    names = sorted({name for run in runs for r in run.steps for name in (r.get("knobs") or {})})
    for name in names:
        plot = curves(runs, f"Knob: {_greek(name)}", [(_greek(name), ("knobs", name))], plainly)
        moved = any(len(set(run.values("knobs", name)) - {None}) > 1 for run in runs)
        if plot is not None and moved:
            found.append(replace(plot, marks=_marks(runs)))
    return found


def _marks(runs: list[RunView]) -> list[tuple[int, str, str]]:
    if len(runs) != 1:
        return []
    return [
        (
            int(item["step"]),
            f"a-{item.get('action')}",
            f"{item.get('action')}: {item.get('why', '')}",
        )
        for item in runs[0].decisions
        if item.get("action") not in (None, "hold")
    ][:200]


def _greek(name: str) -> str:
    return {"eta": "η", "tau": "τ", "beta": "β"}.get(name, name)


def _declared(run: RunView) -> list[str]:
    found = (run.last.get("overlap") or {}).get("declared")
    return list(found) if isinstance(found, list | tuple) else []


def known_numbers(run: RunView, *path: str) -> list[float]:
    """The known values of a number, in order."""
    return [value for record in run.steps if (value := at(record, *path)) is not None]
