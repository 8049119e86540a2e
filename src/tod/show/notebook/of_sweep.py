"""A sweep in a notebook: the words of `tod sweep`, its settings, and the page's first figure."""

from tod.base import DataError
from tod.base.brief import first_lines
from tod.show.figures.small_multiples import panels
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.page.sweep_page import figures_of
from tod.show.sweep import Sweep
from tod.show.terminal.sweep_screen import regime_of, signed, with_error


def lines(found: Sweep) -> list[str]:
    """The screen's first lines, and where it lies."""
    return first_lines([line for line in found.lines() if line], last=1)


def card(found: Sweep) -> Card:
    """The answer, and what every setting ended at, the best first."""
    rows = []
    for cell in found.found.ranked:
        effect = found.found.less_best(cell)
        less = "the best" if effect is None else f"{signed(effect.difference)} less the best"
        rows.append((cell.label, f"{with_error(cell.end)}; {less}; {regime_of(cell)}"))
    return Card(headline=found.answer, rows=rows, about=str(found.folder))


def figure(found: Sweep) -> Figure:
    """Every setting less the best with its interval; the curves where there is one setting.

    Raises:
        DataError: No run has ended, nor been evaluated.
    """
    drawn = figures_of(found.found)
    if drawn:
        return Figure(f"{found.document.recipe}: settings compared", drawn[0])
    curves = panels(found.document.spanned, found.found.cells)
    if not curves:
        raise DataError("nothing to draw: no run has ended yet.")
    return Figure.of(curves[0])
