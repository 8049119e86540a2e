"""Rows of files and libraries: ``(where, row)`` pairs, ``where`` naming the row in complaints."""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tod.atlas.entries import FOLDER
from tod.base import DataError
from tod.base.extras import load
from tod.base.text import what_is

Rows = Iterator[tuple[str, dict[str, Any]]]


def jsonl(path: Path) -> Rows:
    """Rows of a file with one JSON object a line; blank lines are skipped.

    Raises:
        DataError: The file cannot be read, or a line is not a JSON object (file and line named).
    """
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            where = f"{path.name}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                raise DataError(
                    f"{path}, line {number}: not JSON ({error}). "
                    "Each line must be one object; repair or remove this one."
                ) from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{path}, line {number}: {what_is(row)}, not an object. "
                    'Write {"prompt": …, …} on each line.'
                )
            yield where, row


def parquet(path: Path) -> Rows:
    """Rows of a Parquet file.

    Raises:
        DataError: The file cannot be read as Parquet.
    """
    from tod.formats.parquet import collect, scan

    there = _place(path)
    frame = collect(there, scan(there))
    for number, row in enumerate(frame.iter_rows(named=True)):
        yield f"{path.name}:{number}", row


def datasets(name: str, config: str | None, split: str) -> Rows:
    """Rows of a split of a data set, by id or local directory.

    Raises:
        MissingPackage: The library is not installed.
        DataError: It cannot find or read the data set.
    """
    library = load("datasets")
    try:
        table = library.load_dataset(name, config, split=split)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise DataError(
            f"data set {name!r}, split {split!r}: cannot be loaded ({error}). Check the id, the "
            "configuration and the split; without a network give a local directory."
        ) from error
    for number, row in enumerate(table):
        yield f"{name}[{split}]/{number}", dict(row)


def reasoning_gym(name: str, size: int, seed: int, options: dict[str, Any]) -> Rows:
    """Questions of a reasoning-gym generator: question, answer, metadata.

    Raises:
        MissingPackage: The library is not installed.
        DataError: The generator is unknown, or an option was refused.
    """
    library, known = load("reasoning_gym"), load("reasoning_gym.factory").DATASETS
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise DataError(f"reasoning-gym has no generator {name!r}.{hint} It has {len(known)}.")
    try:
        entries = library.create_dataset(name, size=size, seed=seed, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise DataError(
            f"reasoning-gym {name!r}: its settings were refused ({error}). Correct `options`."
        ) from None
    for number in range(size):
        yield f"{name}/{number}", dict(entries[number])


def _opened(path: Path) -> Any:
    """The file, opened for bytes."""
    try:
        return _place(path).open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None


def _place(path: Path) -> Path:
    """Where the file lies; ``tod://data/NAME`` is one that comes with the recipes."""
    return FOLDER.joinpath(*path.parts[1:]) if path.parts[:1] == ("tod:",) else path
