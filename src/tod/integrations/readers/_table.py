"""Tables whose columns have known roles: our own format, and anything that a mapping names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tod.base import DataError
from tod.integrations.readers._files import base_suffix
from tod.integrations.readers._json import decode_blocks
from tod.integrations.readers._roles import Roles
from tod.integrations.readers._rows import Rows
from tod.integrations.readers._sink import Sink
from tod.integrations.readers._table_parquet import read_parquet


def read_table(path: Path, roles: Roles, rows: Rows) -> None:
    """One file.

    A DataError says: its columns are not of the types that their roles need.
    """
    if base_suffix(path) == ".parquet":
        read_parquet(path, roles, rows)
    else:
        _jsonl(path, roles, rows)


def _jsonl(path: Path, roles: Roles, rows: Rows) -> None:
    """JSON lines: only the columns with a role are decoded."""
    if roles.grouping not in roles.columns:
        raise DataError(f"{path}: no context column. Name one: --map context=COLUMN.")
    number = float | bool | None
    fields: list[Any] = []
    rename: dict[str, str] = {}
    names = {role: f"c{place}" for place, role in enumerate(roles.columns)}
    main = next(iter(roles.utilities), None)
    for role, column in roles.columns.items():
        if role in ("prompt", "completion") and role != roles.grouping:
            continue
        rename[names[role]] = column
        if role == f"utility.{main}":
            fields.append((names[role], float | bool))
        elif role.endswith("_tokens"):
            fields.append((names[role], list[float] | None, None))
        elif role.startswith(("utility.", "log_")):
            fields.append((names[role], number, None))
        elif role in ("candidate", "length", "lag"):
            fields.append((names[role], int | None, None))
        elif role == "step":
            fields.append((names[role], int))
        elif role == "drawn_from":
            fields.append((names[role], Literal["mu", "target"] | None, None))
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
    key = got.get(roles.grouping)
    if not isinstance(step, int) or key is None:
        name = "step" if not isinstance(step, int) else roles.grouping
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
    lag, sample = got.get("lag"), got.get("drawn_from") == "target"
    sums = sink.sums(row, step, tokens, lag=lag, sample=sample) if tokens else {}
    if sums is None:
        return
    log = {name: got.get(f"log_{name}") for name in roles.logs}
    known = {name: float(v) for name, v in log.items() if isinstance(v, int | float)} | sums
    utility = {name: _float(got.get(f"utility.{name}")) for name in roles.utilities}
    answer = got.get("answer")
    lengths = [len(values) for values in tokens.values()]
    label = str(key) if isinstance(key, str | int) and roles.grouping == "context" else None
    name = label or f"{hash(str(key)) & 0xFFFFFFFF:08x}"
    sink.put(
        row,
        sink.rows.context(step, name),
        utility,
        known,
        length=got.get("length") or (lengths[0] if lengths else None),
        answer=None if answer is None else hash(answer if isinstance(answer, str) else str(answer)),
        lag=lag,
        identity=got.get("candidate"),
        sample=sample,
    )


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
