"""Public results in a notebook: words, a card and a figure, each of bounded size.

An object is shown by the module that knows its class; it gives the words of the terminal's screen,
the card of the page, and the page's first figure.
"""

from importlib import import_module
from typing import Any

from tod.show.figures.svg import Html
from tod.show.notebook.figure import Figure

__all__ = ["Figure", "card_of", "figure_of", "text_of"]

_HOMES = {
    "Diagnosis": "tod.show.notebook.of_diagnosis",
    "Findings": "tod.show.notebook.of_findings",
    "Located": "tod.show.notebook.of_atlas",
    "Plan": "tod.show.notebook.of_plan",
    "ProcedureComparison": "tod.show.notebook.of_comparison",
    "Reranked": "tod.show.notebook.of_rerank",
    "Run": "tod.show.notebook.of_run",
    "Sweep": "tod.show.notebook.of_sweep",
}


def text_of(item: Any) -> str:
    """The repr: at most 12 lines of 80 columns."""
    return "\n".join(_home(item).lines(item))


def card_of(item: Any) -> Html:
    """The card: markup that carries its style, at most 40 lines of text."""
    from tod.show.notebook.card import markup

    return markup(_home(item).card(item))


def figure_of(item: Any) -> Figure:
    """The figure.

    Raises:
        DataError: There is nothing to draw.
    """
    made: Figure = _home(item).figure(item)
    return made


def _home(item: Any) -> Any:
    """The module that shows objects of this class."""
    names = (kind.__name__ for kind in type(item).__mro__)
    return import_module(next(_HOMES[name] for name in names if name in _HOMES))
