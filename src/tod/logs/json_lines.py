"""Rows of JSON: a line each, or a list of them in one file."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tod.base import DataError
from tod.base.text import what_is
from tod.logs.rows import LogRows
from tod.logs.series import is_single, series_rows, single_row
from tod.logs.text_lines import LONGEST_LINE, bare_name, blocks, lines, whole

Row = Mapping[str, Any]
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def parse(text: bytes) -> Any:
    """JSON as Python writes it: NaN and infinities are taken.

    Raises:
        ValueError: It is not JSON, not UTF-8, or nested too deep.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("nested too deep") from None


def read_json_lines(path: Path, rows: LogRows, take: Callable[[Row], Row] | None = None) -> None:
    """Add the objects of a file, one a line; what is none is named by its line.

    Args:
        path: The file, compressed or not.
        rows: Where the rows go.
        take: The row of figures that an object holds; the object itself without.

    Raises:
        DataError: The file cannot be read as text at all.
    """
    rows.open(path)
    for first, data in blocks(path):
        try:
            objects = _OBJECT.decode_lines(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            objects = []
        if len(objects) == data.count(b"\n") + (not data.endswith(b"\n")):
            rows.extend(first, objects if take is None else list(map(take, objects)))
        else:
            _line_by_line(first, data, rows, take)


def read_metric_lines(path: Path, rows: LogRows) -> None:
    """Add the objects of a file, a row of figures each, or one value of one figure each.

    Raises:
        DataError: As `read_json_lines`.
    """
    first = next(first_objects(path, 1), None)
    read_json_lines(path, rows, single_row if is_single(first) else None)


def _line_by_line(
    first: int, data: bytes, rows: LogRows, take: Callable[[Row], Row] | None
) -> None:
    parts = data.split(b"\n")
    for place, line in enumerate(parts):
        if not line.strip():
            continue
        number, torn = first + place, place == len(parts) - 1
        try:
            row = parse(line)
        except ValueError as error:
            if len(line) >= LONGEST_LINE:
                rows.reject(number, "line", line[:40], f"longer than {LONGEST_LINE >> 20} MiB")
            elif torn:
                rows.note(
                    f"line {number} is cut off: the writer was stopped in it, or still writes"
                )
            else:
                rows.reject(number, "line", line[:60].decode(errors="replace"), _why(error))
            continue
        if isinstance(row, dict):
            rows.add(number, row if take is None else take(row))
        else:
            rows.reject(number, "line", row, f"{what_is(row)}, not an object")


def _why(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return f"not JSON ({str(error)[:80]})"


def first_objects(path: Path, most: int = 40, span: int = 4000) -> Iterator[dict[str, Any]]:
    """Objects among the first lines of a file, for recognising it.

    Args:
        path: The file.
        most: Objects wanted.
        span: Lines looked at.

    Raises:
        DataError: As ``blocks``.
    """
    seen = 0
    for number, line, _ in lines(path):
        if number > span or seen >= most:
            return
        try:
            row = parse(line) if line.lstrip()[:1] == b"{" else None
        except ValueError:
            continue
        if isinstance(row, dict):
            seen += 1
            yield row


def parsed_file(path: Path) -> Any:
    """The one JSON value of a file.

    Raises:
        DataError: It is not JSON, with the place.
    """
    try:
        return parse(whole(path))
    except ValueError as error:
        raise DataError(
            f"{path}: not JSON ({str(error)[:120]}). If its writer was stopped, take an older file."
        ) from None


def rows_in(data: Any, file: str = "") -> list[Row] | None:
    """The rows that a JSON value holds as a list, by column or by series; None if it holds none.

    Known besides ``series``: ``{"log_history": [...]}`` (transformers), a list of objects (Ray,
    W&B's API), and what pandas writes of a history: ``{"column": {"0": 1.5}}``, or ``{"columns": …,
    "data": …}``.
    """
    if isinstance(data, dict) and isinstance(data.get("log_history"), list):
        data = data["log_history"]
    series = series_rows(data, file)
    if series is not None:
        return series
    if isinstance(data, list):
        objects: list[Row] = [row for row in data if isinstance(row, dict)]
        return objects if objects and 2 * len(objects) > len(data) else None
    if not isinstance(data, dict) or not data:
        return None
    columns, table = data.get("columns"), data.get("data")
    if isinstance(columns, list) and isinstance(table, list):
        names = [str(name) for name in columns]
        good = [row for row in table if isinstance(row, list) and len(row) == len(names)]
        return [dict(zip(names, row, strict=True)) for row in good] or None
    if all(isinstance(column, dict) for column in data.values()):
        index = dict.fromkeys(at for column in data.values() for at in column)
        if index and all(at.isdigit() for at in index):
            kept = [at for at in index if at.isdigit()]
            return [{name: column.get(at) for name, column in data.items()} for at in kept]
    return None


def read_json(path: Path, rows: LogRows) -> None:
    """Add the rows of one JSON value.

    Raises:
        DataError: The file is not JSON or holds no rows.
    """
    data = parsed_file(path)
    held = rows_in(data, bare_name(path).removesuffix(".json"))
    if held is None:
        raise DataError(
            f"{path}: {what_is(data)} without rows of figures. A list of objects is expected, an "
            "object with `log_history`, or one series a figure, as "
            '{"reward": [0.1, 0.2], "step": [1, 2]}.'
        )
    rows.open(path)
    for place, row in enumerate(held, start=1):
        rows.add(place, row)
