"""A number that was not made: what it is, why, and what would make it known."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Unknown", "UnknownKind"]

UnknownKind = Literal[
    "not_recorded",
    "not_declared",
    "not_applicable",
    "no_information",
    "too_few",
    "impossible",
    "unbounded",
]
"""Why there is no number: an input was not recorded, or nobody said it; it means nothing here; no
context, or too few draws, say anything of it; an estimate came out where none can be; no bound."""


@dataclass(frozen=True)
class Unknown:
    """One number that is None, made where the number is not made.

    Attributes:
        what: Path of the number in the record, such as ``drift.ref``.
        why: The reason, as a short sentence without a full stop.
        needs: What would make it known.
        kind: The kind of the reason.
        lacks: Input that is missing (``mu``, ``old``, ``ref``, ``policy``, ``utility``, ``length``,
            ``lag``, ``context``, ``samples``, ``text``), for which a format has its own words;
            "" where no input would help.
    """

    what: str
    why: str
    needs: str
    kind: UnknownKind = "not_recorded"
    lacks: str = ""

    def to_dict(self) -> dict[str, str]:
        """The keys ``what``, ``why``, ``needs`` and ``kind`` of the schema."""
        return {"what": self.what, "why": self.why, "needs": self.needs, "kind": self.kind}
