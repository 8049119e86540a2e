"""Columns of rollout files that only findings read: advantages, failures, cut answers.

What a reader took with it stands; the others are read in a second pass over files that hold one
rollout a row, by the names that people and trainers give them.
"""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from tod.formats.columns import WITHIN
from tod.formats.files import base_suffix
from tod.formats.jsonl import chosen_lines, first_keys
from tod.formats.parquet import collect, columns_of, scan
from tod.formats.reading import Reading, not_as_read

ROW_BY_ROW = ("trl", "mapping", "tod", "verl", "open-instruct")
"""Formats of one rollout a row, whose rows are counted from 1."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "advantage": ("advantage", "advantages"),
    "truncated": ("truncated", "is_truncated"),
    "error": ("error", "is_error", "failed"),
    "evaluation": ("evaluation", "is_eval", "is_validation"),
}
"""What a column may be called."""


def logged_columns(reading: Reading) -> dict[str, np.ndarray]:
    """What the files hold of ``NAMES``: advantages as numbers (NaN is unknown), the others as bool.

    Returns:
        By name, [N] each; a column that no file has, or that holds no such values, is left out.

    A DataError says: a file changed since it was read.
    """
    columns = dict(reading.logged)
    names = reading.source.names
    somewhere = not names or bool(_named(names))
    if reading.source.format in ROW_BY_ROW and _one_a_row(reading) and somewhere:
        columns = {**_second_pass(reading), **columns}
    logged: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        there = np.isfinite(values)
        if not there.any():
            continue
        if name in ("advantage", "turns"):
            logged[name] = values
        elif np.isin(values[there], (0.0, 1.0)).all():
            logged[name] = values == 1
    return logged


def _one_a_row(reading: Reading) -> bool:
    """Whether every line of the files is one rollout."""
    return reading.row is not None and int(reading.row.max(initial=0)) < WITHIN


def _second_pass(reading: Reading) -> dict[str, np.ndarray]:
    """The columns of ``NAMES`` as numbers, NaN where a file has none; rows are lines.

    A DataError says: a file changed since it was read.
    """
    assert reading.row is not None  # noqa: S101 - the caller looked
    columns = {name: np.full(len(reading), np.nan) for name in NAMES}
    looked = 1 if reading.source.names else 1000
    for path, places in reading.by_file():
        try:
            of_file = _of_file(path, reading.row[places], looked)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise not_as_read(path, error) from error
        for name, values in of_file.items():
            columns[name][places] = values
    return columns


def _of_file(path: Path, rows: Int[np.ndarray, " n"], looked: int) -> dict[str, np.ndarray]:
    """Columns of some rows of a file, as numbers, NaN where a value is none.

    ``looked`` is how many of the first rows tell which columns there are.
    """
    if base_suffix(path) == ".parquet":
        there = columns_of(path)
        chosen = _named(there)
        if not chosen:
            return {}
        table = collect(path, scan(path).select(list(chosen.values())))
        at = rows - 1
        return {
            name: np.array([as_number(x, name) for x in table[column].gather(at).to_list()])
            for name, column in chosen.items()
        }
    if not _named(first_keys(path, looked)):
        return {}
    place = {row: i for i, row in enumerate(rows.tolist())}
    result: dict[str, np.ndarray] = {}
    for number, item in chosen_lines(path, place, dict[str, Any]):
        for name, column in _named(item).items():
            values = result.setdefault(name, np.full(len(rows), np.nan))
            values[place[number]] = as_number(item[column], name)
    return result


def _named(there: Container[str]) -> dict[str, str]:
    """The column of every name, the first that is there."""
    first = {name: next((c for c in names if c in there), None) for name, names in NAMES.items()}
    return {name: column for name, column in first.items() if column is not None}


def as_number(value: object, name: str) -> float:
    """A number; true is 1. Of an ``error`` no text or null is 0 and a text is 1. NaN else."""
    if isinstance(value, bool | int | float):
        return float(value)
    if name == "error" and (value is None or isinstance(value, str)):
        return float(bool(value))
    return float("nan")
