"""Row by row: for formats whose rows carry tokens, and so are few and large."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tod.formats.gather import TOLERANCE
from tod.formats.rows import Rows, some_unknown

NAN = float("nan")
_MOST = 1 << 31
PAIRS = (("old", "mu"), ("policy", "old"), ("policy", "mu"), ("old", "ref"), ("policy", "ref"))


class Sink:
    """Rows of one file, gathered into columns and handed over by ``close``."""

    def __init__(self, path: Path, rows: Rows) -> None:
        self.path = path
        self.rows = rows
        self.file = rows.start(path)
        self.count = 0
        self.columns: dict[str, list[Any]] = {
            name: [] for name in ("code", "row", "length", "answer", "lag", "identity", "sample")
        }
        self.utility: dict[str, list[float]] = {}
        self.log: dict[str, list[float]] = {}
        self.taken: dict[str, list[float]] = {}
        self._taken: Mapping[str, Any] = {}

    def put(
        self,
        row: int,
        code: int,
        utility: Mapping[str, float | bool | None],
        log: Mapping[str, float] | None = None,
        *,
        length: int | None = None,
        answer: int | None = None,
        lag: int | None = None,
        identity: int | None = None,
        sample: bool = False,
    ) -> None:
        """One row; what is None or absent is unknown. ``sample``: drawn from the target."""
        for name, count in (("length", length), ("lag", lag)):
            if count is not None and not abs(count) < _MOST:
                self.reject(row, name, count, "out of range")
                return
        given = {"code": code, "row": row, "length": length, "answer": answer, "lag": lag}
        for name, field in {**given, "identity": identity, "sample": sample}.items():
            self.columns[name].append(field)
        taken, self._taken = self._taken, {}
        for table, values in (
            (self.utility, utility),
            (self.log, log or {}),
            (self.taken, taken),
        ):
            for name, value in values.items():
                column = table.setdefault(name, [])
                column.extend([NAN] * (self.count - len(column)))
                column.append(NAN if value is None else float(value))
        self.count += 1

    def reject(self, row: int, name: str, value: object, why: str) -> None:
        """Leave a row out."""
        self.rows.reject(self.path, row, name, value, why)

    def sums(
        self,
        row: int,
        step: int,
        tokens: Mapping[str, Any],
        *,
        lag: int | None = None,
        sample: bool = False,
        stated: int | None = None,
    ) -> dict[str, float] | None:
        """Sequence sums of token log-probs by policy name; None when the row was rejected.

        The lists must be equally long, and as long as the file states, where it does.

        Token sums of the gaps between policies are kept by step: log π_old − log μ counts as
        engine mismatch only where the sampler was not behind (``lag`` 0 or unknown), and a sample
        of the target does not count: the gaps are means over draws of μ.
        """
        arrays: dict[str, Any] = {}
        self._taken = {}
        for name, values in tokens.items():
            array = self._tokens(row, self.rows.field(f"log_{name}"), values)
            if array is None:
                return None
            arrays[name] = array
        sizes = {self.rows.field(f"log_{name}"): array.size for name, array in arrays.items()}
        first = next(iter(sizes), "")
        if stated is not None and sizes and sizes[first] != stated:
            why = f"{sizes[first]} tokens in {first}"
            self.reject(row, self.rows.field("length"), stated, why)
            return None
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{n} in {field}" for field, n in sizes.items())
            self.reject(row, first, shown, "lengths differ")
            return None
        for first, second in PAIRS:
            if first in arrays and second in arrays and not sample:
                other = "mu, stale" if second == "mu" and lag else second
                self.rows.gap(first, other, step).add(arrays[first] - arrays[second])
        if self.rows.gate is not None:
            self._taken = self.rows.gate.columns(arrays)
        return {name: float(array.sum()) for name, array in arrays.items()}

    def _tokens(self, row: int, field: str, values: Any) -> Any:
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            self.reject(row, field, None, "not a list of numbers")
            return None
        if array.ndim != 1 or not array.size:
            self.reject(row, field, None, "not a list of one number per token")
            return None
        top = float(array.max())  # NaN if any is
        if not top <= TOLERANCE:
            why = "not a number" if math.isnan(top) else "a positive log-prob"
            self.reject(row, field, top, why)
            return None
        return np.minimum(array, 0.0)

    def close(self) -> None:
        """Hand the rows over."""
        for table in (self.utility, self.log, self.taken):
            for column in table.values():
                column.extend([NAN] * (self.count - len(column)))
        optional = ("length", "answer", "lag", "identity")
        known = {name: some_unknown(self.columns[name]) for name in optional if self.count}
        self.rows.add(
            self.file,
            self.columns["code"],
            self.columns["row"],
            self.utility,
            self.log,
            sample=self.columns["sample"] if any(self.columns["sample"]) else None,
            taken=self.taken,
            **known,
        )


def as_float(value: object) -> float | None:
    """A number as a float; None for what is none, or is beyond the largest float."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def is_number(text: str) -> bool:
    """Whether a text is a number, as rewards are that were written as text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def masked(values: Any, mask: Any) -> Any:
    """The entries where the mask is on; None where the lengths differ."""
    array, on = np.asarray(values, dtype=np.float64), np.asarray(mask, dtype=bool)
    return array[on] if array.shape == on.shape and array.ndim == 1 else None


def runs(keys: Sequence[Any], size: int | None = None) -> list[int]:
    """Group number of every row when a group is a run of equal keys.

    Equal prompts that happen to be neighbours would merge; runs are split into pieces of the
    common size: ``size`` if it is known, else the greatest common divisor of all run lengths.
    """
    if not keys:
        return []
    starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    lengths = [b - a for a, b in zip(starts, [*starts[1:], len(keys)], strict=True)]
    common = size or math.gcd(*lengths)
    groups: list[int] = []
    number = -1
    for length in lengths:
        piece = common if common > 1 and length % common == 0 else length
        for at in range(length):
            number += at % piece == 0
            groups.append(number)
    return groups
