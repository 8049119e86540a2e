"""Rows one at a time, for formats whose rows are decoded one at a time.

They are gathered into columns; their lists of log-probs go through the checker of ``checks`` some
million tokens at a time.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tod.formats.checks import TokenColumns, TokenLists
from tod.formats.columns import Rows, some_unknown

_TOKENS = 1 << 20
"""Tokens that are held before they are checked: 8 MiB a policy."""
_ROWS = 1 << 16
_MOST = 1 << 31
_OPTIONAL = ("length", "answer", "lag", "identity")


class FileRows:
    """The rows of one file; ``close`` hands over what is left."""

    def __init__(self, path: Path, rows: Rows) -> None:
        self.path = path
        self.rows = rows
        self.file = rows.start(path)
        self._clear()

    def _clear(self) -> None:
        self.held: list[dict[str, Any]] = []
        self.count = 0

    def put(
        self,
        row: int,
        step: int,
        key: Hashable,
        utility: Mapping[str, float | bool | None],
        *,
        label: str | None = None,
        log: Mapping[str, float] | None = None,
        tokens: Mapping[str, Any] | None = None,
        stated: int | None = None,
        length: int | None = None,
        answer: int | None = None,
        lag: int | None = None,
        identity: int | None = None,
        sample: bool = False,
    ) -> None:
        """One row; what is None or absent is unknown.

        Args:
            row: Its number in the file.
            step: Its training step.
            key: What tells its context from others of the step.
            utility: By name.
            label: The context's name for people, if it is not the key.
            log: Sequence sums by policy, nats.
            tokens: Log-probs of its tokens by policy, one list or array each. They are summed; the
                gaps between policies are kept by step, where the row is no ``sample``.
            stated: Tokens that the file says it has, which the lists must have too.
            length: Tokens of the policy; where it is None the lists say it.
            answer: A code of its answer.
            lag: Versions between the sampler and the trainer.
            identity: What tells it from others of its context.
            sample: Whether it was drawn from the target and not from μ.
        """
        for name, count in (("length", length), ("lag", lag)):
            if count is not None and not abs(count) < _MOST:
                self.reject(row, name, count, "out of range")
                return
        known = {name: list_ for name, list_ in (tokens or {}).items() if list_ is not None}
        self.held.append(
            {
                "row": row, "code": self.rows.context(step, key, label), "step": step,
                "utility": utility, "log": log or {}, "tokens": known, "stated": stated,
                "length": length, "answer": answer, "lag": lag, "identity": identity,
                "sample": sample,
            }
        )  # fmt: skip
        self.count += sum(map(len, known.values()))
        if self.count > _TOKENS or len(self.held) >= _ROWS:
            self.close()

    def reject(self, row: int, name: str, value: object, why: str) -> None:
        """Leave a row out."""
        self.rows.reject(self.path, row, name, value, why)

    def close(self) -> None:
        """Check the tokens of the rows held, and hand the rows over."""
        held, columns = self.held, _Held(self.held)
        self._clear()
        if not held:
            return
        tokens, log = None, columns.named("log")
        if any(item["tokens"] for item in held):
            tokens, good = self._checked(held)
            held = [item for item, usable in zip(held, good, strict=True) if usable]
            columns = _Held(held)
            if not held:
                return
            log = columns.named("log") | tokens.sums
        length = columns.of("length")
        if tokens is not None:
            length = [n or None if said is None else said
                      for said, n in zip(length, tokens.length.tolist(), strict=True)]  # fmt: skip
        optional = {name: columns.of(name) for name in _OPTIONAL} | {"length": length}
        sample = columns.of("sample")
        self.rows.add(
            self.file,
            columns.of("code"),
            columns.of("row"),
            columns.named("utility"),
            log,
            sample=sample if any(sample) else None,
            taken=None if tokens is None else tokens.taken,
            **{name: some_unknown(values) for name, values in optional.items()},
        )

    def _checked(self, held: list[dict[str, Any]]) -> tuple[TokenColumns, Any]:
        """Sums of the rows whose lists are good, and the mask of these rows."""
        names = list(dict.fromkeys(name for item in held for name in item["tokens"]))
        lists = {n: TokenLists.of_rows([item["tokens"].get(n) for item in held]) for n in names}
        columns, tokens = _Held(held), TokenColumns.of(lists, len(held))
        stated = np.array([math.nan if n is None else n for n in columns.of("stated")])
        good = tokens.refuse(self.path, np.array(columns.of("row")), self.rows, stated)
        drawn = good & ~np.array(columns.of("sample"))
        behind = np.array([bool(lag) for lag in columns.of("lag")])
        tokens.count_gaps(np.array(columns.of("step")), drawn, behind, self.rows)
        return tokens.part(good, self.rows.gate), good


class _Held:
    """Rows that are held, as columns."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows

    def of(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    def named(self, name: str) -> dict[str, Any]:
        """Columns by name of what every row has by name, NaN where it lacks one."""
        inside = [row[name] for row in self.rows]
        names = dict.fromkeys(key for item in inside for key in item)
        return {
            key: np.array([item.get(key) for item in inside], dtype=np.float64) for key in names
        }


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
