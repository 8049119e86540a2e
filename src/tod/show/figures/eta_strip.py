"""The verdict by sharpness, for a target that was only assumed."""

import math
from typing import Any

from tod.base.text import plainly
from tod.show.figures.plot import WIDTH, canvas, key
from tod.show.figures.scales import Scale
from tod.show.figures.svg import Html, tag
from tod.show.words import verdict_words

HEIGHT, BAR, TOP = 62.0, 18.0, 20.0


def eta_strip(intervals: list[dict[str, Any]], eta: float) -> Html | None:
    """Coloured intervals of η on a square-root axis, the assumed sharpness marked."""
    if not intervals:
        return None
    x = _scale(intervals)
    cells = [_cell(x, part) for part in intervals]
    edges = [intervals[0]["eta"][0], *(part["eta"][1] for part in intervals)]
    marks = [
        tag("text", plainly(v), class_="tick", x=x(_root(v)), y=TOP + BAR + 15, text_anchor=side)
        for v, side in _apart(x, edges)
    ]
    said = "; ".join(
        f"{plainly(p['eta'][0])} to {plainly(p['eta'][1])}: {verdict_words(p['verdict']).name}"
        for p in intervals
    )
    verdicts = [verdict_words(name) for name in dict.fromkeys(p["verdict"] for p in intervals)]
    drawn = [cells, marks, _assumed(x(_root(eta)), eta)]
    return tag(
        "figure",
        canvas("Verdict by sharpness", said, drawn, WIDTH, HEIGHT),
        tag("p", [key(verdict.colour, verdict.name) for verdict in verdicts], class_="legend"),
        class_="chart strip",
    )


def _assumed(place: float, eta: float) -> list[Html]:
    """The assumed sharpness at a pixel; its name lies on the side that has room."""
    before = place > WIDTH / 2
    x, side = (place - 6, "end") if before else (place + 6, "start")
    name = f"assumed η {plainly(eta)}"
    return [
        tag("line", class_="strip-now", x1=place, x2=place, y1=TOP - 6, y2=TOP + BAR + 3),
        tag("text", name, class_="leg-value", x=x, y=TOP - 7, text_anchor=side),
    ]


def _scale(intervals: list[dict[str, Any]]) -> Scale:
    ends = intervals[0]["eta"][0], intervals[-1]["eta"][1]
    return Scale((_root(ends[0]), _root(ends[1])), (4.0, WIDTH - 4.0))


def _cell(x: Scale, part: dict[str, Any]) -> Html:
    low, high = (x(_root(end)) for end in part["eta"])
    return tag(
        "rect",
        tag("title", verdict_words(part["verdict"]).name),
        class_=f"cell {verdict_words(part['verdict']).colour}",
        x=low,
        y=TOP,
        width=max(high - low - 1.0, 0.5),
        height=BAR,
    )


def _apart(x: Scale, edges: list[float]) -> list[tuple[float, str]]:
    """Edges whose numbers do not run into one another."""
    kept: list[tuple[float, str]] = []
    for i, value in enumerate(edges):
        side = "start" if i == 0 else "end" if i == len(edges) - 1 else "middle"
        if kept and x(_root(value)) - x(_root(kept[-1][0])) < 34:
            if side != "end" or len(kept) == 1:
                continue
            kept.pop()
        kept.append((value, side))
    return kept


def _root(value: float) -> float:
    return math.sqrt(max(value, 0.0))
