"""Metric logs as CSV: a history, or what the W&B page exports of a panel."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from tod.base import DataError
from tod.base.text import visible
from tod.logs.rows import STEPS, LogRows
from tod.logs.text_lines import lines

_PANEL = re.compile(r"(?P<run>.+) - (?P<key>.+?)(?P<bound>__MIN|__MAX)?$", re.DOTALL)
MOST_COLUMNS = 50_000


def _text(path: Path) -> Iterator[str]:
    for _, line, _ in lines(path):
        yield line.decode("utf-8", errors="replace") + "\n"


def header(path: Path) -> list[str]:
    """Names of the columns; empty if the first line is no header."""
    first = next(_text(path), "")
    try:
        names = next(csv.reader(io.StringIO(first), delimiter=_delimiter(first)), [])
    except csv.Error:
        return []
    return names if 1 < len(names) <= MOST_COLUMNS else []


def _delimiter(line: str) -> str:
    return max(",\t;", key=line.count)


def read_csv(path: Path, rows: LogRows, run: str | None = None) -> None:
    """Add the rows of a table with a header; an empty cell is unknown.

    Raises:
        DataError: No header, or several runs in the columns and none of them named.
    """
    names = header(path)
    if not names:
        raise DataError(f"{path}: no header of two columns and more. Is it a table of figures?")
    panel = _of_panel(path, names, run)
    columns = panel or [name.strip() or None for name in names]
    kept = [(at, name) for at, name in enumerate(columns) if name is not None]
    rows.open(path)
    texts = _text(path)
    first = next(texts)
    reader = csv.reader(texts, delimiter=_delimiter(first))
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            rows.reject(reader.line_num + 1, "line", None, f"not a row of a table ({error})")
            continue
        line = reader.line_num + 1
        if len(cells) != len(names):
            rows.reject(line, "line", ",".join(cells)[:80], f"{len(cells)} cells, not {len(names)}")
            continue
        row = {name: cells[at] or None for at, name in kept}
        if panel is None or any(cells[at] for at, _ in kept[1:]):  # steps of other runs alone
            rows.add(line, row)


def is_panel(names: list[str]) -> bool:
    """Whether a table's columns are those of a W&B panel: a step, then ``RUN - KEY`` each."""
    return names[0] in STEPS and all(_PANEL.match(name) for name in names[1:])


def _of_panel(path: Path, names: list[str], run: str | None) -> list[str | None] | None:
    """Keys of the columns of a W&B panel, ``Step`` and ``RUN - KEY``; None for other tables."""
    told = [_PANEL.match(name) for name in names[1:]]
    if not is_panel(names):
        return None
    runs = dict.fromkeys(match["run"] for match in told if match)
    chosen = run if run is not None else next(iter(runs))
    if chosen not in runs or (run is None and len(runs) > 1):
        shown = ", ".join(visible(name)[:60] for name in list(runs)[:5])
        raise DataError(
            f"{path} holds {len(runs)} runs ({shown}): name the one that is meant, or export one."
        )
    keys: list[str | None] = [names[0]]
    for match in told:
        mine = match is not None and match["run"] == chosen and match["bound"] is None
        keys.append(match["key"] if match and mine else None)
    return keys
