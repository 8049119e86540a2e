"""The figures of a step: what a table, a tracker or a chart takes from a record."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["NESTED", "figures"]

NESTED = ("regime", "statistics", "decision")
"""Blocks of a record that are not figures of the step."""


def figures(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A record without what is no figure of the step, and with its verdict.

    >>> dict(figures({"step": 3, "regime": {"verdict": "transition"}, "decision": None}))
    {'step': 3, 'verdict': 'transition'}
    """
    for name, value in record.items():
        if name == "regime":
            yield "verdict", None if value is None else value.get("verdict")
        elif name not in NESTED:
            yield name, value
