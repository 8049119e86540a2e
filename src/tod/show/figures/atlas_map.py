"""The atlas as a small map: targets down, operators across, a mark where something stands."""

from collections.abc import Sequence

from tod.atlas.grid import OPERATORS, TARGETS
from tod.show.figures.plot import chart
from tod.show.figures.svg import Html, tag

WIDTH, HEIGHT, LEFT, TOP = 760.0, 270.0, 196.0, 34.0

Cell = tuple[str, str]


def atlas_map(marks: Sequence[tuple[Cell, str]], title: str) -> Html:
    """The map with its marks.

    Args:
        marks: Row and column of the atlas, and what stands there; two in one cell share it.
        title: Heading.
    """
    across = (WIDTH - LEFT) / len(OPERATORS)
    down = (HEIGHT - TOP) / len(TARGETS)
    drawn: list[Html] = []
    for i, name in enumerate(OPERATORS.values()):
        at = LEFT + (i + 0.5) * across
        first, _, rest = name.partition(" ")
        for row, words in enumerate(w for w in (first, rest) if w):
            label = tag("text", words, class_="tick", x=at, y=10 + 13 * row, text_anchor="middle")
            drawn.append(label)
    for j, (row_name, name) in enumerate(TARGETS.items()):
        y = TOP + j * down
        middle = y + down / 2 + 4
        label = tag("text", name, class_="leg-about", x=LEFT - 8, y=middle, text_anchor="end")
        drawn.append(label)
        for i, column in enumerate(OPERATORS):
            here = [label for cell, label in marks if cell == (row_name, column)]
            drawn += _cell(LEFT + i * across, y, across, down, here)
    said = "; ".join(f"{label}: {TARGETS[r]} by {OPERATORS[c]}" for (r, c), label in marks)
    return chart(title, said, drawn, size=(WIDTH, HEIGHT))


def _cell(x: float, y: float, width: float, height: float, labels: Sequence[str]) -> list[Html]:
    style = "column s0" if labels else "track"
    box = tag("rect", class_=style, x=x + 2, y=y + 2, width=width - 4, height=height - 4, rx=4.0)
    if not labels:
        return [box]
    name = tag(
        "text",
        " and ".join(labels),
        class_="leg-name",
        x=x + width / 2,
        y=y + height / 2 + 4,
        text_anchor="middle",
    )
    return [box, name]
