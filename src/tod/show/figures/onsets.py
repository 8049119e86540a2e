"""Curves of a run over its steps, with a mark where each finding began."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tod.base.text import DASH, plainly
from tod.show.figures import plot as plots
from tod.show.figures.plot import Plot, PlotLine, figure
from tod.show.figures.scales import Scale, nice
from tod.show.figures.svg import Html, join, number, tag

if TYPE_CHECKING:
    from tod.findings import Finding, TrainingRun
    from tod.findings import Series as Figures

WIDE, NARROW, SMALL = (880.0, 236.0), (372.0, 236.0), (336.0, 156.0)
"""Sizes of the first curve on a wide and on a narrow screen, and of the small ones."""
DENSE = 2.0
"""Width of a point of a line, at least: of more points, equal stretches of steps are pooled."""
RADIUS, SMALL_RADIUS = 9.0, 8.0
MAIN = ("reward", "eval.reward", "accuracy", "margin", "distillation_loss", "loss")
"""What the first curve is of: the first of these that the run has."""
SHARES = frozenset(
    {"zero_variance", "all_fail", "all_pass", "all_tie", "unique", "same_text", "truncated"}
    | {"empty", "clip_fraction", "clip_low", "clip_high", "accuracy"}
)
State = Literal["critical", "warning", "note", "fine", "unknown"]
"""A severity, or what a run without faults is: checked, or not checkable."""


@dataclass(frozen=True)
class Panel:
    """A small figure: its heading, and the series on it with their names in the legend."""

    title: str
    lines: Mapping[str, str]


PANELS = (
    Panel(
        "Prompts without a gradient",
        {
            "zero_variance": "all rewards equal",
            "all_fail": "all fail",
            "all_pass": "all pass",
            "all_tie": "all tie",
        },
    ),
    Panel("Length", {"length": "mean", "length_right": "right", "length_wrong": "wrong"}),
    Panel("Answers cut or empty", {"truncated": "cut at the limit", "empty": "empty"}),
    Panel(
        "Diversity of the answers",
        {"unique": "distinct per prompt", "same_text": "prompts with the commonest"},
    ),
    Panel("Entropy", {"entropy": "entropy"}),
    Panel("KL to the reference", {"kl": "KL"}),
    Panel("KL of an update", {"policy_kl": "KL"}),
    Panel("Clipped share", {"clip_fraction": "clipped", "clip_low": "below", "clip_high": "above"}),
    Panel("Sampler against trainer", {"mismatch": "gap", "mismatch_kl": "KL"}),
    Panel("Gradient norm", {"grad_norm": "norm"}),
    Panel("Learning rate", {"learning_rate": "rate"}),
    Panel("Loss", {"loss": "loss"}),
    Panel("Staleness", {"staleness": "mean", "staleness_max": "largest"}),
    Panel("Spread of the reward", {"reward_std": "standard deviation"}),
    Panel("Log-probs of pairs", {"chosen_logp": "chosen", "rejected_logp": "rejected"}),
    Panel("Rewards of pairs", {"chosen_reward": "chosen", "rejected_reward": "rejected"}),
    Panel("Margin", {"margin": "margin"}),
    Panel("Accuracy on pairs", {"accuracy": "accuracy"}),
    Panel("Distillation loss", {"distillation_loss": "loss"}),
)
"""Figures of a run in the order in which they are shown where no finding names them."""
COUNTS = frozenset({"standard_error", "prompts", "samples"})
"""Figures of an evaluation that say how it was made, not what came out."""
BESIDE = frozenset({"length_right", "length_wrong", "clip_low", "clip_high"})
"""Series that are drawn beside the one they are parts of, never alone."""


@dataclass(frozen=True)
class OnsetMark:
    """A finding on the axis of steps.

    Attributes:
        number: Its place in the list of all findings, from 1.
        anchor: Id of the block that holds its evidence.
        finding: What was found; it has an onset.
        first: First step of the run, where one that holds from the first step on is marked.
    """

    number: int
    anchor: str
    finding: "Finding"
    first: int

    @property
    def step(self) -> int:
        """Where it stands."""
        onset = self.finding.onset
        return self.first if onset is None or onset.step is None else onset.step

    @property
    def interval(self) -> tuple[int, int]:
        """First and last step of its interval; a single step where it holds from the first."""
        onset = self.finding.onset
        alone = onset is None or onset.step is None
        return (self.step, self.step) if alone or onset is None else (onset.low, onset.high)


def main_curve(run: "TrainingRun") -> "Figures | None":
    """The series that the first curve is of; None where no series has two values."""
    for name in (*MAIN, *run.series):
        known = run.get(name, 2)
        if known is not None:
            return known
    return None


def main_plot(run: "TrainingRun", size: tuple[float, float]) -> Plot | None:
    """The first curve, with a band of a standard error where that is known."""
    series = main_curve(run)
    if series is None:
        return None
    plot = _plot(run, Panel(title(series.name), {series.name: _called(series)}), size)
    return None if plot is None else replace(plot, note=_main_note(series, size))


def panels(run: "TrainingRun", named: Sequence[str]) -> list[tuple[Plot, frozenset[str]]]:
    """Small figures of all further series, those that findings name first.

    Series that are 0 throughout are left out unless a finding names them.

    Args:
        run: What is drawn.
        named: Names of series, those of the first finding first.

    Returns:
        Every plot with the names of the series that it could hold.
    """
    main = main_curve(run)
    but = "" if main is None else main.name
    found: list[tuple[int, Plot, frozenset[str]]] = []
    every = [*PANELS, *_others(run, named)]
    for place, panel in enumerate(every):
        wanted = {
            name: said
            for name, said in panel.lines.items()
            if name != but and (name in named or _tells(run, name))
        }
        if not wanted or all(name in BESIDE and name not in named for name in wanted):
            continue
        plot = _plot(run, Panel(panel.title, wanted), SMALL)
        if plot is None:
            continue
        order = min((named.index(name) for name in wanted if name in named), default=10**6 + place)
        found.append((order, plot, frozenset(wanted)))
    return [(plot, names) for _, plot, names in sorted(found, key=lambda one: one[0])]


def drawn(plot: Plot, marks: Sequence[OnsetMark], key: str, best: int | None = None) -> Html:
    """The plot with its marks, which lead to the evidence, and the last good step.

    Args:
        plot: What to draw.
        marks: Findings that began on its axis; none for a plot that no finding names.
        key: Of what the script knows of it.
        best: Last good step.
    """
    behind, over = _marks(plot, marks)
    ring = None if best is None else _best(plot, best)
    return figure(plot, key, behind, None if not marks and ring is None else join([ring, over]))


def laned(plot: Plot, marks: Sequence[OnsetMark]) -> Plot:
    """The plot with room above its lines for the marks."""
    rows = len(set(_rows(plot, marks).values()))
    return replace(plot, lane=rows * (2 * _radius(plot) + 4) + 2 if rows else 0.0)


def glyph(state: State, number: int | None = None, radius: float = 9.0) -> Html:
    """The sign of a severity as a picture of its own, for headings and lists."""
    box = f"{-radius - 1:g} {-radius - 1:g} {2 * radius + 2:g} {2 * radius + 2:g}"
    return tag(
        "svg",
        _shape(state, 0.0, 0.0, radius, number),
        view_box=box,
        class_=f"glyph of-{state}",
        aria_hidden="true",
    )


def title(name: str) -> str:
    """What a series is called as a heading."""
    known = {"reward": "Reward", "accuracy": "Accuracy on pairs", "kl": "KL to the reference"}
    if name in known:
        return known[name]
    for panel in PANELS:
        if name in panel.lines:
            return panel.title
    group, _, part = name.partition(".")
    words = {"reward": "Reward of ", "eval": "Evaluation: "}.get(group, "") if part else ""
    plain = (part if words else name).replace("_at_", "@").replace("_", " ")
    return words + (plain if words else plain[:1].upper() + plain[1:])


def _others(run: "TrainingRun", named: Sequence[str]) -> list[Panel]:
    """Parts of the reward, evaluations, and whatever else a finding names."""
    held = {name for panel in PANELS for name in panel.lines}
    parts = [name for name in run.series if name.startswith("reward.")]
    rest = [
        name
        for name in run.series
        if name.startswith("eval.") and name.split(".")[-1] not in COUNTS
    ]
    rest += [name for name in named if name not in held and not name.startswith("reward.")]
    shown = {name: name.removeprefix("reward.") for name in parts[:5]}
    drawn_alone = len(parts) == 1 and parts[0] not in named  # it is the reward itself
    found = [Panel("Parts of the reward", shown)] if parts and not drawn_alone else []
    found += [Panel(title(n), {n: n.split(".")[-1]}) for n in dict.fromkeys(rest)]
    return [panel for panel in found if set(panel.lines) & set(run.series)]


def _tells(run: "TrainingRun", name: str) -> bool:
    known = run.get(name, 2)
    return known is not None and bool(known.values.any())


def _called(series: "Figures") -> str:
    """What the legend calls a series: the person's own key where a file has one."""
    return series.key or series.name.replace("_", " ")


def _main_note(series: "Figures", size: tuple[float, float]) -> str:
    stride = _stride(series, size)
    if stride > 1:
        return f"Every point is the mean of {stride} steps, below of more; the band is their range."
    return "" if series.error is None else "The band is one standard error over the prompts."


def _plot(run: "TrainingRun", panel: Panel, size: tuple[float, float]) -> Plot | None:
    known = [(n, said, s) for n, said in panel.lines.items() if (s := run.get(n, 2)) is not None]
    if not known or not len(run.steps):
        return None
    lines = [
        line
        for i, (_, said, series) in enumerate(known)
        for line in _line(series, said, f"s{i}", size)
    ]
    share = all(name in SHARES for name, _, _ in known)
    reach = [value for line in lines for value in (*line.y, *(line.area or ()))]
    low = min((v for v in reach if v is not None), default=0.0)
    domain = nice(reach, 0.0 if low >= 0 else None)
    unit = next((series.unit for _, _, series in known if series.unit), "")
    return Plot(
        f"{panel.title}, {unit}" if unit else panel.title,
        lines,
        domain if not share else (domain[0], min(domain[1], 1.0)),
        _share if share else plainly,
        size=size,
        span=(float(run.steps[0]), float(run.steps[-1])),
    )


def _share(value: float | None) -> str:
    return DASH if value is None else f"{plainly(100 * value)} %"


def _stride(series: "Figures", size: tuple[float, float]) -> int:
    """How many steps a point of a line stands for."""
    return -(-len(series) // points(size))


def points(size: tuple[float, float]) -> int:
    """Points of a line in a figure of some size, at most."""
    return int(size[0] / DENSE)


def _line(series: "Figures", name: str, style: str, size: tuple[float, float]) -> list[PlotLine]:
    """The line and, as an edge without a name, its band."""
    steps, values = series.steps, series.values
    low = high = None
    stride = _stride(series, size)
    if stride > 1:
        starts = np.arange(0, len(series), stride)
        count = np.diff(np.append(starts, len(series)))
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        values, steps = np.add.reduceat(values, starts) / count, steps[starts + (count - 1) // 2]
    elif series.error is not None and np.isfinite(series.error).all():
        low, high = values - series.error, values + series.error
        if series.name in SHARES:
            low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    x, y = [float(step) for step in steps], [float(value) for value in values]
    if low is None or high is None or style != "s0":
        return [PlotLine(name, x, y, style)]
    kind = f"{style} edge" if stride == 1 else f"{style} edge range"
    edge = PlotLine("", x, [float(v) for v in low], kind, area=[float(v) for v in high])
    return [PlotLine(name, x, y, style), edge]


def _radius(plot: Plot) -> float:
    return SMALL_RADIUS if plot.size == SMALL else RADIUS


def _rows(plot: Plot, marks: Sequence[OnsetMark]) -> dict[int, int]:
    """Number of a mark → its row: marks that would touch lie above each other."""
    x, _ = plot.scales()
    apart = 2 * _radius(plot) + 4
    ends: list[float] = []
    found = {}
    for mark in sorted(marks, key=lambda one: (one.step, one.number)):
        at = x(mark.step)
        row = next((i for i, end in enumerate(ends) if at - end >= apart), len(ends))
        ends[row : row + 1] = [at]
        found[mark.number] = row
    return found


def _marks(plot: Plot, marks: Sequence[OnsetMark]) -> tuple[Html, Html]:
    """Bands of the intervals and lines of the onsets, and the links above them."""
    x, y = plot.scales()
    rows, radius = _rows(plot, marks), _radius(plot)
    bottom = y.pixels[0]
    behind, over = [], []
    bands = {(mark.interval, mark.finding.severity): mark for mark in marks}
    behind += [_interval(x, mark, plots.TOP + plot.lane, bottom) for mark in bands.values()]
    for mark in marks:
        at = x(mark.step)
        high = plots.TOP + radius + rows[mark.number] * (2 * radius + 4)
        style = f"onset-line of-{mark.finding.severity}"
        behind.append(tag("line", class_=style, x1=at, x2=at, y1=high, y2=bottom))
        over.append(_link(mark, _shape(mark.finding.severity, at, high, radius, mark.number)))
    return join(behind), join(over)


def _interval(x: Scale, mark: OnsetMark, top: float, bottom: float) -> Html:
    low, high = (x(end) for end in mark.interval)
    style = f"onset-band of-{mark.finding.severity}"
    return tag("rect", class_=style, x=low, y=top, width=high - low, height=bottom - top)


def _link(mark: OnsetMark, shape: Html) -> Html:
    finding, onset = mark.finding, mark.finding.onset
    when = "" if onset is None else f" Onset: {onset.interval}."
    said = f"Finding {mark.number}, {finding.severity}: {finding.headline}{when}"
    return tag(
        "a", tag("title", said), shape, href=f"#{mark.anchor}", class_="onset", aria_label=said
    )


def _shape(state: State, x: float, y: float, radius: float, named: int | None) -> Html:
    """An octagon, a triangle, a circle or a tick: severity shows without colour."""
    style = f"sign of-{state}"
    if state == "critical":
        body = tag("polygon", class_=style, points=_corners(x, y, radius * 1.06, 8, 0.5))
    elif state == "warning":
        body = tag("polygon", class_=style, points=_corners(x, y + 1.5, radius * 1.28, 3, 0.75))
    else:
        body = tag("circle", class_=style, cx=x, cy=y, r=radius - 0.5)
    if state == "fine":
        r = radius
        path = f"M{number(x - 0.42 * r)},{number(y + 0.02 * r)}l{number(0.3 * r)},"
        path += f"{number(0.34 * r)}l{number(0.52 * r)},{number(-0.66 * r)}"
        return join([body, tag("path", class_="tick-mark", d=path)])
    alone = {"note": "i", "unknown": "?"}.get(state, "!")
    mark = alone if named is None else str(named)
    down = radius * (0.5 if state == "warning" else 0.38)
    size = "sign-name tiny" if radius < RADIUS else "sign-name"
    return join(
        [
            body,
            tag("text", mark, class_=f"{size} of-{state}", x=x, y=y + down, text_anchor="middle"),
        ]
    )


def _corners(x: float, y: float, radius: float, count: int, turn: float) -> str:
    """Corners of a regular polygon, the first one ``turn`` of a circle (or half a side) on."""
    start = turn / count if count != 3 else turn
    angles = [2 * np.pi * (start + i / count) for i in range(count)]
    spots = [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles]
    return " ".join(f"{number(float(a))},{number(float(b))}" for a, b in spots)


def _best(plot: Plot, step: int) -> Html | None:
    """A ring on the first line at the last good step, with its name."""
    x, y = plot.scales()
    line = plot.series[0]
    at = next((v for s, v in zip(line.x, line.y, strict=True) if s == step), None)
    if at is None:
        return None
    here, bottom, name = x(step), y.pixels[0], f"last good step {step}"
    left = here > 160
    return tag(
        "g",
        tag("line", class_="best-line", x1=here, x2=here, y1=y(at), y2=bottom),
        tag("circle", class_="best", cx=here, cy=y(at), r=5.0),
        tag(
            "text",
            name,
            class_="best-name",
            x=here - 6 if left else here + 6,
            y=bottom - 7,
            text_anchor="end" if left else "start",
        ),
    )
