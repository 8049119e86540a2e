"""The phase diagram: coverage to the right, tail severity upward, and the run's path through it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tod.base.text import fixed
from tod.regimes import Thresholds
from tod.show.figures.plot import canvas, tick
from tod.show.figures.scales import Scale
from tod.show.figures.svg import Html, join, number, tag
from tod.show.page.run_data import ContextPoint, RunView, at, thresholds
from tod.show.page.windows import Window

WIDTH, HEIGHT = 560.0, 420.0
X = Scale((0.0, 1.0), (46.0, WIDTH - 12.0))
CROWD, REACH, CELL = 300, 22.0, 5.0
LEAST_HEIGHT = 0.58
"""Largest weight up to which the diagram reaches at the least."""
LEAST = 5.0
"""Height of a box whose steps all have one largest weight, in pixels."""
GOLDEN = math.pi * (3 - math.sqrt(5))
"""The golden angle: turning by it never lets two spots of a sunflower share a direction."""


def phase_diagram(runs: list[RunView], style: list[str]) -> Html:
    """Regions, prompts (hover), the windows of each run as boxes, and the verdict's own box.

    A box is the 90 % interval of the population median of ESS_rel across, and the range of the
    steps' medians of the largest weight upward. A point of a prompt shows its own two values at
    the drawn K.
    """
    bounds = thresholds(runs)
    y = _tail_scale(runs)
    drawn = [
        _regions(bounds, y),
        [_reach(k, y) for k in _sizes(runs)],
        _axes(y),
        [_points(run, i, style[i], y) for i, run in enumerate(runs)],
        [_path(run, style[i], y) for i, run in enumerate(runs)],
        [_verdict(run.pooled, style[i], y, len(runs) == 1) for i, run in enumerate(runs)],
    ]
    summary = "; ".join(_described(run) for run in runs)
    svg = canvas("Phase diagram", summary, drawn, WIDTH, HEIGHT)
    return tag("div", svg, class_="phase", data_phase=True, tabindex="0")


@dataclass(frozen=True)
class RunMark:
    """A whole run in the plane.

    Attributes:
        window: What its verdict was read from.
        style: Class of its colour.
        sign: What stands inside its disc, a few characters.
        name: What it is called.
    """

    window: Window
    style: str
    sign: str
    name: str


def phase_marks(marks: Sequence[RunMark], bounds: Thresholds) -> Html:
    """One mark a run: a disc at its verdict's point, with the 90 % interval across.

    A run of which only an upper end is known has a ring there, and a line from the left edge.
    """
    highest = max([LEAST_HEIGHT, *(mark.window.tail[1] for mark in marks)])
    y = Scale((0.0, min(1.0, math.ceil(highest * 5 - 1e-9) / 5)), (HEIGHT - 42.0, 10.0))
    drawn = [_regions(bounds, y), _axes(y), [_run_mark(mark, y) for mark in marks]]
    said = "; ".join(f"{mark.name}: {mark.window.words}" for mark in marks)
    svg = canvas("Phase diagram, one mark a run", said, drawn, WIDTH, HEIGHT)
    return tag("div", svg, class_="phase")


def _run_mark(mark: RunMark, y: Scale) -> Html:
    row = mark.window
    x, up = X(row.middle), y(sum(row.tail) / 2)
    ends = {"x1": X(row.low), "x2": X(row.high), "y1": up, "y2": up}
    kind, sign = ("end", "run-sign") if row.low else ("start", "run-sign open")
    return tag(
        "g",
        tag("title", f"{mark.name}; {row.words}"),
        tag("line", class_=f"path {mark.style}", stroke_opacity=0.7, **ends),
        tag("circle", class_=f"{kind} {mark.style}", cx=x, cy=up, r=9.0 if mark.sign else 6.0),
        tag("text", mark.sign, class_=sign, x=x, y=up + 3.6, text_anchor="middle")
        if mark.sign
        else None,
    )


def phase_data(runs: list[RunView]) -> list[list[dict[str, object]]]:
    """What hovering a prompt says, per run and point."""
    return [[_point_data(point) for point in run.points] for run in runs]


def _point_data(point: ContextPoint) -> dict[str, object]:
    weights = " ".join(fixed(weight) for weight in point.weights)
    facts = [
        ["ESS_rel", fixed(point.ess_rel)],
        ["top weights", weights] if weights else ["largest weight", fixed(point.max_weight)],
        ["K", str(point.k)],
        ["mean reward", fixed(point.utility)],
    ]
    step = "" if point.step is None else f", step {point.step}"
    return {"head": f"prompt {point.context}{step}", "prompt": point.prompt, "facts": facts}


def _tail_scale(runs: list[RunView]) -> Scale:
    """Up to the heaviest thing shown, in steps of 0.2, at most 1."""
    seen = [point.max_weight for run in runs for point in run.points]
    seen += [box.tail[1] for run in runs for box in (*run.windows, run.pooled) if box is not None]
    highest = max([LEAST_HEIGHT, *seen])
    return Scale((0.0, min(1.0, math.ceil(highest * 5 - 1e-9) / 5)), (HEIGHT - 42.0, 10.0))


def _regions(bounds: Thresholds, y: Scale) -> Html:
    """Three bands of coverage: the words are read on it alone, whatever the largest weight is."""
    low, high, top = bounds.overlap_dominated, bounds.overlap_stable, y.domain[1]
    return join(
        [
            _box("dominated", 0, y, top),
            _box("transition", low, y, top),
            _box("stable", high, y, top),
            _name("operator-dominated", X(0) + 10, y(0) - 11, "start", "dominated"),
            _name("transition", X(low) + 10, y(0) - 11, "start", "transition"),
            _name("swap-stable", X(1) - 10, y(0) - 11, "end", "stable"),
        ]
    )


def _box(region: str, left: float, y: Scale, high: float) -> Html:
    """From ``left`` to the right edge, from the bottom up to ``high``."""
    return tag(
        "rect",
        class_=f"region {region}",
        x=X(left),
        y=y(high),
        width=X(1) - X(left),
        height=y(0) - y(high),
    )


def _name(name: str, x: float, y: float, anchor: str, region: str) -> Html:
    return tag("text", name, class_=f"region-name {region}", x=x, y=y, text_anchor=anchor)


def _sizes(runs: list[RunView]) -> list[int]:
    """The K whose limits are drawn: only when all runs agree on one."""
    found = {at(run.last, "contexts", "candidates_per_context", "median") for run in runs}
    known = [int(k) for k in found if k is not None and k >= 2]
    return known if len(known) == 1 else []


def _reach(k: int, y: Scale) -> Html:
    """Dotted limits: K weights with largest m have Σw² between two curves.

    At most n m² + (1 − n m)² with n = ⌊1/m⌋ (as few candidates as possible share the mass), at
    least m² + (1 − m)²/(K − 1) (the rest is even); ESS_rel = 1/(K Σw²).
    """
    grid = [1 / k + (1 - 1 / k) * i / 120 for i in range(121)]
    fewest, evenest = [], []
    for m in grid:
        n = math.floor(1 / m + 1e-12)
        fewest.append((1 / (k * (n * m**2 + max(0.0, 1 - n * m) ** 2)), m))
        evenest.append((1 / (k * (m**2 + (1 - m) ** 2 / (k - 1))), m))
    lines = [tag("path", class_="reach", d=_trace(c, y)) for c in (fewest, evenest)]
    at_x, at_y = evenest[36]
    name = tag("text", f"limits for K = {k}", class_="reach-name", x=X(at_x) + 8, y=y(at_y))
    return join([*lines, name])


def _trace(curve: list[tuple[float, float]], y: Scale) -> str:
    inside = [(x, m) for x, m in curve if m <= y.domain[1]]
    return "M" + "L".join(f"{number(X(x))},{number(y(m))}" for x, m in inside)


def _axes(y: Scale) -> Html:
    below = [
        tag("text", f"{v:g}", class_="tick", x=X(v), y=y(0) + 16, text_anchor="middle")
        for v in X.ticks(6)
    ]
    beside = [
        tag("text", tick(v, fixed), class_="tick", x=X(0) - 7, y=y(v) + 3.5, text_anchor="end")
        for v in y.ticks(6)
    ]
    turned = f"translate(13 {number((y.pixels[0] + y.pixels[1]) / 2)}) rotate(-90)"
    across, up = "coverage: ESS_rel of the median prompt →", "tail: largest weight at your K →"
    names = [
        tag("text", across, class_="axis", x=X(0.5), y=HEIGHT - 6, text_anchor="middle"),
        tag("text", up, class_="axis", text_anchor="middle", transform=turned),
    ]
    return join([below, beside, names])


def _points(run: RunView, index: int, style: str, y: Scale) -> Html:
    spots = _spread([(X(point.ess_rel), y(point.max_weight)) for point in run.points])
    radius = 4.2 if len(spots) <= CROWD else 3.0 if len(spots) <= 3 * CROWD else 2.2
    dots = [
        tag(
            "circle",
            class_=f"context {style}{'' if len(spots) <= CROWD else ' crowd'}",
            cx=spots[i][0],
            cy=spots[i][1],
            r=radius,
            data_run=str(index),
            data_point=str(i),
        )
        for i, point in enumerate(run.points)
    ]
    return tag("g", dots)


def _spread(spots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spots of one place move onto a sunflower around it, at most ``REACH`` away.

    Binary utilities give a handful of places to all contexts: unmoved, one would hide the others.
    All sunflowers are equally dense: larger ones hold more contexts. What would lie right of
    ESS_rel 1 is folded back, as far to its left.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (x, y) in enumerate(spots):
        groups.setdefault((round(x / CELL), round(y / CELL)), []).append(i)
    moved = list(spots)
    apart = min(3.2, REACH / math.sqrt(max(map(len, groups.values()), default=1)))
    for members in groups.values():
        for turn, i in enumerate(members[1:], start=1):
            far, angle = apart * math.sqrt(turn), turn * GOLDEN
            x, y = spots[i]
            right = x + far * math.cos(angle)
            moved[i] = (min(right, 2 * X(1) - right), y + far * math.sin(angle))
    return moved


def _path(run: RunView, style: str, y: Scale) -> Html:
    """A box for every window of several, later ones with more ink, and a line through them."""
    rows = run.windows
    if len(rows) < 2:
        return Html("")
    spots = [(X(row.middle), y(sum(row.tail) / 2)) for row in rows]
    ink = [0.25 + 0.5 * (i + 1) / len(rows) for i in range(len(rows))]
    boxes = [
        tag("g", tag("title", row.words), _box_of(row, f"window {style}", y), opacity=share)
        for row, share in zip(rows, ink, strict=True)
    ]
    lines = [
        tag("line", class_=f"path {style}", x1=a[0], y1=a[1], x2=b[0], y2=b[1], stroke_opacity=c)
        for (a, b), c in zip(pairwise(spots), ink[1:], strict=True)
    ]
    kinds = ["start", *["between"] * (len(rows) - 2), "between"]
    dots = [
        tag("circle", tag("title", row.words), class_=f"{kind} {style}", cx=x, cy=up, r=3.5)
        for row, (x, up), kind in zip(rows, spots, kinds, strict=True)
    ]
    return join([boxes, lines, dots])


def _verdict(row: Window | None, style: str, y: Scale, named: bool) -> Html:
    """The box that the verdict was read from, its steps, and a disc where there is a point."""
    if row is None:
        return Html("")
    x, up = X(row.middle), y(sum(row.tail) / 2)
    parts = [
        tag("title", row.words),
        _box_of(row, f"pooled {style}", y),
        tag("circle", class_=f"end {style}", cx=x, cy=up, r=5.0) if row.low else None,
    ]
    if named:
        right = X(row.low) > WIDTH - 130
        at = {
            "x": X(row.high) if right else X(row.low) + 2,
            "text_anchor": "end" if right else "start",
        }
        parts.append(tag("text", row.steps, class_="step-name", y=y(row.tail[1]) - 9, **at))
    return tag("g", parts)


def _box_of(row: Window, style: str, y: Scale) -> Html:
    """A box; without a lower end it is open to the left."""
    left, right = X(row.low), X(row.high)
    low, high = y(row.tail[0]), y(row.tail[1])
    if low - high < LEAST:
        low, high = (low + high + LEAST) / 2, (low + high - LEAST) / 2
    corners = [(left, high), (right, high), (right, low), (left, low)]
    path = "M" + "L".join(f"{number(a)},{number(b)}" for a, b in corners)
    return tag("path", class_=style, d=path + ("Z" if row.low else ""))


def _described(run: RunView) -> str:
    """The boxes in words."""
    rows = [run.windows[0], run.windows[-1]] if len(run.windows) > 1 else []
    said = [row.words for row in rows]
    if run.pooled is not None:
        said.append(f"the verdict is of {run.pooled.words}")
    return f"{run.name}: {'; '.join(said) or 'no step has both coordinates'}"
