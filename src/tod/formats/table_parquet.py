"""Parquet tables by role: whole columns at once, token lists a slice of rows at a time."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tod.base import DataError
from tod.formats.checks import TokenColumns, TokenLists
from tod.formats.columns import SHOWN, Rows
from tod.formats.parquet import collect, columns_of, scan
from tod.formats.roles import Roles

if TYPE_CHECKING:
    import polars as pl

_SLICE = 4096
"""Rows whose tokens are held at once at least: with 4 policies and 4000 tokens half a GiB."""
_BYTES = 96 << 20
"""Bytes on disk whose tokens are held at once: a slice decodes its row group from the start."""
_WHOLE = ("candidate", "answer", "length", "lag")


def read_parquet(path: Path, roles: Roles, rows: Rows) -> None:
    """One file.

    Raises:
        DataError: A column is absent, or not of the type that its role needs.
    """
    kinds = columns_of(path)
    roles.check(path, kinds)
    wanted = _wanted(path, roles, kinds)
    file = rows.start(path)
    for first, table in _tables(path, wanted, sliced=bool(roles.tokens)):
        kept, row = _chosen(path, table, first, roles, rows)
        tokens = None
        if roles.tokens:
            tokens, good = _usable(path, kept, row, roles, rows)
            kept, row = kept.filter(good), row[good]
        _add(file, kept, row, roles, rows, tokens)


def _usable(
    path: Path, table: "pl.DataFrame", row: Any, roles: Roles, rows: Rows
) -> tuple[TokenColumns, Any]:
    """The lists of rows that have good ones, and the mask of these rows."""
    lists = {name: TokenLists.of_column(table[f"t.{name}"]) for name in roles.tokens}
    tokens = TokenColumns.of(lists, len(table))
    stated = table["length"].cast(float).to_numpy() if "length" in table.columns else None
    good = tokens.refuse(path, row, rows, stated)
    counted = good & ~_target(table)
    tokens.count_gaps(table["step"].to_numpy(), counted, _behind(table), rows)
    return tokens.part(good, rows.gate), good


def _wanted(path: Path, roles: Roles, kinds: Mapping[str, Any]) -> list[Any]:
    import polars as pl

    wanted: list[Any] = [_key(roles, kinds), _step(roles, kinds)]
    numbers = {f"u.{n}": c for n, c in roles.utilities.items()}
    numbers |= {f"l.{n}": c for n, c in roles.logs.items()}
    for name, column in numbers.items():
        wanted.append(_number(column, kinds, path).alias(name))
    for name, column in roles.tokens.items():
        wanted.append(_list(column, kinds, path).alias(f"t.{name}"))
    for role in _WHOLE:
        if role in roles.columns:
            extra = roles.columns[role]
            wanted.append(_integer(extra, role, kinds[extra]).alias(role))
    if "drawn_from" in roles.columns:
        wanted.append(pl.col(roles.columns["drawn_from"]).cast(pl.String).alias("drawn_from"))
    return wanted


def _tables(path: Path, wanted: list[Any], *, sliced: bool) -> Iterator[tuple[int, "pl.DataFrame"]]:
    """The wanted columns with the number of their first row, from 1."""
    import polars as pl

    if not sliced:
        yield 1, collect(path, scan(path).select(*wanted)).rechunk()
        return
    total = int(collect(path, scan(path).select(pl.len())).item())
    frame = scan(path).select(*wanted)
    size = max(_SLICE, total * _BYTES // path.stat().st_size)
    for start in range(0, total, size):
        yield start + 1, collect(path, frame.slice(start, size)).rechunk()


def _add(
    file: int,
    table: "pl.DataFrame",
    row: Any,
    roles: Roles,
    rows: Rows,
    tokens: TokenColumns | None,
) -> None:
    def column_of(role: str) -> Any:
        found = table[role] if role in table.columns else None
        if found is None or not found.null_count():
            return None if found is None else found.to_numpy()
        if found.null_count() == len(found):
            return None
        return np.ma.MaskedArray(found.fill_null(0).to_numpy(), mask=found.is_null().to_numpy())

    length = column_of("length")
    logs = {name: _values(table, f"l.{name}") for name in roles.logs}
    counted = None
    if tokens is not None:
        logs |= tokens.sums
        counted = tokens.length if (tokens.length > 0).all() else None
    target = _target(table)
    rows.add(
        file,
        _codes(table, rows),
        row,
        {name: _values(table, f"u.{name}") for name in roles.utilities},
        logs,
        length=counted if length is None else length,
        answer=column_of("answer"),
        lag=column_of("lag"),
        identity=column_of("candidate"),
        sample=target if target.any() else None,
        taken=None if tokens is None else tokens.taken,
    )


def _target(table: "pl.DataFrame") -> Any:
    """Rows that were drawn from the target."""
    if "drawn_from" not in table.columns:
        return np.zeros(len(table), dtype=bool)
    return (table["drawn_from"] == "target").fill_null(value=False).to_numpy()


def _behind(table: "pl.DataFrame") -> Any:
    """Rows whose sampler was behind the trainer, as far as that is known."""
    if "lag" not in table.columns:
        return np.zeros(len(table), dtype=bool)
    return (table["lag"] > 0).fill_null(value=False).to_numpy()


def _values(table: "pl.DataFrame", name: str) -> Any:
    return table[name].fill_null(float("nan")).to_numpy()


def _key(roles: Roles, kinds: Mapping[str, Any]) -> Any:
    import polars as pl

    column = roles.columns[roles.grouping]
    value = pl.col(column)
    if kinds[column].is_nested() or column == roles.column("prompt"):
        value = _digest(value)
    return value.cast(pl.String).alias("context")


def _digest(value: "pl.Expr") -> "pl.Expr":
    """The hash of a value; null, which has a hash too, stays null."""
    import polars as pl

    return pl.when(value.is_not_null()).then(value.hash())


def _step(roles: Roles, kinds: Mapping[str, Any]) -> Any:
    import polars as pl

    column = roles.column("step")
    if column is None:
        return pl.lit(0, dtype=pl.Int64).alias("step")
    value = pl.col(column)
    if kinds[column].is_float():
        value = pl.when(value == value.floor()).then(value)
    return value.cast(pl.Int64, strict=False).alias("step")


def _number(column: str, kinds: Mapping[str, Any], path: Path) -> Any:
    import polars as pl

    kind = kinds[column]
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
        raise DataError(f"{path}: column {column!r} holds {kind}, not one number a row.")
    return pl.col(column).cast(pl.Float64, strict=False)


def _list(column: str, kinds: Mapping[str, Any], path: Path) -> Any:
    import polars as pl

    inner = getattr(kinds[column], "inner", None)
    if inner is None or not inner.is_numeric():
        raise DataError(
            f"{path}: column {column!r} holds {kinds[column]}, not a list of one number per token."
        )
    return pl.col(column).cast(pl.List(pl.Float64))


def _integer(column: str, role: str, held: Any) -> Any:
    import polars as pl

    if role == "answer" and not held.is_integer():
        digest = _digest(pl.col(column).cast(pl.String))
        return digest.cast(pl.Int64, wrap_numerical=True)
    kind = pl.Int64 if role in ("answer", "candidate") else pl.Int32
    return pl.col(column).cast(kind, strict=False)


def _held(path: Path, column: str, row: int) -> object:
    """What a cell holds, before any cast."""
    import polars as pl

    return collect(path, scan(path).select(pl.col(column).slice(row - 1, 1))).item()


def _chosen(
    path: Path, table: "pl.DataFrame", start: int, roles: Roles, rows: Rows
) -> tuple["pl.DataFrame", Any]:
    """The rows of the steps asked for that have a context and a step, and their numbers."""
    import polars as pl

    row = np.arange(start, start + len(table))
    for bound, outside in zip(rows.steps, (pl.col("step").lt, pl.col("step").gt), strict=True):
        if bound is not None:
            kept = ~table.select(outside(bound).fill_null(value=False)).to_series().to_numpy()
            passed = table["step"].filter(~kept)
            if len(passed):
                rows.passed(passed.min(), passed.max())  # type: ignore[arg-type]
            table, row = table.filter(kept), row[kept]
    for name in ("context", "step"):
        if not table[name].null_count():
            continue
        lost = table[name].is_null().to_numpy()
        column = roles.columns[name if name == "step" else roles.grouping]
        shown = [_held(path, column, at) for at in row[lost][:SHOWN].tolist()]
        for at, value in zip_longest(row[lost].tolist(), shown):
            rows.reject(path, at, column, value, "missing, or of another type")
        table, row = table.filter(~lost), row[~lost]
    return _sensible(path, table, row, roles, rows)


def _sensible(
    path: Path, table: "pl.DataFrame", row: Any, roles: Roles, rows: Rows
) -> tuple["pl.DataFrame", Any]:
    """The rows whose length, lag and source can be."""
    for name in ("length", "lag"):
        if name not in table.columns or not (table[name] < 0).any():
            continue
        below = (table[name] < 0).fill_null(value=False).to_numpy()
        for at, value in zip(row[below].tolist(), table[name].filter(below), strict=True):
            rows.reject(path, at, roles.columns[name], value, "below 0")
        table, row = table.filter(~below), row[~below]
    if "drawn_from" in table.columns:
        said = table["drawn_from"]
        wrong = (said.is_not_null() & ~said.is_in(["mu", "target"])).to_numpy()
        for at, value in zip(row[wrong].tolist(), said.filter(wrong).to_list(), strict=True):
            rows.reject(path, at, "drawn_from", value, "neither `mu` nor `target`")
        table, row = table.filter(~wrong), row[~wrong]
    return table, row


def _codes(table: "pl.DataFrame", rows: Rows) -> Any:
    """Codes of (step, context) pairs, new ones interned.

    Neighbours of one pair are one run, so only the first row of every run is looked up: a file
    with its contexts together, as most are, costs one comparison a row.
    """
    import polars as pl

    if not len(table):
        return np.zeros(0, dtype=np.int64)
    pair = pl.col("step", "context")
    new = table.select(pl.any_horizontal(pair.ne_missing(pair.shift()))).to_series().to_numpy()
    heads = np.flatnonzero(new)
    if not len(heads) or heads[0]:
        heads = np.concatenate([[0], heads])
    first = table[["step", "context"]][heads]
    if first["context"].n_unique() == len(first):  # every run is a context
        known = rows.intern(first["step"].to_list(), first["context"].to_list())
    else:
        known = _codes_of_heads(first, rows)
    return np.repeat(known, np.diff(heads, append=len(table)))


def _codes_of_heads(heads: "pl.DataFrame", rows: Rows) -> Any:
    """The code of every run; one sort of packed integers (pair, run) finds the equal pairs."""
    import polars as pl

    step = heads["step"].to_numpy()
    name = heads["context"].cast(pl.Categorical).to_physical().cast(pl.Int64).to_numpy()
    pair = _dense(step) * (int(name.max()) + 1) + name
    if int(pair.max()) >= 1 << 31 or len(pair) >= 1 << 32:
        pair = _dense(pair)
    packed = (pair << 32) | np.arange(len(pair))
    packed.sort()
    order = packed & 0xFFFFFFFF
    starts = np.flatnonzero(np.diff(packed >> 32, prepend=-1))
    local = np.empty(len(order), dtype=np.int64)
    local[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    first = order[starts]
    known = rows.intern(step[first].tolist(), heads["context"].gather(first).to_list())
    return known[local]


def _dense(values: Any) -> Any:
    """Values as small integers, equal where they are equal."""
    if int(values.max()) - int(values.min()) < 1 << 20:
        return values - values.min()
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
