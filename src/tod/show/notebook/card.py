"""The card of a result: the answer, the verdict, rows of figures; cut to what a cell can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tod.show.figures.svg import Html
from tod.show.notebook.piece import piece
from tod.show.page.document import rendered
from tod.show.page.findings_view import findings_view
from tod.show.page.judged import judged
from tod.show.page.run_data import RunView

if TYPE_CHECKING:
    from tod.findings import Findings

ROWS, REASONS, ALSO, LISTED = 14, 3, 4, 6
"""The most rows, reasons of a verdict, further findings, and rows or causes of a finding."""


@dataclass(frozen=True)
class Card:
    """What a card says; what is empty is left out.

    Attributes:
        headline: The answer in a sentence, where there are no findings.
        findings: What went wrong in a run.
        data: The diagnosis as plain data, without what is read again from files.
        regime: ``regime``, ``regime_before``, ``pool`` of the schema.
        searched: Whether the run selects and trains nothing.
        rows: Names and texts.
        everything: What to call for all rows.
        about: A line on what was read.
    """

    headline: str = ""
    findings: "Findings | None" = None
    data: Mapping[str, Any] | None = None
    regime: Mapping[str, Any] | None = None
    searched: bool = False
    rows: Sequence[tuple[str, str]] = ()
    everything: str = "to_frame()"
    about: str = ""


def markup(card: Card) -> Html:
    """The card as markup that can stand in any document."""
    view = None if card.findings is None else _cut(findings_view(card.findings, card.data, "tod-"))
    blocks = [] if view is None else [b for b in view.blocks if b is not view.first]
    # of a run without faults the answer itself lists the first notes
    blocks = blocks[4:] if view is not None and view.first is None else blocks
    return piece(
        rendered(
            "card.html",
            findings=view,
            also=blocks[:ALSO],
            more=len(blocks[ALSO:]),
            headline=card.headline,
            judged=None if card.regime is None else _judged(card),
            rows=card.rows[:ROWS],
            left=len(card.rows[ROWS:]),
            all=card.everything,
            about=card.about,
        )
    )


def _judged(card: Card) -> dict[str, Any]:
    """The verdict without the ribbon of steps, its first reasons and last changes."""
    search: dict[str, Any] | None = {} if card.searched else None
    found = judged(RunView("", [], search=search, verdict=dict(card.regime or {})))
    return found | {
        "ribbon": None,
        "reasons": found["reasons"][:REASONS],
        "changes": tuple((card.data or {}).get("changes", ()))[-2:],
    }


def _cut(view: Any) -> Any:
    """The first finding with as many rows, causes and remedies as a card holds."""
    if view.first is None:
        return replace(view, healthy=view.healthy[:LISTED])
    first = view.blocks[0]
    finding = replace(
        first.finding, causes=first.finding.causes[:3], remedies=first.finding.remedies[:3]
    )
    block = replace(first, rows=first.rows[:LISTED], finding=finding)
    return replace(view, blocks=[block, *view.blocks[1:]])
