"""The map of target by operator families as a page: no script, nothing loaded from elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tod.atlas.entries import Recipe, recipes
from tod.atlas.grid import OPERATORS, TARGETS, Cell
from tod.atlas.law import law_of
from tod.atlas.measured import EMBEDDED, words
from tod.show.figures.svg import Html
from tod.show.page.document import document
from tod.show.words import verdict_words

LEGEND = (
    ("swap_stable", "swap-stable"),
    ("transition", "transition"),
    ("operator_dominated", "operator-dominated"),
    ("undetermined", "undetermined"),
)
WORST_LAST = ("undetermined", "swap_stable", "transition", "operator_dominated")
"""The cell takes the colour of the last of these that one of its recipes was measured in."""
SHARES = {
    "no": "not the target it states",
    "on_policy": "its target while μ follows π",
    "one_update": "its target for one update",
}


@dataclass(frozen=True)
class FilePlace:
    """A configuration's own place.

    Attributes:
        cell: Row and column; None where it has none.
        title: What the file is called, and whose it is.
        aims: Its law.
        said: What the terminal says of it, as labels and texts.
    """

    cell: tuple[str, str] | None
    title: str
    aims: str
    said: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RecipeEntry:
    """What the page says of a recipe."""

    title: str
    law: str
    shares: str
    papers: tuple[tuple[str, str], ...]


def atlas_page(cells: tuple[Cell, ...], on: str = EMBEDDED, here: FilePlace | None = None) -> Html:
    """The whole document.

    Args:
        cells: All cells.
        on: Where their phase positions were measured.
        here: A configuration to show in its place; None: the map alone.
    """
    return document(
        "atlas.html",
        "Target-operator atlas" if here is None else here.title,
        styles=("atlas.css",),
        cells={(cell.target, cell.operator): cell for cell in cells},
        shades={(cell.target, cell.operator): _shade(cell) for cell in cells},
        known=sum(bool(cell.recipes) for cell in cells),
        entries=_entries(recipes()),
        legend=[(verdict_words(name).colour, text) for name, text in LEGEND],
        targets=TARGETS,
        operators=OPERATORS,
        on=on,
        phase_words=words,
        here=here,
    )


def _shade(cell: Cell) -> str:
    """The colour of a cell: that of its worst measured regime."""
    if not cell.recipes:
        return "none"
    seen = {position.verdict for position in (cell.measured or {}).values()}
    worst = next((word for word in reversed(WORST_LAST) if word in seen), None)
    return "" if worst is None else verdict_words(worst).colour


def _entries(known: Mapping[str, Recipe]) -> dict[str, RecipeEntry]:
    return {
        name: RecipeEntry(
            title=entry.title,
            law=law_of(entry.procedure).letters,
            shares=SHARES.get(entry.shares_target, "yes"),
            papers=tuple((paper, _link(paper)) for paper in entry.papers),
        )
        for name, entry in known.items()
    }


def _link(paper: str) -> str:
    """Where a paper is, if it is named by its arXiv number."""
    return f"https://arxiv.org/abs/{paper}" if re.fullmatch(r"\d{4}\.\d{4,5}", paper) else ""
