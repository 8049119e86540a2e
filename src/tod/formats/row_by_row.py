"""The rows of one file on their way to columns, one at a time or many at once.

Contexts are interned, and lists of log-probs go through the checker of ``checks``; what is handed
on are scalars.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from tod.formats.checks import TokenColumns, TokenLists
from tod.formats.columns import Rows, some_unknown

_TOKENS = 1 << 20
"""Tokens of single rows that are held before they are checked: 8 MiB a policy."""
_ROWS = 1 << 16
_MOST = 1 << 31
_OPTIONAL = ("length", "answer", "lag", "identity", "segment", "segment_place")
_COLUMNS = (
    "row", "step", "key", "utility", "label", "log", "tokens", "stated", "length", "answer", "lag",
    "identity", "sample", "code", "logged",
    "segment", "segment_place",
)  # fmt: skip
Refusal = tuple[str, object, str]
"""The field that is no use, what it holds, and why."""


class FileRows:
    """The rows of one file; ``close`` hands over what is left of single ones."""

    def __init__(self, path: Path, rows: Rows) -> None:
        self.path = path
        self.rows = rows
        self.file = rows.start(path)
        self._clear()

    def _clear(self) -> None:
        self.held: list[tuple[Any, ...]] = []
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
        code: int | None = None,
        logged: Mapping[str, float | bool | None] | None = None,
        segment: int | None = None,
        segment_place: int | None = None,
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
            code: What ``regroup`` will tell its context by, of a file whose contexts are known at
                its end. All rows have one or none.
            logged: What only findings read, by name of ``LOGGED``.
            segment: What it shares with the other segments of one answer (see ``segments``).
            segment_place: Its place among them.
        """
        lists = tokens or {}
        self.held.append(
            (row, step, key, utility, label, log or {}, lists, stated, length, answer, lag,
             identity, sample, code, logged or {}, segment, segment_place)
        )  # fmt: skip
        self.count += sum(len(values) for values in lists.values() if values is not None)
        if self.count > _TOKENS or len(self.held) >= _ROWS:
            self.close()

    def reject(self, row: int, name: str, value: object, why: str) -> None:
        """Leave a row out."""
        self.rows.reject(self.path, row, name, value, why)

    def close(self) -> None:
        """Hand over the single rows that are held."""
        if not self.held:
            return
        lists = map(list, zip(*self.held, strict=True))
        columns: dict[str, Any] = dict(zip(_COLUMNS, lists, strict=True))
        self._clear()
        columns["label"] = columns["label"].__getitem__
        for name in ("utility", "log", "tokens", "logged"):
            columns[name] = _by_name(columns[name])
        self._add(columns)

    def extend(
        self,
        row: Sequence[int],
        step: Sequence[int],
        key: Sequence[Hashable],
        utility: Mapping[str, Sequence[Any]],
        *,
        refusal: Callable[[int], Refusal | None] | None = None,
        **columns: Any,
    ) -> None:
        """Many rows: a column of each of what ``put`` takes; without one nothing is known.

        Rows of steps that were not asked for are left out.

        Args:
            row: Their numbers in the file.
            step: Their training steps.
            key: What tells their contexts; None for a row that is no use.
            utility: By name.
            refusal: Of the place of such a row: what is wrong with it; None: it is not counted.
            columns: The others of ``put``, by its names; ``label`` is a function of the place,
                asked for the first row of a context. ``texts`` are codes of the prompts and of the
                completions and the completions' characters, by name.
        """
        columns |= {"row": row, "step": step, "key": key, "utility": utility}
        if self.rows.steps != (None, None):
            asked = {at: self.rows.wanted(at) for at in dict.fromkeys(step)}
            columns = _some(columns, [asked[at] for at in step])
        if refusal is not None and None in columns["key"]:
            for place, known in enumerate(key):
                if known is None and self.rows.wanted(step[place]):
                    why = refusal(place)
                    if why is not None:
                        self.reject(row[place], *why)
            columns = _some(columns, [known is not None for known in columns["key"]])
        self._add(columns)

    def regroup(self, code: Any) -> None:
        """Give the rows added so far their contexts: by the ``code`` that they were added with."""
        for place, block in enumerate(self.rows.blocks):
            if block.file == self.file:
                self.rows.blocks[place] = replace(block, code=code[block.code])

    def _add(self, columns: dict[str, Any]) -> None:
        for name in ("length", "lag"):
            columns = self._in_range(columns, name)
        if (columns.get("code") or [None])[0] is None:
            columns["code"] = self._codes(columns)
        lists = {
            name: TokenLists.of_rows(values)
            for name, values in (columns.get("tokens") or {}).items()
            if any(x is not None for x in values)
        }
        tokens = None
        if lists:
            tokens, good = self._checked(lists, columns)
            columns = columns if good.all() else _some(columns, good.tolist())
            said = columns.get("length") or [None] * len(columns["row"])
            pairs = zip(said, tokens.length.tolist(), strict=True)
            columns["length"] = [n or None if told is None else told for told, n in pairs]
        sample = columns.get("sample")
        self.rows.add(
            self.file,
            columns["code"],
            columns["row"],
            columns["utility"],
            (columns.get("log") or {}) | ({} if tokens is None else tokens.sums),
            sample=sample if sample and any(sample) else None,
            taken=None if tokens is None else tokens.taken,
            logged=columns.get("logged"),
            texts=columns["texts"].values() if columns.get("texts") else None,
            **{name: some_unknown(columns.get(name)) for name in _OPTIONAL},
        )

    def _in_range(self, columns: dict[str, Any], name: str) -> dict[str, Any]:
        """Refuse rows whose length or lag four bytes do not hold."""
        known = [n for n in columns.get(name) or () if n is not None]
        if not known or (max(known) < _MOST and min(known) > -_MOST):
            return columns
        good = [n is None or abs(n) < _MOST for n in columns[name]]
        for place, inside in enumerate(good):
            if not inside:
                self.reject(columns["row"][place], name, columns[name][place], "out of range")
        return _some(columns, good)

    def _codes(self, columns: Mapping[str, Any]) -> list[int]:
        """The context of every row."""
        label, known = columns.get("label"), self.rows.contexts
        pairs = [*zip(columns["step"], columns["key"], strict=True)]
        first = {pair: place for place, pair in reversed([*enumerate(pairs if label else ())])}
        for pair in dict.fromkeys(pairs):
            if pair not in known:
                self.rows.context(*pair, None if label is None else label(first[pair]))
        return [*map(known.__getitem__, pairs)]

    def _checked(
        self, lists: Mapping[str, TokenLists], columns: Mapping[str, Any]
    ) -> tuple[TokenColumns, Any]:
        """Sums of the rows whose lists are good, and the mask of these rows."""
        n = len(columns["row"])
        tokens = TokenColumns.of(lists, n)
        stated = np.array(columns.get("stated") or [None] * n, dtype=np.float64)
        good = tokens.refuse(self.path, np.asarray(columns["row"]), self.rows, stated)
        drawn = good & ~np.array(columns.get("sample") or [False] * n)
        behind = np.array([bool(lag) for lag in columns.get("lag") or [0] * n])
        tokens.count_gaps(np.array(columns["step"]), drawn, behind, self.rows)
        return tokens.part(good, self.rows.gate), good


def _some(columns: Mapping[str, Any], mask: Sequence[bool]) -> dict[str, Any]:
    """The rows where the mask is on; a ``label`` is asked by its place before."""
    places = [*compress(range(len(mask)), mask)]

    def of(x: Any) -> Any:
        if callable(x):
            return lambda place: x(places[place])
        if isinstance(x, Mapping):
            return {name: of(values) for name, values in x.items()}
        return None if x is None else [*compress(x, mask)]

    return {name: of(values) for name, values in columns.items()}


def _by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of what every row has by name, None where it lacks one."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


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


def turns_of(mask: Any) -> int:
    """Turns that the policy had: runs of tokens that are its own, by a mask over the tokens."""
    on = np.asarray(mask) != 0
    return int(on[:1].sum() + (on[1:] & ~on[:-1]).sum())
