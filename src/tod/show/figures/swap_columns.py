"""Operators of one target in several conditions: a column a condition, a mark an operator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tod.show.figures.svg import Html, number, tag

__all__ = ["Column", "OperatorMark", "swap_columns"]

WIDTH, LEFT, RIGHT, TOP, PLOT, LINE = 760.0, 46.0, 12.0, 52.0, 250.0, 15.0
Height = Callable[[float], float]
"""Vertical place of a value."""
COLOURS = ("#1f5fa8", "#1f8a70", "#c8591b", "#8a4f9e", "#8c7417", "#3d9bd1", "#b23a6f", "#5b6470")
STYLE = """
text { font: 12px "Inter", "Helvetica Neue", Arial, sans-serif; fill: #1b1e23; }
.soft { fill: #535a64; } .small { font-size: 11px; } .title { font-weight: 600; }
.rule { stroke: #d8d8d2; } .start { stroke: #6b727c; stroke-dasharray: 4 3; }
.paper { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e9eaec; } .soft { fill: #a3aab4; } .rule { stroke: #2a2e35; }
  .start { stroke: #8b929c; } .paper { fill: #121418; }
}
"""


@dataclass(frozen=True)
class OperatorMark:
    """One operator in one condition.

    Attributes:
        operator: Its name.
        mean: Mean over seeds.
        ends: Of its interval; None where there are too few seeds for one.
        seeds: Value at each seed.
    """

    operator: str
    mean: float
    ends: tuple[float, float] | None
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Column:
    """One condition.

    Attributes:
        title: Its name.
        marks: One an operator.
        words: What is written under it, a line each.
    """

    title: str
    marks: tuple[OperatorMark, ...]
    words: tuple[str, ...] = ()


def swap_columns(columns: Sequence[Column], *, what: str, start: float | None = None) -> Html:
    """A whole SVG file that needs nothing else, for light and dark.

    Args:
        columns: From left to right.
        what: What is drawn upward, such as ``pass@1``.
        start: Its value before training, a dashed line; None: not known.
    """
    names = list(dict.fromkeys(mark.operator for column in columns for mark in column.marks))
    values = [x for column in columns for mark in column.marks for x in (mark.mean, *mark.seeds)]
    top = max([*values, start or 0.0, 1e-9]) * 1.08
    height = TOP + PLOT + 26 + LINE * max((len(c.words) for c in columns), default=0) + 10
    wide = (WIDTH - LEFT - RIGHT) / max(1, len(columns))

    def y(value: float) -> float:
        return TOP + PLOT * (1.0 - max(0.0, value) / top)

    drawn: list[object] = [_legend(names), _axis(top, y, what)]
    if start is not None:
        drawn += [
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(start), y2=y(start), class_="start"),
            tag("text", "before training", x=LEFT + 4, y=y(start) + 16, class_="soft small"),
        ]  # fmt: skip
    for place, column in enumerate(columns):
        drawn.append(_column(column, LEFT + place * wide, wide, names, y))
    return tag(
        "svg",
        tag("style", Html(STYLE)),
        tag("title", f"{what} of {', '.join(names)} in {len(columns)} conditions"),
        tag("rect", width=WIDTH, height=height, class_="paper"),
        drawn,
        xmlns="http://www.w3.org/2000/svg",
        view_box=f"0 0 {number(WIDTH)} {number(height)}",
        role="img",
    )


def _legend(names: Sequence[str]) -> list[Html]:
    drawn, x = [], LEFT
    for place, name in enumerate(names):
        drawn.append(tag("circle", cx=x + 4, cy=16.0, r=4.0, fill=COLOURS[place % len(COLOURS)]))
        drawn.append(tag("text", name, x=x + 13, y=20.0))
        x += 26 + 6.6 * len(name)
    return drawn


def _axis(top: float, y: Height, what: str) -> list[Html]:
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if top / step <= 6)
    ticks = [step * i for i in range(int(top / step) + 1)]
    drawn = [tag("text", what, x=LEFT - 38, y=TOP - 10, class_="soft")]
    for value in ticks:
        at = y(value)
        drawn.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="rule"))
        label = f"{value:.2f}".lstrip("0") or "0"
        drawn.append(
            tag("text", label, x=LEFT - 8, y=at + 4, class_="soft small", text_anchor="end")
        )
    return drawn


def _column(
    column: Column, left: float, wide: float, names: Sequence[str], y: Height
) -> list[Html]:
    """The marks of a condition beside one another, and its words underneath."""
    drawn: list[Html] = []
    gap = wide * 0.72 / max(1, len(names))
    for mark in column.marks:
        place = names.index(mark.operator)
        x = left + wide / 2 + (place - (len(names) - 1) / 2) * gap
        colour = COLOURS[place % len(COLOURS)]
        if mark.ends is not None:
            low, high = (min(TOP + PLOT, max(TOP, y(end))) for end in mark.ends)
            drawn.append(tag("line", x1=x, x2=x, y1=low, y2=high, stroke=colour, stroke_width=2.0))
        drawn += [
            tag("circle", cx=x, cy=y(value), r=2.2, fill=colour, fill_opacity=0.45)
            for value in mark.seeds
        ]
        at = y(mark.mean)
        drawn.append(tag("line", x1=x - 9, x2=x + 9, y1=at, y2=at, stroke=colour, stroke_width=4.0))
    middle, base = left + wide / 2, TOP + PLOT + 20
    lines = [(column.title, "title"), *((words, "soft small") for words in column.words)]
    for row, (words, name) in enumerate(lines):
        drawn.append(
            tag("text", words, x=middle, y=base + LINE * row, class_=name, text_anchor="middle")
        )
    return drawn
