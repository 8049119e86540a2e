"""Trackio's store of a project: an SQLite database with a table ``metrics``."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from tod.base import DataError
from tod.base.text import visible
from tod.logs.json_lines import parse
from tod.logs.rows import LogRows
from tod.logs.text_lines import regular

SUFFIXES = (".db", ".sqlite", ".sqlite3")
_MAGIC = b"SQLite format 3\x00"
_NEEDED = {"timestamp", "run_name", "step", "metrics"}
_LONGEST = 4 << 20


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is only read; its views, triggers and functions are not trusted."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as store:
        store.execute("PRAGMA trusted_schema = OFF")
        store.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        yield store


def is_store(path: Path) -> bool:
    """Whether a file is such a database."""
    try:
        with open(regular(path), "rb") as file:
            if file.read(16) != _MAGIC:
                return False
        with _opened(path) as store:
            named = store.execute(
                "SELECT type FROM sqlite_master WHERE name = 'metrics'"
            ).fetchall()
            columns = {row[1] for row in store.execute("PRAGMA table_info(metrics)")}
            return named == [("table",)] and columns >= _NEEDED
    except (sqlite3.Error, OSError, DataError):
        return False


def read_store(path: Path, rows: LogRows, run: str | None = None) -> None:
    """Add the rows of one run: the one named, or the last that was written.

    Raises:
        DataError: The database is damaged, or has no such run.
    """
    rows.open(path)
    try:
        with _opened(path) as store:
            runs = store.execute(
                "SELECT run_name, MAX(timestamp) FROM metrics GROUP BY run_name ORDER BY 2 DESC"
            ).fetchall()
            names = [str(name) for name, _ in runs]
            if not names or (run is not None and run not in names):
                known = ", ".join(visible(name)[:60] for name in names[:5]) or "none"
                raise DataError(f"{path}: no run {run or ''!r} in it. There: {known}.")
            chosen = names[0] if run is None else run
            if len(names) > 1 and run is None:
                others = ", ".join(visible(name)[:60] for name in names[1:4])
                last = visible(chosen)[:60]
                rows.note(f"{len(names)} runs: {last}, the last, is read; others: {others}")
            query = (
                "SELECT id, step, timestamp, metrics FROM metrics WHERE run_name = ? ORDER BY id"
            )
            for number, step, moment, text in store.execute(query, (chosen,)):
                try:
                    row = parse(text.encode() if isinstance(text, str) else bytes(text or b""))
                except (ValueError, TypeError) as error:
                    rows.reject(number, "metrics", text, f"not JSON ({str(error)[:60]})")
                    continue
                if isinstance(row, dict):
                    rows.add(number, {**row, "_step": step, "timestamp": moment})
                else:
                    rows.reject(number, "metrics", text, "not an object")
    except sqlite3.Error as error:
        raise DataError(f"{path}: not a database that can be read ({error}).") from None
