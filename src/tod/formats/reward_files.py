"""Rewards from a file of their own, joined by step and row: for dumps that leave them out.

Parquet or JSON lines named by ``--map rewards=FILE``: ``row`` (place in the dump of its step, from
0), ``step`` if there are several, and one column per utility (``utility.NAME``, or any number).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tod.base import DataError
from tod.formats.files import base_suffix
from tod.formats.jsonl import decode_blocks
from tod.formats.parquet import collect, scan
from tod.formats.rows import Rows
from tod.formats.token_rows import as_float

_KEYS = ("step", "row")


@dataclass
class Beside:
    """Utilities by (step, row), and which of them were asked for."""

    path: Path
    known: dict[tuple[int | None, int], dict[str, float]]
    used: set[tuple[int | None, int]] = field(default_factory=set)
    stepless: bool = False

    def of(self, step: int, row: int) -> dict[str, float] | None:
        """The utilities of a row, or None."""
        key = (None if self.stepless else step, row)
        self.used.add(key)
        return self.known.get(key)

    def leftover(self) -> int:
        """How many of its rows no row of the dump asked for."""
        return len(self.known.keys() - self.used)


def beside(rows: Rows, dumps: int) -> Beside | None:
    """The file that ``--map rewards=FILE`` names; None without one.

    Args:
        rows: With what the person said; the file's bad rows are refused there.
        dumps: How many dumps it must serve: several need a ``step`` column.

    Raises:
        DataError: It does not exist, lacks ``row`` or ``step``, or holds no number.
    """
    name = rows.mapping.get("rewards")
    if name is None:
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"--map rewards={name}: no such file. It is looked for from here.")
    known: dict[tuple[int | None, int], dict[str, float]] = {}
    stepless = doubled = 0
    for number, item in _rows(path, rows):
        step, row = item.get("step"), item.get("row")
        utility = {
            str(key).removeprefix("utility."): value
            for key, given in item.items()
            if key not in _KEYS and (value := as_float(given)) is not None
        }
        if type(row) is not int or not (step is None or type(step) is int) or not utility:
            bad = "row" if type(row) is not int else "step" if utility else "utility"
            rows.reject(path, number, bad, item.get(bad), "missing, or not a number")
            continue
        stepless += step is None
        doubled += (step, row) in known
        known[step, row] = utility
    _check(path, len(known), stepless, dumps)
    if doubled:
        rows.note(f"{path}: {doubled} rows come twice: the last one counts")
    return Beside(path, known, stepless=bool(stepless))


def _check(path: Path, found: int, stepless: int, dumps: int) -> None:
    if not found:
        raise DataError(f"{path}: no row with `row` and a number: there are no rewards in it.")
    if stepless > 0 and (stepless < found or dumps > 1):
        raise DataError(
            f"{path}: {stepless} of {found} rows lack `step`, and there are {dumps} dumps. Add the "
            "training step to every row, or diagnose one dump at a time."
        )


def _rows(path: Path, rows: Rows) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if base_suffix(path) == ".parquet":
        table = collect(path, scan(path))
        yield from enumerate(table.iter_rows(named=True), start=1)
        return
    for numbers, items in decode_blocks(path, dict[str, Any], rows):
        yield from zip(numbers, items, strict=True)
