"""Settings of two files that differ outside their triples, as lines for a terminal."""

from collections.abc import Sequence
from textwrap import shorten

from tod.atlas.compare import Also

MOST_ROWS = 6
"""Rows with values that a screen shows."""
_LONGEST = 30
"""Characters of a value."""


def also_lines(rows: Sequence[Also], width: int = 80, most: int = MOST_ROWS) -> list[str]:
    """A heading, a line for each with both values, and a count of the rest; none without rows.

    Args:
        rows: What differs.
        width: Columns.
        most: Rows with values.
    """
    valued = [row for row in rows if row.what]
    lines = [_line(row, width) for row in valued[:most]]
    left = [row.what for row in valued[most:]]
    rest = len(rows) - len(valued)
    more = [f"{len(left)} more ({', '.join(dict.fromkeys(left))})"] if left else []
    more += [f"{rest} of logging, placement and the like"] if rest else []
    if more:
        lines.append(shorten(f"  and {'; '.join(more)}", width - 1, placeholder=" …"))
        lines[-1] = f"  {lines[-1]}"
    return ["Also different (A | B)", *lines] if lines else []


def _line(row: Also, width: int) -> str:
    a, b = (shorten(value, _LONGEST, placeholder="…") for value in (row.a, row.b))
    if row.key_a == row.key_b:
        return _cut(f"  {row.key_a}: {a} | {b}", width)
    sides = (f"{k}={v}" if k else v for k, v in ((row.key_a, a), (row.key_b, b)))
    return _cut(f"  {row.what}: {' | '.join(sides)}", width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def in_a_word(rows: Sequence[Also]) -> str:
    """What differs by kind: ``learning rate, data and 12 more``."""
    kinds = list(dict.fromkeys(row.what for row in rows if row.what))
    rest = sum(not row.what for row in rows)
    said = ", ".join(kinds)
    if not rest:
        return said
    return f"{said} and {rest} more" if said else f"{rest} of logging, placement and the like"
