"""A comparison of two procedures in a notebook: the words of `tod atlas compare`, and the map."""

from tod.atlas.compare import ProcedureComparison
from tod.base import DataError
from tod.base.brief import first_lines
from tod.show.figures.atlas_map import atlas_map
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.terminal.atlas import compared_text

ANSWERS = {
    "yes": "Both aim at the same target.",
    "no": "They do not aim at the same target.",
    "one_update_only": "They aim at the same target for one update only.",
    "unknown": "Whether they aim at the same target is not known.",
}


def lines(found: ProcedureComparison) -> list[str]:
    """The screen's first lines."""
    return first_lines([line for line in compared_text(found).splitlines() if line])


def card(found: ProcedureComparison) -> Card:
    """Whether the target is shared, why, and what differs."""
    swap = {True: "licensed", False: "not licensed", None: "unknown without data"}
    reasons = [("why", reason) for reason in found.reasons[:4]]
    differ = [(row.part, f"A {row.a}; B {row.b}") for row in found.differences]
    return Card(
        headline=ANSWERS[found.same_target],
        rows=[("swap", swap[found.swap_licensed]), *reasons, *differ],
        about=f"A {found.a} · B {found.b}",
    )


def figure(found: ProcedureComparison) -> Figure:
    """Where the two stand on the map of targets and operators.

    Raises:
        DataError: Neither has a place there.
    """
    marks = [(cell, name) for cell, name in zip(found.cells, "AB", strict=True) if cell is not None]
    if not marks:
        raise DataError("no place on the map is known of either.")
    title = f"Where A ({found.a}) and B ({found.b}) stand"
    return Figure(title, atlas_map(marks, title))
