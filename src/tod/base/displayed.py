"""What a public result offers in a notebook: a short repr, a card, and a figure."""

from importlib import import_module
from typing import Any

__all__ = ["Displayed"]


class Displayed:
    """A result that shows itself: `repr` in at most 12 lines, a card in a notebook, a figure.

    The words and figures are those of `tod.show`, which lies above the packages of these results:
    it is looked up by name when something is displayed, never imported here. Dataclasses that
    inherit it are declared with ``repr=False``.
    """

    def __repr__(self) -> str:
        return str(_notebook().text_of(self))

    def _repr_html_(self) -> str:
        """A card for notebooks: self-contained, light and dark, every text escaped and bounded."""
        return str(_notebook().card_of(self))

    def plot(self) -> Any:
        """The figure that the page opens with, as a `tod.show.notebook.Figure`.

        Raises:
            DataError: There is nothing to draw, and why.
        """
        return _notebook().figure_of(self)


def _notebook() -> Any:
    return import_module("tod.show.notebook")
