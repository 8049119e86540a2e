"""Which values of a located point hang on the framework's release, where the newest is assumed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tod.atlas.nearest import number

__all__ = ["Span", "in_words", "spans", "spans_to_dict"]


@dataclass(frozen=True)
class Span:
    """A value, and the releases in a row at which it is what a file comes to.

    Attributes:
        value: As plain data; None: the part is not there.
        first: The oldest of them.
        last: The newest of them.
    """

    value: Any
    first: str
    last: str


def spans(claims: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Span, ...]]:
    """Parts of a point that are not the same at all releases, each with its values by release.

    Args:
        claims: `Located.claims` of a file by release, oldest first.
    """
    names = dict.fromkeys(name for values in claims.values() for name in values)
    made = {name: tuple(_spans(name, claims)) for name in names}
    return {name: row for name, row in made.items() if len(row) > 1}


def _spans(name: str, every: Mapping[str, Mapping[str, Any]]) -> Iterator[Span]:
    value, first, last = None, "", ""
    for version, values in every.items():
        here = values.get(name)
        if first and here != value:
            yield Span(value, first, last)
            first = ""
        value, first, last = here, first or version, version
    yield Span(value, first, last)


def spans_to_dict(rows: Mapping[str, Sequence[Span]]) -> dict[str, list[dict[str, Any]]]:
    """Plain data: lists of ``value``, ``first`` and ``last`` by the name of the part."""
    return {name: [asdict(span) for span in row] for name, row in rows.items()}


def in_words(row: Sequence[Span], framework: str, mine: bool = False) -> str:
    """The values by release, newest first: ``trl >= 0.22.0; before: sequence mean``.

    Args:
        row: Of one part, oldest first.
        framework: Whose releases they are.
        mine: Whether the newest value is said too; else it stands before these words.
    """
    said = [f"{framework} >= {row[-1].first}"]
    if mine:
        said = [f"{plain(row[-1].value)} if {said[0]}"]
    for place in range(len(row) - 2, -1, -1):
        when = "before" if place == 0 else f"from {row[place].first}"
        said.append(f"{when}: {plain(row[place].value)}")
    return "; ".join(said)


def plain(value: Any) -> str:
    """A value in a few words: of a part its kind and what is particular to it."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        rest = [f"{k} {plain(v)}" for k, v in value.items() if k != "kind" and v is not None]
        return f"{value.get('kind', '')} {', '.join(rest)}".strip().replace("_", " ")
    return number(value) if isinstance(value, float) else str(value)
