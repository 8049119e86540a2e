"""Tables whose columns have known roles: our own format, and anything that a mapping names."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import msgspec

from tod.base import DataError
from tod.formats.columns import Rows
from tod.formats.files import base_suffix
from tod.formats.jsonl import (
    ColumnLines,
    Natural,
    Whole,
    chosen_lines,
    decode_blocks,
    first_keys,
    plain_text,
)
from tod.formats.parquet import columns_of
from tod.formats.parquet import texts as parquet_texts
from tod.formats.roles import LOGS, TEXTS, Roles
from tod.formats.row_by_row import FileRows
from tod.formats.table_parquet import read_parquet


def keep_texts(roles: Roles, there: Collection[str], rows: Rows) -> None:
    """Say how text is read again: the columns named for it, or those called so."""
    named = {role: roles.column(role) or (role if role in there else None) for role in TEXTS}
    prompt, completion = named["prompt"], named["completion"]
    rows.texts = False
    if prompt or completion:
        rows.texts = partial(read_texts, prompt=prompt, completion=completion)
    rows.text_roles = tuple(role for role, column in named.items() if column)
    for role, column in named.items():
        if column is None:
            rows.needs["text"] = f"a column of text: --map {role}=COLUMN"


def read_texts(
    path: Path, wanted: Sequence[int], prompt: str | None, completion: str | None
) -> Iterator[tuple[int, str, str]]:
    """Row, prompt and completion of some rows; empty where no column holds it."""
    if base_suffix(path) == ".parquet":
        yield from parquet_texts(path, wanted, prompt, completion)
        return
    for number, item in chosen_lines(path, wanted, dict[str, Any]):
        held = (None if column is None else item.get(column) for column in (prompt, completion))
        first, second = map(plain_text, held)
        yield number, first, second


_KINDS: dict[str, Any] = {
    "step": Whole,
    "candidate": Whole,
    "length": Natural,
    "lag": Natural,
    "drawn_from": Literal["mu", "target"],
    "answer": Any,
    "context": Any,
    "prompt": Any,
}


def read_table(path: Path, roles: Roles, rows: Rows) -> None:
    """One file.

    A DataError says: a column is absent, or not of the type that its role needs.
    """
    rows.grouping = "ids" if roles.grouping == "context" else "prompts"
    rows.fields |= {role.removesuffix("_tokens"): name for role, name in roles.columns.items()}
    if base_suffix(path) == ".parquet":
        keep_texts(roles, columns_of(path), rows)
        read_parquet(path, roles, rows)
        return
    there = first_keys(path)
    roles.check(path, there)
    keep_texts(roles, there, rows)
    out = FileRows(path, rows)
    names = _fields(path, roles)
    columns = list(names)
    lines = ColumnLines([(column, *names[column]) for column in columns])
    place = {role: f"c{columns.index(c)}" for role, c in roles.columns.items() if c in names}
    for numbers, items in decode_blocks(path, lines, rows):
        for line, item in zip(numbers, items, strict=True):
            _put(line, {role: getattr(item, name) for role, name in place.items()}, out)
    out.close()


def _fields(path: Path, roles: Roles) -> dict[str, tuple[Any, bool]]:
    """Type of every column that is read, and whether a row must have it.

    A column may play several roles, and then has the narrowest of their types.

    Raises:
        DataError: A column plays roles whose types exclude each other.
    """
    main = next(iter(roles.utilities), None)
    needed = {roles.grouping, "step", f"utility.{main}"}
    by_column: dict[str, list[str]] = {}
    for role, column in roles.columns.items():
        if role not in TEXTS or role in needed:
            by_column.setdefault(column, []).append(role)
    fields: dict[str, tuple[Any, bool]] = {}
    for column, played in by_column.items():
        played.sort(key=lambda role: _SHAPES.index(_shape(role)))
        shapes = {_shape(role).removeprefix("whole ") for role in played} - {"anything"}
        if len(shapes) > 1:
            raise DataError(f"{path}: column {column!r} cannot be both {' and '.join(played)}.")
        must = not needed.isdisjoint(played)
        kind = _KINDS.get(played[0], list[float] if shapes == {"list"} else float | bool)
        fields[column] = (kind if must or kind is Any else kind | None, must)
    return fields


_SHAPES = ("whole number", "number", "list", "text", "anything")
"""What a role's values may be, the narrowest first."""


def _shape(role: str) -> str:
    if role in ("context", "prompt", "answer"):
        return "anything"
    if role in _KINDS:
        return "text" if role == "drawn_from" else "whole number"
    return "list" if role.endswith("_tokens") else "number"


def _put(line: int, got: Mapping[str, Any], out: FileRows) -> None:
    """One row by role."""
    step, label = got.get("step", 0), _label(got)
    if label is None:
        grouping = "context" if "context" in got else "prompt"
        out.reject(line, out.rows.field(grouping), got[grouping], "missing, or out of range")
        return
    if not out.rows.wanted(step):
        return
    answer, length = got.get("answer"), got.get("length")
    out.put(
        line,
        step,
        label,
        {role[8:]: value for role, value in got.items() if role.startswith("utility.")},
        log={
            role[4:]: float(value)
            for role, value in got.items()
            if role in LOGS and isinstance(value, int | float)
        },
        tokens={role[4:-7]: values for role, values in got.items() if role.endswith("_tokens")},
        stated=length,
        length=length,
        answer=None if answer is None else hash(answer if isinstance(answer, str) else str(answer)),
        lag=got.get("lag"),
        identity=got.get("candidate"),
        sample=got.get("drawn_from") == "target",
    )


def _label(got: Mapping[str, Any]) -> str | None:
    """The context by its key, or a digest of what is no key: the prompt, or an object."""
    key = got.get("context") if "context" in got else got.get("prompt")
    if key is None or (isinstance(key, int) and key.bit_length() > 63):
        return None
    if "context" in got and isinstance(key, str | int):
        return str(key)
    text = key.encode("utf-8", "replace") if isinstance(key, str) else msgspec.json.encode(key)
    return blake2b(text, digest_size=8).hexdigest()
