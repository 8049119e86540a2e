"""The frame every curve shares: axes, lines with gaps, bands, and what the cursor reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tod.base.text import fixed, plainly
from tod.show.figures.scales import Scale
from tod.show.figures.svg import Html, join, number, tag

WIDTH, HEIGHT = 460.0, 196.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 10.0, 8.0, 24.0

Values = Sequence[float | None]


@dataclass(frozen=True)
class PlotLine:
    """One line.

    Attributes:
        name: What the legend says; a line without a name is an edge, and has no entry there.
        x: Steps, or what else lies along the horizontal axis.
        y: Values; None leaves a gap.
        style: Class that gives its colour: ``s0``… for quantities, ``r0``… for runs.
        error: Half-width of an error bar at each step, or None; then points are drawn.
        area: Other edge of a filled band, or None.
        dashed: Whether the line is dashed.
        read: What the cursor reads where that is not the height, as in stacked layers.
    """

    name: str
    x: Sequence[float]
    y: Values
    style: str
    error: Values | None = None
    area: Values | None = None
    dashed: bool = False
    read: Values | None = None

    def known(self) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None for value in self.y)

    def readings(self) -> list[tuple[float, float | None]]:
        """Step and what the cursor says there."""
        return list(zip(self.x, self.y if self.read is None else self.read, strict=True))


@dataclass(frozen=True)
class Plot:
    """A figure of lines, over steps unless ``axis`` says otherwise.

    Attributes:
        title: Heading.
        series: Lines, in the order of the legend.
        domain: Of the vertical axis.
        show: How values are written.
        note: What to know when reading it.
        limits: Horizontal thresholds: value and class; the note says what they are.
        marks: Steps with something to point at: step, class and what.
        axis: What lies along the horizontal axis; plots that share it share the cursor.
        at: Where its ticks are, on a logarithmic axis; round numbers on a linear one if empty.
        guides: Values of the horizontal axis with their name: value, class, name; the name lies
            at the bottom when the class says ``low``.
        rest: Where the legend reads while nothing is pointed at; the right end if None.
        size: Width and height.
        span: Ends of the horizontal axis; those of the lines if None.
        lane: Height that is left free above the lines, for marks.
    """

    title: str
    series: list[PlotLine]
    domain: tuple[float, float] = (0.0, 1.0)
    show: Callable[[float | None], str] = fixed
    note: str = ""
    limits: list[tuple[float, str]] = field(default_factory=list)
    marks: list[tuple[int, str, str]] = field(default_factory=list)
    axis: str = "step"
    at: Sequence[float] = ()
    guides: list[tuple[float, str, str]] = field(default_factory=list)
    rest: float | None = None
    size: tuple[float, float] = (WIDTH, HEIGHT)
    span: tuple[float, float] | None = None
    lane: float = 0.0

    def scales(self) -> tuple[Scale, Scale]:
        """Of the steps and of the values."""
        steps = [step for line in self.series for step in line.x]
        first, last = self.span or ((min(steps), max(steps)) if steps else (0, 1))
        across = (first - 0.5, last + 0.5) if first == last else (float(first), float(last))
        width, height = self.size
        return (
            Scale(across, (LEFT, width - RIGHT), log=bool(self.at)),
            Scale(self.domain, (height - BOTTOM, TOP + self.lane)),
        )


def figure(
    plot: Plot, key: str | None = None, behind: Html | None = None, over: Html | None = None
) -> Html:
    """The plot as a figure with its legend, which doubles as the cursor's read-out.

    Args:
        plot: What to draw.
        key: Of what the script knows of it (`cursor_data`); without one no cursor reads it.
        behind: What lies behind the lines.
        over: What lies over them and leads somewhere, such as marks that are links.
    """
    x, y = plot.scales()
    drawn = [
        behind,
        grid(x, y, plot.show, plot.axis, plot.at),
        [_limit(x, y, *limit) for limit in plot.limits],
        [_mark(x, *mark) for mark in plot.marks],
        [band(x, y, line) for line in plot.series if line.area is not None],
        [curve(x, y, line) for line in plot.series],
        [guide(x, *given, row=i) for i, given in enumerate(plot.guides)],
        tag("line", class_="cursor", x1=0.0, x2=0.0, y1=TOP, y2=y.pixels[0]),
        over,
    ]
    resting = None if plot.rest is None else f"{plot.axis} {plainly(plot.rest)}"
    read_at = tag("span", resting, class_="at", data_at=True)
    said, keys = describe(plot), legend(plot)
    role = "img" if over is None else "group"  # what is inside a picture cannot be reached by key
    return chart(plot.title, said, drawn, keys, plot.note, read_at, key, plot.size, role)


def chart(
    title: str,
    summary: str,
    drawn: object,
    keys: object = None,
    note: str = "",
    beside: Html | None = None,
    plot: str | None = None,
    size: tuple[float, float] = (WIDTH, HEIGHT),
    role: str = "img",
) -> Html:
    """A drawing under its heading and legend, with a note below.

    Args:
        title: Heading.
        summary: What is drawn, in words.
        drawn: It.
        keys: Entries of the legend.
        note: What to know when reading it.
        beside: What stands beside the heading.
        plot: Key of what the script knows of it.
        size: Width and height.
        role: ``group`` where parts of it can be reached by themselves.
    """
    heading = tag("div", tag("h3", title), beside, class_="heading")
    return tag(
        "figure",
        tag("figcaption", heading, tag("p", keys, class_="legend") if keys else None),
        canvas(title, summary, drawn, *size, role=role),
        tag("p", note, class_="note") if note else None,
        class_="chart",
        data_plot=plot,
    )


def canvas(
    title: str, summary: str, drawn: object, width: float, height: float, **attributes: object
) -> Html:
    """An SVG that says in words what it shows."""
    named = (tag("title", title), tag("desc", summary))
    said: dict[str, object] = {"role": "img", "aria_label": f"{title}. {summary}"}
    box = f"0 0 {number(width)} {number(height)}"
    return tag("svg", named, drawn, view_box=box, **(said | attributes))


def grid(
    x: Scale,
    y: Scale,
    show: Callable[[float | None], str],
    x_title: str | None = "step",
    ticks: Sequence[float] = (),
) -> Html:
    """Horizontal hairlines with their values, and the steps (or ``ticks``) below."""
    left, right = x.pixels
    bottom = y.pixels[0]
    parts: list[Html] = []
    for value in y.ticks(5):
        at = y(value)
        parts.append(tag("line", class_="grid", x1=left, x2=right, y1=at, y2=at))
        label = tick(value, show)
        parts.append(tag("text", label, class_="tick", x=left - 6, y=at + 3.5, text_anchor="end"))
    if not ticks:
        ticks = [value for value in x.ticks(6) if value == int(value) or x_title != "step"]
    below = [_below(x(value), bottom, f"{value:g}", value == ticks[-1], x_title) for value in ticks]
    return join([parts, below])


def tick(value: float, show: Callable[[float | None], str]) -> str:
    """A tick's label: what ``show`` says, without decimals that say nothing."""
    label = show(value)
    if label.endswith("%") or "." not in label or "e" in label:
        return label
    return label.rstrip("0").rstrip(".") or "0"


def _below(at: float, bottom: float, label: str, last: bool, title: str | None) -> Html:
    shown = f"{title} {label}" if last and title else label
    anchor = "end" if last and title else "middle"
    nudge = 6.0 if last and title else 0.0
    return tag("text", shown, class_="tick", x=at + nudge, y=bottom + 16, text_anchor=anchor)


def curve(x: Scale, y: Scale, line: PlotLine) -> Html:
    """The line with its gaps; lone points and measured ones with errors as dots."""
    runs = _stretches(line)
    paths = [
        "M" + "L".join(f"{number(x(step))},{number(y(value))}" for step, value in run)
        for run in runs
        if len(run) > 1
    ]
    style = f"line {line.style}{' dashed' if line.dashed else ''}"
    parts = [tag("path", class_=style, d="".join(paths))] if paths else []
    if line.error is not None:
        parts += _error_bars(x, y, line)
    else:
        lone = [run[0] for run in runs if len(run) == 1]
        parts += [
            tag("circle", class_=f"dot {line.style}", cx=x(step), cy=y(value), r=2.5)
            for step, value in lone
        ]
    return join(parts)


def band(x: Scale, y: Scale, line: PlotLine) -> Html:
    """The filled area between a line and its other edge."""
    rows = [
        (step, value, other)
        for step, value, other in zip(line.x, line.y, line.area or (), strict=True)
        if value is not None and other is not None
    ]
    if len(rows) < 2:
        return Html("")
    there = [f"{number(x(step))},{number(y(value))}" for step, value, _ in rows]
    back = [f"{number(x(step))},{number(y(other))}" for step, _, other in reversed(rows)]
    return tag("path", class_=f"area {line.style}", d="M" + "L".join(there + back) + "Z")


def key(style: str, name: str, value: Html | None = None) -> Html:
    """An entry of a legend: its colour, its name, and its value if it has one."""
    return tag("span", tag("i", class_=f"swatch {style}"), name, value, class_="key")


def legend(plot: Plot) -> list[Html]:
    """A key per named line, with its value at rest; the script writes the cursor's value there."""
    return [
        key(
            f"{line.style}{' dashed' if line.dashed else ''}",
            line.name,
            tag("output", plot.show(_resting(line, plot.rest)), data_series=str(i)),
        )
        for i, line in enumerate(plot.series)
        if line.name
    ]


def _resting(line: PlotLine, rest: float | None) -> float | None:
    """The last known value, or the one nearest to where the plot rests."""
    known = [(x, value) for x, value in line.readings() if value is not None]
    if not known:
        return None
    return known[-1][1] if rest is None else min(known, key=lambda one: abs(one[0] - rest))[1]


def cursor_data(plot: Plot) -> dict[str, object]:
    """What the script needs to read the plot at any step; values are already text."""
    x, _ = plot.scales()
    steps = sorted({step for line in plot.series for step in line.x})
    columns = []
    for line in plot.series:
        at = dict(line.readings())
        columns.append([plot.show(at[step]) if step in at else "" for step in steps])
    pixels = [round(x(step), 1) for step in steps]
    found = {"steps": steps, "pixels": pixels, "values": columns, "width": plot.size[0]}
    return {**found, "axis": plot.axis}


def describe(plot: Plot) -> str:
    """First and last value of every line, in words."""
    said = []
    for line in plot.series:
        known = [(step, v) for step, v in line.readings() if v is not None]
        if known and line.name:
            (a, first), (b, last) = known[0], known[-1]
            ends = (f"{plot.show(first)} at {plot.axis} {a:g}", f"{plot.show(last)} at")
            said.append(f"{line.name}: {ends[0]}, {ends[1]} {plot.axis} {b:g}")
    return "; ".join(said) or "no values"


def _stretches(line: PlotLine) -> list[list[tuple[float, float]]]:
    """Runs of known values; where points carry errors, unknown steps between are no gap."""
    found: list[list[tuple[float, float]]] = [[]]
    for step, value in zip(line.x, line.y, strict=True):
        if value is not None:
            found[-1].append((step, value))
        elif line.error is None and found[-1]:
            found.append([])
    return [run for run in found if run]


def _error_bars(x: Scale, y: Scale, line: PlotLine) -> list[Html]:
    parts = []
    for step, value, half in zip(line.x, line.y, line.error or (), strict=True):
        if value is None:
            continue
        at = x(step)
        if half is not None:
            parts.append(
                tag(
                    "line",
                    class_=f"bar {line.style}",
                    x1=at,
                    x2=at,
                    y1=y(value - half),
                    y2=y(value + half),
                )
            )
        parts.append(tag("circle", class_=f"dot {line.style}", cx=at, cy=y(value), r=3.2))
    return parts


def _limit(x: Scale, y: Scale, value: float, style: str) -> Html:
    at, (left, right) = y(value), x.pixels
    return tag("line", class_=f"limit {style}", x1=left, x2=right, y1=at, y2=at)


def _mark(x: Scale, step: int, style: str, what: str) -> Html:
    at = x(step)
    line = tag(
        "line", class_=f"event {style}", x1=at, x2=at, y1=HEIGHT - BOTTOM - 12, y2=HEIGHT - BOTTOM
    )
    return tag("g", tag("title", f"step {step}: {what}"), line)


def guide(x: Scale, value: float, style: str, name: str, row: int = 0) -> Html:
    """A vertical line with its name, on the side that has room; names keep to their own rows."""
    at, (left, right) = x(value), x.pixels
    before = at > (left + right) / 2
    line = tag("line", class_=f"guide {style}", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM)
    said = tag(
        "text",
        name,
        class_=f"guide-name {style}",
        x=at - 6 if before else at + 6,
        y=HEIGHT - BOTTOM - 7 - 14 * row if "low" in style.split() else TOP + 9 + 14 * row,
        text_anchor="end" if before else "start",
    )
    return join([line, said])
