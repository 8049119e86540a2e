"""Records as a polars table: nested names dotted, what is unknown null."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

__all__ = ["flat", "frame_of"]


def frame_of(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Any] | None = None
) -> "pl.DataFrame":
    """A row a record.

    Args:
        rows: The records; names that one of them lacks are null there, as is NaN. A block that is
            null as a whole has no column of its own.
        columns: polars types of the columns that there are even without a row, in order.
    """
    import polars as pl

    records = [dict(flat(row)) for row in rows]
    names = dict.fromkeys([*(columns or {}), *(name for row in records for name in row)])
    blocks = {name.rpartition(".")[0] for name in names}
    data = {name: [row.get(name) for row in records] for name in names if name not in blocks}
    frame = pl.DataFrame(data, schema_overrides=columns, strict=False)
    floats = [name for name, kind in frame.schema.items() if kind.is_float()]
    return frame.with_columns(pl.col(floats).fill_nan(None))


def flat(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers, texts and truth values by their dotted names; lists are left out.

    >>> dict(flat({"step": 3, "ess_rel": {"median": 0.5, "ci": [0.1, 0.9]}}))
    {'step': 3, 'ess_rel.median': 0.5}
    """
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        elif value is None or isinstance(value, str | int | float):
            yield f"{before}{name}", value
