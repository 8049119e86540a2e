"""Findings in a notebook: the words of `tod diagnose`, the answer, and the first curve."""

from collections.abc import Mapping
from typing import Any

from tod.base import DataError
from tod.base.brief import first_lines
from tod.findings import Findings
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.page.findings_view import findings_view
from tod.show.terminal.findings_screen import lines as screen


def lines(found: Findings, data: Mapping[str, Any] | None = None) -> list[str]:
    """The screen's first lines, and its last ones, which tell the regime and what was read."""
    said = [line for line, _ in screen(found, None if data is None else dict(data))]
    tail = 1 if data is None else 3
    return first_lines(said, last=tail)


def card(found: Findings) -> Card:
    """The answer."""
    return Card(findings=found)


def figure(found: Findings, data: Mapping[str, Any] | None = None) -> Figure:
    """The first curve of the run with a mark where every finding began.

    Raises:
        DataError: The run has one step, or no figure over its steps.
    """
    view = findings_view(found, data, "tod-")
    if view.wide is None:
        raise DataError("nothing to draw: there are not two steps with a figure between them.")
    return Figure(_heading(view.wide), view.wide)


def _heading(drawn: str) -> str:
    """The heading that the figure has."""
    from html import unescape

    return unescape(drawn.partition("<h3>")[2].partition("</h3>")[0])
