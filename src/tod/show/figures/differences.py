"""Differences with intervals: a row each, zero in the middle of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from tod.show.figures.plot import RIGHT, WIDTH, chart
from tod.show.figures.scales import Scale
from tod.show.figures.svg import Html, number, tag

__all__ = ["DifferenceRow", "differences"]

ROW, BASE = 42.0, 26.0


@dataclass(frozen=True)
class DifferenceRow:
    """A difference.

    Attributes:
        name: What is compared.
        said: The difference in words.
        value: The difference.
        ends: Of its interval; None where there is none.
        told: Whether the two are told apart; None where nothing can tell.
    """

    name: str
    said: str
    value: float
    ends: tuple[float, float] | None
    told: bool | None


def differences(title: str, rows: Sequence[DifferenceRow], note: str = "") -> Html:
    """A figure of rows: a disc at the difference, a bar over its interval, filled where told.

    Args:
        title: Heading.
        rows: From top to bottom.
        note: What to know when reading it.
    """
    reach = max([abs(x) for row in rows for x in (row.value, *(row.ends or ()))], default=0.0)
    x = Scale((-reach, reach) if reach else (-1.0, 1.0), (8.0, WIDTH - RIGHT))
    height = ROW * len(rows) + BASE
    drawn = [
        tag("line", class_="guide now", x1=x(0.0), x2=x(0.0), y1=0.0, y2=height - BASE + 4),
        [_row(row, x, ROW * place) for place, row in enumerate(rows)],
        _axis(x, height),
    ]
    said = "; ".join(f"{row.name} {row.said}" for row in rows)
    return chart(title, said, drawn, note=note, size=(WIDTH, height))


def _row(row: DifferenceRow, x: Scale, top: float) -> Html:
    colour = "stable" if row.told else "undetermined"
    at = top + 28
    parts: list[object] = [
        tag("text", row.name, class_="leg-name row-name", x=8.0, y=top + 14),
        tag("text", row.said, class_="leg-about", x=WIDTH - RIGHT, y=top + 14, text_anchor="end"),
    ]
    if row.ends is not None:
        low, high = (x(end) for end in row.ends)
        parts.append(
            tag(
                "rect",
                class_=f"interval {colour}",
                x=low,
                y=at - 4,
                width=max(high - low, 2.0),
                height=8.0,
                rx=2.0,
            )
        )
    parts.append(tag("circle", class_="difference", cx=x(row.value), cy=at, r=4.0))
    return tag("g", tag("title", f"{row.name}: {row.said}"), parts)


def _axis(x: Scale, height: float) -> list[Html]:
    ticks = x.ticks(5)
    return [
        tag(
            "text",
            "0" if abs(v) < 1e-12 else f"{v:+g}".replace("-", "−"),
            class_="tick",
            x=float(number(x(v))),
            y=height - 6,
            text_anchor="middle",
        )
        for v in (round(v, 10) for v in ticks)
    ]
