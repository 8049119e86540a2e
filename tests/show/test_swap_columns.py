"""The picture of a swap study: every value at its height, every word under its column."""

import re
from xml.etree import ElementTree

from tod.show.figures.swap_columns import PLOT, TOP, Column, OperatorMark, swap_columns

SVG = "{http://www.w3.org/2000/svg}"
COLUMNS = (
    Column(
        "fresh",
        (
            OperatorMark("clip", 0.25, (0.2, 0.3), (0.22, 0.28)),
            OperatorMark("MLE", 0.2, None, (0.2,)),
        ),
    ),
    Column(
        "stale <&", (OperatorMark("clip", 0.0, None, ()),), ("ESS 0.25", "foreseen: transition")
    ),
)


def heights(name: str, **wanted: str) -> list[float]:
    root = ElementTree.fromstring(swap_columns(COLUMNS, what="pass@1", start=0.1))  # noqa: S314
    return [
        float(found.get("cy") or found.get("y1") or "nan")
        for found in root.iter(SVG + name)
        if all(found.get(key.replace("_", "-")) == value for key, value in wanted.items())
    ]


def test_a_value_stands_at_its_height() -> None:
    """The axis reaches 1.08 of the largest value that is drawn, and starts at 0."""
    means = heights("line", stroke_width="4")
    expected = [TOP + PLOT * (1 - value / (0.28 * 1.08)) for value in (0.25, 0.2, 0.0)]
    assert [round(value, 1) for value in means] == [round(value, 1) for value in expected]
    assert len(heights("circle", r="2.2")) == 3
    assert len(heights("line", stroke_width="2")) == 1


def test_words_are_text_and_stand_under_their_column() -> None:
    picture = swap_columns(COLUMNS, what="pass@1")
    root = ElementTree.fromstring(picture)  # noqa: S314
    words = [found.text for found in root.iter(SVG + "text")]
    assert words.count("clip") == 1, "the legend names an operator once"
    assert "stale <&" in words
    assert words[-2:] == ["ESS 0.25", "foreseen: transition"]
    assert "before training" not in words
    assert not re.search(r"(href|src)=", picture)
