"""What selection at test time puts out of 1, 2, 4 … rollouts: reward, or its pass rate."""

from collections.abc import Sequence

from tod.base.text import fixed, percent
from tod.show.figures.plot import Plot, PlotLine, figure
from tod.show.figures.scales import nice
from tod.show.figures.svg import Html, join, tag
from tod.show.page.run_data import RunView, at
from tod.show.search import Measure, measure, refuses

SHOWN: dict[Measure, str] = {"pass_rate": "pass rate", "utility": "reward"}


def k_scaling(runs: Sequence[RunView], style: Sequence[str]) -> Html | None:
    """The curves of all runs that searched, with 95 % intervals, and their numbers."""
    found = [(run, style[i]) for i, run in enumerate(runs) if _curve(run)]
    if not found:
        return None
    by = measure([run.search or {} for run, _ in found])
    lines = [line for run, colour in found for line in _lines(run, colour, len(found) == 1, by)]
    reach = [v for line in lines for v in (*line.y, *(line.area or ()))]
    names = ", ".join(dict.fromkeys(str((run.search or {}).get("utility")) for run, _ in found))
    plot = Plot(
        f"{SHOWN[by].capitalize()} against K",
        lines,
        nice(reach),
        note=_note(names, by),
        axis="K",
        at=sorted({k for line in lines for k in line.x}),
    )
    tables = tag("div", [_table(run, len(found) > 1, by) for run, _ in found])
    return tag("div", figure(plot), tables, class_="charts")


def _curve(run: RunView) -> list[dict[str, object]]:
    points = (run.search or {}).get("curve")
    return [point for point in points if at(point, "k")] if isinstance(points, list) else []


def _lines(run: RunView, colour: str, single: bool, by: Measure) -> list[PlotLine]:
    """The upper edge of the interval fills down to the lower one; the mean lies on top."""
    points = _curve(run)
    sizes = [int(at(point, "k") or 0) for point in points]
    low, high = ([_end(point, by, i) for point in points] for i in (0, 1))
    mean = [at(point, by) for point in points]
    who = str((run.search or {}).get("rule")) if single else run.name
    lines = [
        PlotLine("", sizes, high, f"{colour} faint", area=low),
        PlotLine(who, sizes, mean, colour),
    ]
    bound = [at(point, "coverage") for point in points]
    if single and any(v is not None for v in bound):
        lines.append(PlotLine("any of the K passes", sizes, bound, "s1", dashed=True))
    if single and refuses(run.search or {}):
        shares = [at(point, "accepted") for point in points]
        lines.append(PlotLine("anything is put out", sizes, shares, "s2", dashed=True))
    return lines


def _end(point: dict[str, object], by: Measure, place: int) -> float | None:
    interval = point.get(f"{by}_ci95")
    if not isinstance(interval, list) or len(interval) != 2:
        return None
    return at({"end": interval[place]}, "end")


def _table(run: RunView, named: bool, by: Measure) -> Html:
    interval = f"95 % of the {SHOWN[by]}"
    heads = ["K", "reward", "pass rate", interval, "any passes", "put out"]
    rows = [
        [
            f"{at(point, 'k') or 0:g}",
            fixed(at(point, "utility")),
            percent(at(point, "pass_rate"), 1),
            f"{fixed(_end(point, by, 0))} to {fixed(_end(point, by, 1))}",
            percent(at(point, "coverage"), 1),
            percent(at(point, "accepted")),
        ]
        for point in _curve(run)
    ]
    head = tag("tr", [tag("th", name, scope="col") for name in heads])
    body = [tag("tr", [tag("td", cell) for cell in row]) for row in rows]
    table = tag("table", tag("thead", head), tag("tbody", body), class_="numbers")
    return join([tag("h3", run.name) if named else None, tag("div", table, class_="wide")])


def _note(names: str, by: Measure) -> str:
    what = (
        f"Mean {names} of what is put out of K rollouts"
        if by == "utility"
        else f"Share of all prompts for which what is put out of K rollouts passes ({names}); "
        "where nothing is, that is a miss. The table's reward leaves those prompts out"
    )
    return (
        f"{what}. From subsets without replacement of those drawn; intervals are ±1.96 standard "
        "errors, clustered by prompt. Points of one curve share their rollouts, so differences "
        "along it are surer than they look."
    )
