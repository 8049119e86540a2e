"""The grid of target by operator families as a page: no script, nothing loaded from elsewhere."""

from tod.atlas.grid import OPERATORS, TARGETS, Cell
from tod.atlas.measured import EMBEDDED, words
from tod.show.figures.svg import Html
from tod.show.page.document import document


def atlas_page(cells: tuple[Cell, ...], on: str = EMBEDDED) -> Html:
    """The whole document.

    Args:
        cells: All cells.
        on: Where their phase positions were measured.
    """
    return document(
        "atlas.html",
        "Target-operator atlas",
        cells={(cell.target, cell.operator): cell for cell in cells},
        known=sum(bool(cell.recipes) for cell in cells),
        targets=TARGETS,
        operators=OPERATORS,
        on=on,
        phase_words=words,
    )
