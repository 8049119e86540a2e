"""Parquet through polars, with its complaints turned into ours."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base import DataError
from tod.formats.files import COMPRESSED
from tod.formats.quiet import replayed_unless_raised
from tod.formats.untrusted.parquet_pages import check

if TYPE_CHECKING:
    import polars as pl


_FEW = 24
"""Rows up to which slices are faster than a scan: 2 ms each against 60 ms for a million rows."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Polars' errors, and its panics on damaged files, as a DataError that names the file.

    Raises:
        DataError: The file cannot be read as Parquet.
    """
    import polars as pl

    try:
        with replayed_unless_raised():
            yield
    except (pl.exceptions.PolarsError, OSError, MemoryError, ValueError) as error:
        raise DataError(_damaged(path, error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DataError(_damaged(path, error)) from None


def _damaged(path: Path, error: BaseException) -> str:
    first = str(error).strip().splitlines() or ["no reason given"]
    return (
        f"{path}: cannot be read as Parquet ({first[0][:160]}). It is damaged or was not written "
        "to its end: copy it again, or leave it out."
    )


def columns_of(path: Path) -> Mapping[str, Any]:
    """Column names and types.

    Raises:
        DataError: It is not Parquet.
    """
    if path.suffix.lower() in COMPRESSED:
        raise DataError(f"{path}: Parquet is compressed inside already; unpack this file first.")
    import polars as pl

    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path}: its name is not UTF-8, as Parquet's reader needs it: rename it."
        ) from None
    with explained(path):
        return dict(pl.read_parquet_schema(path))


def scan(path: Path) -> "pl.LazyFrame":
    """The file, lazily."""
    import polars as pl

    columns_of(path)
    check(path)
    return pl.scan_parquet(path, glob=False)


def collect(path: Path, frame: "pl.LazyFrame") -> "pl.DataFrame":
    """The rows of a lazy frame over ``path``."""
    with explained(path):
        return frame.collect()


def text_frame(
    path: Path, wanted: Sequence[int], prompt: str | None, completion: str | None
) -> "pl.DataFrame | None":
    """The same columns of ascending rows as they are, without a string of Python's for each.

    None where one of the columns is not there, or holds anything but text.
    """
    import polars as pl

    names = _text_names(path, prompt, completion)
    there = columns_of(path)
    if len(names) < 2 or any(there[name] != pl.String for name in names):
        return None
    return _rows_of(path, wanted, names).select(
        pl.col(names[0]).alias("prompt"), pl.col(names[1]).alias("completion")
    )


def _text_names(path: Path, prompt: str | None, completion: str | None) -> list[str]:
    there = columns_of(path)
    check(path)
    return [name for name in (prompt, completion) if name is not None and name in there]


def _rows_of(path: Path, rows: Sequence[int], names: Sequence[str]) -> "pl.DataFrame":
    """Ascending rows, counted from 1, of some columns."""
    import polars as pl

    columns = pl.scan_parquet(path, glob=False).select(list(dict.fromkeys(names)))
    numbered = columns.with_row_index("__row", offset=1)
    inside = pl.col("__row").is_in(pl.Series(rows, dtype=pl.UInt32).implode())
    with explained(path):
        return numbered.filter(inside).drop("__row").collect()


def texts(
    path: Path, wanted: Sequence[int], prompt: str | None, completion: str | None
) -> Iterator[tuple[int, str, str]]:
    """Row (from 1), prompt and completion of some rows."""
    import polars as pl

    from tod.formats.jsonl import plain_text

    names = _text_names(path, prompt, completion)
    rows = sorted(set(wanted)) if names else []
    if 0 < len(rows) <= _FEW:  # one at a time: together they decode whole columns
        frame = pl.scan_parquet(path, glob=False).select(names)
        with explained(path):
            found = pl.concat([frame.slice(row - 1, 1).collect() for row in rows])
    else:
        found = _rows_of(path, rows, names)

    def column(name: str | None) -> list[str]:
        if name not in names:
            return [plain_text(None)] * len(rows)
        values = found[name].to_list()
        return values if {*map(type, values)} == {str} else [*map(plain_text, values)]

    yield from zip(rows, column(prompt), column(completion), strict=True)
