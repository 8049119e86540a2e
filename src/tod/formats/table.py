"""Tables whose columns have known roles: our own format, and anything that a mapping names."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tod.base import DataError
from tod.formats.columns import Rows
from tod.formats.files import base_suffix
from tod.formats.format import read_lines
from tod.formats.jsonl import (
    ColumnLines,
    Natural,
    Whole,
    chosen_lines,
    first_keys,
    plain_text,
)
from tod.formats.parquet import columns_of, text_frame
from tod.formats.parquet import texts as parquet_texts
from tod.formats.roles import LOGS, TEXTS, Roles, digest, label_of
from tod.formats.row_by_row import Refusal
from tod.formats.table_parquet import read_parquet

if TYPE_CHECKING:
    import polars as pl


def keep_texts(roles: Roles, there: Collection[str], rows: Rows) -> None:
    """Say how text is read again: the columns named for it, or those called so."""
    named = {role: roles.column(role) or (role if role in there else None) for role in TEXTS}
    prompt, completion = named["prompt"], named["completion"]
    rows.texts = False
    if prompt or completion:
        rows.texts = TextColumns(prompt, completion)
    rows.text_roles = tuple(role for role, column in named.items() if column)
    for role, column in named.items():
        if column is None:
            rows.needs["text"] = f"a column of text: --map {role}=COLUMN"


@dataclass(frozen=True)
class TextColumns:
    """How texts are read again: the columns that hold them; None where none does."""

    prompt: str | None
    completion: str | None

    def __call__(self, path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
        """Row, prompt and completion of some rows; empty where no column holds it."""
        if base_suffix(path) == ".parquet":
            return parquet_texts(path, wanted, self.prompt, self.completion)
        return _texts_of_lines(path, wanted, self.prompt, self.completion)

    def frame(self, path: Path, wanted: Sequence[int]) -> "pl.DataFrame | None":
        """Prompts and completions of ascending rows as columns; None where it takes the above."""
        if base_suffix(path) == ".parquet":
            return text_frame(path, wanted, self.prompt, self.completion)
        return None


def _texts_of_lines(
    path: Path, wanted: Sequence[int], prompt: str | None, completion: str | None
) -> Iterator[tuple[int, str, str]]:
    names = [name for name in dict.fromkeys((prompt, completion)) if name is not None]
    places = [None if name is None else names.index(name) for name in (prompt, completion)]
    first, second = (_none if at is None else attrgetter(f"c{at}") for at in places)
    kind = ColumnLines([(name, Any, False) for name in names])
    for number, item in chosen_lines(path, wanted, kind):
        yield number, plain_text(first(item)), plain_text(second(item))


def _none(_: Any) -> None:
    """What a column holds that is not there."""


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
    names = _fields(path, roles)
    lines = ColumnLines([(column, *of) for column, of in names.items()])
    places = {column: attrgetter(f"c{place}") for place, column in enumerate(names)}
    get = {role: places[column] for role, column in roles.columns.items() if column in names}

    def columns(items: list[Any]) -> dict[str, Any]:
        return _columns({role: [*map(of, items)] for role, of in get.items()}, len(items))

    def refusal(item: Any) -> Refusal:
        return rows.field(roles.grouping), get[roles.grouping](item), "missing, or out of range"

    read_lines([path], rows, lines, columns, refusal)


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


def _columns(column: Mapping[str, list[Any]], count: int) -> dict[str, Any]:
    """What ``FileRows.extend`` takes, of columns by role."""
    found: dict[str, Any] = {"step": column.get("step", [0] * count), "key": _labels(column)}
    found["utility"] = {r[8:]: x for r, x in column.items() if r.startswith("utility.")}
    found["log"] = {r[4:]: x for r, x in column.items() if r in LOGS}
    found["tokens"] = {r[4:-7]: x for r, x in column.items() if r.endswith("_tokens")}
    answers = column.get("answer")
    if answers is not None:
        texts = (x if x is None or isinstance(x, str) else str(x) for x in answers)
        found["answer"] = [None if text is None else hash(text) for text in texts]
    length = column.get("length")
    found |= {"length": length, "stated": length, "lag": column.get("lag")}
    found["identity"] = column.get("candidate")
    if "drawn_from" in column:
        found["sample"] = [source == "target" for source in column["drawn_from"]]
    return found


def _labels(column: Mapping[str, list[Any]]) -> list[str | None]:
    """The context of every row by its key, or a digest of what is no key: the prompt, an object."""
    keys = column.get("context")
    if keys is None:
        prompts = column["prompt"]
        if {*map(type, prompts)} != {str}:
            return [*map(digest, prompts)]
        known = {prompt: digest(prompt) for prompt in set(prompts)}
        return [*map(known.__getitem__, prompts)]
    return keys if {*map(type, keys)} == {str} else [*map(label_of, keys)]
