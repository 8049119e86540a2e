"""Tables whose columns have known roles: our own format, and anything that a mapping names.

Roles: ``context``, ``step``, ``candidate``, ``answer``, ``length``, ``prompt``, ``completion``,
``utility.<name>``, ``log_<policy>`` (sums over a sequence, nats) and ``log_<policy>_tokens``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tod.base import DataError
from tod.candidates import POLICIES
from tod.integrations.readers._files import base_suffix
from tod.integrations.readers._json import decode_blocks
from tod.integrations.readers._parquet import collect, columns_of, scan
from tod.integrations.readers._rows import Rows
from tod.integrations.readers._sink import Sink

if TYPE_CHECKING:
    import polars as pl

LOGS = tuple(f"log_{name}" for name in POLICIES)
_SLICE = 4096
"""Rows whose tokens are held at once: 4096 rows of 4 policies and 4000 tokens are half a GiB."""


@dataclass(frozen=True)
class Roles:
    """Which column plays which role."""

    columns: Mapping[str, str]

    @property
    def utilities(self) -> dict[str, str]:
        """Column by utility."""
        known = self.columns.items()
        return {r.removeprefix("utility."): c for r, c in known if r.startswith("utility.")}

    @property
    def logs(self) -> dict[str, str]:
        """Column of sequence sums by policy."""
        return {r[4:]: c for r, c in self.columns.items() if r in LOGS}

    @property
    def tokens(self) -> dict[str, str]:
        """Column of token lists by policy."""
        return {r[4:-7]: c for r, c in self.columns.items() if r.endswith("_tokens")}

    def column(self, role: str) -> str | None:
        """The column of a role, or None."""
        return self.columns.get(role)


def read_table(path: Path, roles: Roles, rows: Rows) -> None:
    """One file.

    A DataError says: its columns are not of the types that their roles need.
    """
    if base_suffix(path) == ".parquet":
        if roles.tokens:
            _parquet_tokens(path, roles, rows)
        else:
            _parquet(path, roles, rows)
    else:
        _jsonl(path, roles, rows)


def _parquet(path: Path, roles: Roles, rows: Rows) -> None:

    kinds = columns_of(path)
    wanted: list[Any] = [_key(roles, "context", kinds, path), _step(roles, kinds, path)]
    numbers = {f"u.{n}": c for n, c in roles.utilities.items()}
    numbers |= {f"l.{n}": c for n, c in roles.logs.items()}
    for name, column in numbers.items():
        wanted.append(_number(column, kinds, path).alias(name))
    for role in ("candidate", "answer", "length"):
        extra = roles.columns.get(role, "")
        if extra in kinds:
            wanted.append(_integer(extra, role, kinds[extra]).alias(role))
    table = collect(path, scan(path).select(*wanted)).rechunk()
    table, row = _chosen(path, table, roles, rows)

    def column_of(role: str) -> Any:
        found = table[role] if role in table.columns else None
        return None if found is None or found.null_count() else found.to_numpy()

    rows.add(
        rows.start(path),
        _codes(table, rows),
        row,
        {name: _values(table, f"u.{name}") for name in roles.utilities},
        {name: _values(table, f"l.{name}") for name in roles.logs},
        length=column_of("length"),
        answer=column_of("answer"),
        identity=column_of("candidate"),
    )


def _values(table: "pl.DataFrame", name: str) -> Any:
    return table[name].fill_null(float("nan")).to_numpy()


def _key(roles: Roles, role: str, kinds: Mapping[str, Any], path: Path) -> Any:
    import polars as pl

    column = roles.column(role)
    if column is None:
        column = roles.column("prompt")
        if column is None:
            raise DataError(f"{path}: no context column. Name one: --map context=COLUMN.")
    if column not in kinds:
        raise _absent(path, column, role, kinds)
    kind = kinds[column]
    value = pl.col(column)
    if kind.is_nested():
        return value.hash().cast(pl.String).alias("context")
    if role == "context" and column == roles.column("prompt"):
        return value.hash().cast(pl.String).alias("context")
    return value.cast(pl.String).alias("context")


def _step(roles: Roles, kinds: Mapping[str, Any], path: Path) -> Any:
    import polars as pl

    column = roles.column("step")
    if column is None:
        return pl.lit(0, dtype=pl.Int64).alias("step")
    if column not in kinds:
        raise _absent(path, column, "step", kinds)
    return pl.col(column).cast(pl.Int64, strict=False).alias("step")


def _number(column: str, kinds: Mapping[str, Any], path: Path) -> Any:
    import polars as pl

    if column not in kinds:
        raise _absent(path, column, "a number", kinds)
    kind = kinds[column]
    if kind.is_nested():
        raise DataError(f"{path}: column {column!r} holds {kind}, not one number a row.")
    return pl.col(column).cast(pl.Float64, strict=False)


def _integer(column: str, role: str, kind: Any) -> Any:
    import polars as pl

    if role == "answer" and not kind.is_integer():
        return pl.col(column).cast(pl.String).hash().cast(pl.Int64, wrap_numerical=True)
    return pl.col(column).cast(pl.Int64, strict=False)


def _absent(path: Path, column: str, role: str, kinds: Mapping[str, Any]) -> DataError:
    return DataError(
        f"{path}: no column {column!r} for {role}. It holds {', '.join(list(kinds)[:16])}. Name "
        f"the right one, for instance --map {role.split('.')[0]}=COLUMN."
    )


def _chosen(
    path: Path, table: "pl.DataFrame", roles: Roles, rows: Rows
) -> tuple["pl.DataFrame", Any]:
    """The rows of the steps asked for that have a context and a step, and their numbers from 1."""
    import polars as pl

    row = np.arange(1, len(table) + 1)
    for bound, outside in zip(rows.steps, (pl.col("step").lt, pl.col("step").gt), strict=True):
        if bound is not None:
            kept = ~table.select(outside(bound).fill_null(value=False)).to_series().to_numpy()
            table, row = table.filter(kept), row[kept]
    for name in ("context", "step"):
        if not table[name].null_count():
            continue
        lost = table[name].is_null().to_numpy()
        for at in row[lost].tolist():
            rows.reject(path, at, roles.column(name) or name, None, "missing, or of another type")
        table, row = table.filter(~lost), row[~lost]
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


def _parquet_tokens(path: Path, roles: Roles, rows: Rows) -> None:
    """Token lists, some thousand rows at a time."""
    import polars as pl

    kinds = columns_of(path)
    for column in roles.columns.values():
        if column not in kinds:
            raise _absent(path, column, "its role", kinds)
    names = {role: f"c{place}" for place, role in enumerate(roles.columns)}
    chosen = [
        pl.col(column).alias(names[role])
        for role, column in roles.columns.items()
        if role not in ("prompt", "completion") or role == _grouping(roles)
    ]
    sink = Sink(path, rows)
    frame = scan(path).select(chosen)
    total = int(collect(path, scan(path).select(pl.len())).item())
    for start in range(0, total, _SLICE):
        piece = collect(path, frame.slice(start, _SLICE))
        for place, item in enumerate(piece.iter_rows(named=True)):
            got = {role: item.get(name) for role, name in names.items()}
            _put(start + place + 1, got, roles, sink)
    sink.close()


def _grouping(roles: Roles) -> str:
    return "context" if "context" in roles.columns else "prompt"


def _jsonl(path: Path, roles: Roles, rows: Rows) -> None:
    """JSON lines: only the columns with a role are decoded."""
    if _grouping(roles) not in roles.columns:
        raise DataError(f"{path}: no context column. Name one: --map context=COLUMN.")
    number = float | bool | None
    fields: list[Any] = []
    rename: dict[str, str] = {}
    names = {role: f"c{place}" for place, role in enumerate(roles.columns)}
    main = next(iter(roles.utilities), None)
    for role, column in roles.columns.items():
        if role in ("prompt", "completion") and role != _grouping(roles):
            continue
        rename[names[role]] = column
        if role == f"utility.{main}":
            fields.append((names[role], float | bool))
        elif role.endswith("_tokens"):
            fields.append((names[role], list[float] | None, None))
        elif role.startswith(("utility.", "log_")):
            fields.append((names[role], number, None))
        elif role in ("candidate", "length"):
            fields.append((names[role], int | None, None))
        elif role == "step":
            fields.append((names[role], int))
        else:
            fields.append((names[role], Any))
    required = [field for field in fields if len(field) == 2]
    optional = [field for field in fields if len(field) == 3]
    kind = msgspec.defstruct("Row", [*required, *optional], rename=rename)
    sink = Sink(path, rows)
    for numbers, items in decode_blocks(path, kind, rows):
        for line, item in zip(numbers, items, strict=True):
            got = {role: getattr(item, name, None) for role, name in names.items()}
            _put(line, got, roles, sink)
    sink.close()


def _put(row: int, got: Mapping[str, Any], roles: Roles, sink: Sink) -> None:
    """One row of any origin, by role."""
    step = got.get("step", 0)
    key = got.get(_grouping(roles))
    if not isinstance(step, int) or key is None:
        name = "step" if not isinstance(step, int) else _grouping(roles)
        sink.reject(
            row, roles.columns.get(name, name), got.get(name), "missing, or of another type"
        )
        return
    if not sink.rows.wanted(step):
        return
    tokens = {
        name: got[f"log_{name}_tokens"]
        for name in roles.tokens
        if got.get(f"log_{name}_tokens") is not None
    }
    sums = sink.sums(row, step, tokens) if tokens else {}
    if sums is None:
        return
    log = {name: got.get(f"log_{name}") for name in roles.logs}
    known = {name: float(v) for name, v in log.items() if isinstance(v, int | float)} | sums
    utility = {name: _float(got.get(f"utility.{name}")) for name in roles.utilities}
    answer = got.get("answer")
    lengths = [len(values) for values in tokens.values()]
    label = str(key) if isinstance(key, str | int) and _grouping(roles) == "context" else None
    name = label or f"{hash(str(key)) & 0xFFFFFFFF:08x}"
    sink.put(
        row,
        sink.rows.context(step, name),
        utility,
        known,
        length=got.get("length") or (lengths[0] if lengths else None),
        answer=None if answer is None else hash(answer if isinstance(answer, str) else str(answer)),
        identity=got.get("candidate"),
    )


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
