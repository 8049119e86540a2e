"""Tables of a run, written step by step as Parquet parts: ``contexts/`` and ``rollouts/``.

A part holds whole steps and its name says which: ``part-000001-000004.parquet``. Parts appear
in one step and are never changed, so a reader may read while the run writes.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base import DataError
from tod.runs.atomic import sweep, sync, write_atomic

__all__ = ["Parts"]

if TYPE_CHECKING:
    import polars as pl

ROLLOUTS = ("step", "context", "candidate", "prompt", "completion")
CONTEXTS = ("step", "context", "k", "ess", "ess_rel", "max_weight", "class")
_NAME = re.compile(r"part-(\d+)-(\d+)\.parquet")
_INTEGERS = frozenset({"step", "candidate", "k", "length", "version", "lag"})
_TEXTS = frozenset({"context", "prompt", "completion", "class", "answer"})
_OTHERS = frozenset(
    {"ess", "ess_rel", "max_weight", "top_mass", "utility_mean", "utility_max", "advantage"}
)
_IDS = frozenset({"token_ids", "prompt_ids"})
_FLAGS = frozenset({"truncated", "selected"})


class Parts:
    """The parts of one table.

    Args:
        directory: Where they lie; made by the first write.
        required: Columns that every row has.
        every: Steps gathered in one part. ``sync`` before a checkpoint, so that resuming finds
            the same parts an uninterrupted run has.
    """

    def __init__(self, directory: Path, required: Sequence[str], every: int = 1) -> None:
        self.directory = directory
        self.required = tuple(required)
        self.every = every
        self._pending: list[tuple[int, pl.DataFrame]] = []
        self._unsynced: list[Path] = []

    def write(self, step: int, columns: Mapping[str, Any]) -> None:
        """Add one step's rows: columns of equal length; NaN becomes null, that is, unknown.

        The ``step`` column is the argument, whatever the columns say.

        Columns: those required; ``utility.<name>``; ``log_mu``, ``log_old``, ``log_ref``,
        ``log_policy``, ``log_teacher`` and ``log_w`` (log q*/μ up to a constant per context) in
        nats; the same with ``_tokens`` as lists; ``token_ids`` and ``prompt_ids`` as lists;
        ``length``; ``answer``; ``version`` of the weights that drew it and by how many it ``lag``s
        the policy; ``truncated``; ``advantage``, where all tokens share it; ``selected`` (put out
        by a selection at test time).

        Raises:
            DataError: A column is missing, unknown, of another length or of the wrong type.
            OSError: The device is full; the rows stay pending.
        """
        frame = _frame(_stamped(step, columns), self.required)
        self._pending.append((step, frame))
        if len(self._pending) >= self.every:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one part."""
        import polars as pl

        if not self._pending:
            return
        frame = pl.concat([frame for _, frame in self._pending], how="vertical")
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self._put(frame, self._pending[0][0], self._pending[-1][0], durable=False)
        self._unsynced.append(path)
        self._pending.clear()

    def discard_pending(self) -> None:
        """Forget rows that could not be written."""
        self._pending.clear()

    def sync(self) -> None:
        """Write what is pending and flush all parts to the device."""
        self.flush()
        for path in self._unsynced:
            sync(path)
        if self._unsynced:
            sync(self.directory)
        self._unsynced.clear()

    def paths(self) -> list[Path]:
        """The parts in order of their steps."""
        found = [(span, path) for path, span in self._spans()]
        return [path for _, path in sorted(found)]

    def scan(self) -> "pl.LazyFrame | None":
        """All rows on disk, lazily; null where a part lacks a column; None without parts."""
        import polars as pl

        paths = self.paths()
        if not paths:
            return None
        return pl.concat([pl.scan_parquet(path) for path in paths], how="diagonal")

    def truncate_after(self, step: int) -> None:
        """Drop all rows beyond ``step``, and whatever an interrupted write left."""
        import polars as pl

        self._pending.clear()
        self._unsynced.clear()
        if not self.directory.exists():
            return
        sweep(self.directory)
        for path, (first, last) in self._spans():
            if last <= step:
                continue
            if first <= step:
                kept = pl.read_parquet(path).filter(pl.col("step") <= step)
                self._put(kept, first, int(kept["step"].max()), durable=True)  # type: ignore[arg-type]
            path.unlink()

    def _put(self, frame: "pl.DataFrame", first: int, last: int, durable: bool) -> Path:
        """Write the part of some steps."""
        path, buffer = self.directory / f"part-{first:06d}-{last:06d}.parquet", io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        write_atomic(path, buffer.getvalue(), durable)
        return path

    def _spans(self) -> list[tuple[Path, tuple[int, int]]]:
        matches = ((path, _NAME.fullmatch(path.name)) for path in self.directory.glob("part-*"))
        return [(path, (int(m[1]), int(m[2]))) for path, m in matches if m is not None]


def _stamped(step: int, columns: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: values for name, values in columns.items() if name != "step"}
    return {"step": [step] * _length(rest), **rest}


def _length(columns: Mapping[str, Any]) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"columns of unequal length: {lengths}. A row needs a value in each.")
    return next(iter(lengths.values()))


def _frame(columns: Mapping[str, Any], required: Iterable[str]) -> "pl.DataFrame":
    import polars as pl

    missing = [name for name in required if name not in columns]
    if missing:
        raise DataError(f"columns {missing} are missing (there: {sorted(columns)}).")
    series = {name: _series(name, values) for name, values in columns.items()}
    return pl.DataFrame(series)


def _series(name: str, values: Any) -> "pl.Series":
    """One column in the type that its name has, the same in every part."""
    import polars as pl

    if name.endswith("_tokens") and name.startswith("log_"):
        kind: Any = pl.List(pl.Float32)
    elif name in _IDS:
        kind = pl.List(pl.Int64)
    elif name in _TEXTS:
        kind = pl.String
        values = [None if value is None else str(value) for value in values]
    elif name in _FLAGS:
        kind = pl.Boolean
    elif name in _INTEGERS:
        kind = pl.Int64
    elif name in _OTHERS or name.startswith(("log_", "utility.")):
        kind = pl.Float64
    else:
        raise DataError(
            f"column {name!r} is not part of the format. Rewards are `utility.<name>`, "
            "log-probs start with `log_`."
        )
    if isinstance(kind, pl.List) and not all(hasattr(value, "dtype") for value in values):
        values = [None if value is None else list(value) for value in values]
    try:
        series = pl.Series(name, values).cast(kind)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise DataError(f"column {name!r} cannot be stored as {kind}: {error}") from None
    return series.fill_nan(None) if kind == pl.Float64 else series
