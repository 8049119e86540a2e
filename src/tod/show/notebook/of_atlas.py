"""A located configuration in a notebook: the words of `tod atlas locate`, and its place."""

from tod.base import DataError
from tod.base.brief import first_lines
from tod.configurations import Located
from tod.show.figures.atlas_map import atlas_map
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.terminal.atlas import aims_at, located_rows, located_text


def lines(found: Located) -> list[str]:
    """The screen's first lines, and the atlas's."""
    return first_lines(located_text(found, 80).splitlines(), last=2)


def card(found: Located) -> Card:
    """What it aims at, and everything else that the screen says."""
    of = f" (defaults of {found.version})" if found.version else ""
    return Card(
        headline=f"Aims at {aims_at(found)}",
        rows=list(located_rows(found)),
        about=f"{found.framework} {found.method}{of}",
    )


def figure(found: Located) -> Figure:
    """Its place on the map of targets and operators.

    Raises:
        DataError: It has no place, or none is known.
    """
    if found.cell is None:
        raise DataError("no place on the map: it has no finite target, or what decides is unknown.")
    title = f"Where {found.framework} {found.method} stands"
    return Figure(title, atlas_map([(found.cell, "here")], title))
