"""Rows of figures as they are read, and the table by step that they make."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from tod.base.text import counted, visible
from tod.logs.log import Figures, Rejected, Steps, shortened

MOST_CELLS = 1 << 25
"""Steps times keys of one table: a quarter of a gigabyte. The rarest keys beyond are left out."""
MOST_KEYS = 50_000
"""Keys of one log: real ones have at most some thousands."""
MOST_REJECTED = 1000
"""Rejections that are kept; all are counted."""
MOST_STEP = 2**53
"""Largest step that a double holds exactly."""
LONGEST_KEY = 512
"""Characters of a key; no framework writes a tenth of it."""
DEEPEST = 8
"""Nesting of mappings in a row that is followed."""

STEPS = (
    "train/global_step",
    "training/global_step",
    "trainer/global_step",
    "global_step",
    "step",
    "train/step",
    "rollout/step",
    "eval/step",
    "eval/global_step",
    "training_step",
    "global_step/max_steps",
    "iteration",
    "training_iteration",
    "iter",
    "update",
    "progress/batch",
    "steps",
    "Step",
    "trainer_step",
)
"""Keys that hold the training step, first choice first."""
COUNTERS = ("_step",)
"""Keys that count calls of a logger: the step of a log that holds no other."""
CLOCKS = ("_runtime", "_timestamp", "timestamp", "time", "wall_time")
"""Keys that hold seconds since the start or since 1970, first choice first."""


@dataclass
class _Shape:
    """The rows that have the same keys in the same order."""

    keys: tuple[str, ...]
    steps: tuple[int, ...]
    counters: tuple[int, ...]
    clock: int | None
    order: list[int] = field(default_factory=list)
    values: list[tuple[Any, ...]] = field(default_factory=list)

    def column(self, at: int) -> list[Any]:
        """The values of one key, in order."""
        return [values[at] for values in self.values]


@dataclass(frozen=True)
class LogTable:
    """Figures by step, under the keys of the file.

    Attributes:
        steps: Ascending, each once.
        columns: Key → one value a step, NaN where unknown.
        time: Seconds since the first record; None without a clock.
        not_finite: Key → steps at which it stood as NaN or infinity.
    """

    steps: Steps
    columns: dict[str, Figures]
    time: Figures | None
    not_finite: dict[str, Steps]


class LogRows:
    """Rows of one log in the order of the file.

    Values are taken as they come and looked at once, a column at a time, when the table is made.

    Args:
        steps: Keys that may hold the step, first choice first.
    """

    def __init__(self, steps: Sequence[str] = STEPS) -> None:
        self.step_keys = steps
        self.notes: list[str] = []
        self.rejected: list[Rejected] = []
        self.rejections = 0
        self.count = 0
        self.files: list[tuple[int, Path]] = []
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._lines: list[int] = []
        self._folded = False

    def open(self, file: Path) -> None:
        """What is added from here on comes from this file."""
        self.files.append((self.count, file))

    def add(self, line: int, row: Mapping[str, Any]) -> None:
        """One row of the file; mappings in it are flattened, their keys joined with ``/``."""
        if dict in map(type, row.values()):
            row = dict(_flat(row, "", DEEPEST))
        shape = self._shape(tuple(row))
        shape.order.append(self.count)
        shape.values.append(tuple(row.values()))
        self._lines.append(line)
        self.count += 1

    def extend(self, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of consecutive lines; those of the same keys, as most logs have, at once."""
        keys = tuple(rows[0]) if rows else ()
        alike = len(keys) > 1 and all(map(len(keys).__eq__, map(len, rows)))
        try:
            values = list(map(itemgetter(*keys), rows)) if alike else []
        except KeyError:
            values = []
        if not values or any(
            dict in set(map(type, column)) for column in zip(*values, strict=True)
        ):
            for line, row in enumerate(rows, start=first):
                self.add(line, row)
            return
        shape = self._shape(keys)
        shape.order.extend(range(self.count, self.count + len(values)))
        shape.values.extend(values)
        self._lines.extend(range(first, first + len(values)))
        self.count += len(values)

    def reject(
        self, line: int, name: str, value: object, why: str, file: Path | None = None
    ) -> None:
        """Name something that cannot be used."""
        self.rejections += 1
        if len(self.rejected) < MOST_REJECTED:
            where = file or (self.files[-1][1] if self.files else Path())
            text = "" if value is None else shortened(value)
            self.rejected.append(Rejected(where, line, visible(name[:LONGEST_KEY]), text, why))

    @property
    def keys(self) -> list[str]:
        """All keys of the rows, in order of their first row."""
        return list(dict.fromkeys(key for keys in self._shapes for key in keys))

    @property
    def began(self) -> float:
        """The first reading of a clock, seconds since 1970; 0 without one."""
        first = [
            _seconds(shape.values[0][shape.keys.index(key)])
            for shape in self._shapes.values()
            for key in ("_timestamp", "timestamp")
            if key in shape.keys
        ]
        return min((second for second in first if second is not None), default=0.0)

    def note(self, text: str) -> None:
        """Tell the reader something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def table(self, wanted: Callable[[str], bool] = lambda _: False) -> LogTable:
        """The figures by step.

        Of two values of one key at one step the later one counts; where half of the steps and more
        have several in a row, as of updates or ranks, their mean. A row without a step belongs to
        the step of the row before it; where no row has one, rows are numbered from 1.

        Args:
            wanted: Says of a key that it must hold numbers: text in it is named as a rejection,
                also where no row has a number.
        """
        row_steps, named = self._row_steps()
        steps = np.unique(row_steps[row_steps >= 0])
        columns, not_finite, again = self._columns(row_steps, steps, named, wanted)
        if again.count:
            first, last = again.span
            over = f"at step {first}" if first == last else f"between steps {first} and {last}"
            placed = row_steps[row_steps >= 0]
            back = " (a resumed run?)" if (np.diff(placed) < 0).any() else ""
            values = counted(again.count, "value")
            self.note(f"{values} written again {over}{back}: the last counts")
        return LogTable(steps, columns, self._times(row_steps, steps), not_finite)

    def _shape(self, keys: tuple[str, ...]) -> _Shape:
        """Where rows of these keys go."""
        if keys not in self._shapes:
            places = [
                tuple(keys.index(name) for name in names if name in keys)
                for names in (self.step_keys, COUNTERS, CLOCKS)
            ]
            clock = places[2][0] if places[2] else None
            self._shapes[keys] = _Shape(keys, places[0], places[1], clock)
        return self._shapes[keys]

    def _place(self, order: int) -> tuple[Path, int]:
        file = next((path for start, path in reversed(self.files) if start <= order), Path())
        return file, self._lines[order]

    def _row_steps(self) -> tuple[Steps, set[str]]:
        """Step of every row, -1 for rows that cannot be placed; and the keys that were steps."""
        shapes = list(self._shapes.values())
        primary = any(shape.steps for shape in shapes)
        steps = np.full(self.count, -1, np.int64)
        refused = np.zeros(self.count, bool)
        by_key: dict[str, list[int]] = {}
        for shape in shapes:
            places = shape.steps if primary else shape.counters
            whole = _whole_steps(shape.column(places[0])) if places else None
            if whole is not None:
                steps[shape.order] = whole
                by_key.setdefault(shape.keys[places[0]], []).extend(shape.order)
                continue
            for order, values in zip(shape.order, shape.values, strict=True):
                at = next((at for at in places if values[at] is not None), None)
                if at is None:
                    continue
                step = as_step(values[at])
                if step is not None:
                    steps[order] = step
                    by_key.setdefault(shape.keys[at], []).append(order)
                else:
                    refused[order] = True
                    file, line = self._place(order)
                    why = "not a step (a whole number from 0 to 2^53)"
                    self.reject(line, shape.keys[at], values[at], why, file)
        named = {*by_key, *COUNTERS}
        if not by_key:
            if self.count and not refused.any():
                self.note("no step is written: rows are numbered from 1")
                return np.arange(1, self.count + 1), named
            return steps, named
        self._fold(steps, by_key)
        known = steps >= 0
        rest = ~known & ~refused
        if rest.any():
            last = np.maximum.accumulate(np.where(known, np.arange(self.count), -1))
            placed = rest & (last >= 0)
            steps[placed] = steps[last[placed]]
            lost = int((rest & (last < 0)).sum())
            if lost:
                self.note(f"{counted(lost, 'row')} before the first step left out")
        return steps, named

    def _fold(self, steps: Steps, by_key: Mapping[str, list[int]]) -> None:
        """Several updates a rollout, counted apart from the rollouts (slime): put on their step."""
        updates, rollouts = (by_key.get(f"{name}/step") for name in ("train", "rollout"))
        if not updates or not rollouts:
            return
        each = round((int(steps[updates].max()) + 1) / (int(steps[rollouts].max()) + 1))
        if each > 1:
            steps[updates] //= each
            self._folded = True
            self.note(f"{each} updates a rollout: figures of updates stand at the rollout's step")

    def _columns(
        self, row_steps: Steps, steps: Steps, named: set[str], wanted: Callable[[str], bool]
    ) -> tuple[dict[str, Figures], dict[str, Steps], "_Again"]:
        pieces: dict[str, list[tuple[Steps, tuple[Any, ...]]]] = {}
        long = 0
        hidden = {*named, *STEPS, "_runtime", "_timestamp"}
        for shape in self._shapes.values():
            order = np.array(shape.order, np.int64)
            for key, values in zip(shape.keys, zip(*shape.values, strict=True), strict=True):
                if len(key) > LONGEST_KEY:
                    long += 1
                elif key not in hidden:
                    pieces.setdefault(key, []).append((order, values))
        if long:
            self.note(f"{counted(long, 'key')} of more than {LONGEST_KEY} characters left out")
        columns: dict[str, Figures] = {}
        not_finite: dict[str, Steps] = {}
        again = _Again()
        for key in self._affordable(pieces, len(steps)):
            shown = visible(key).replace("\n", "␊").replace("\t", "␉")
            found, numbers, odd = self._numbers(key, pieces[key], wanted(key))
            if numbers is None:  # texts
                continue
            at = row_steps[found]
            if odd.any():
                not_finite[shown] = np.unique(at[odd & (at >= 0)])
            usable = np.isfinite(numbers) & (at >= 0)
            where = np.searchsorted(steps, at[usable])
            column = np.full(len(steps), np.nan)
            column[where] = numbers[usable]
            if not self._folded and _several_a_step(where):
                total = np.bincount(where, weights=numbers[usable], minlength=len(steps))
                count = np.bincount(where, minlength=len(steps))
                np.divide(total, count, out=column, where=count > 0)
                self.note("several rows a step (updates, ranks): their mean counts")
            else:
                again.see(steps[where[column[where] != numbers[usable]]])
            columns[shown] = column
        return columns, not_finite, again

    def _affordable(self, pieces: Mapping[str, Any], steps: int) -> list[str]:
        """The keys that a table has room for, all of them in every real log."""
        most = min(MOST_KEYS, MOST_CELLS // max(steps, 1))
        if len(pieces) <= most:
            return list(pieces)
        size = {key: sum(len(order) for order, _ in held) for key, held in pieces.items()}
        kept = set(sorted(pieces, key=lambda key: -size[key])[:most])
        self.note(f"{len(pieces):,} different keys: the {most:,} with most values are read")
        return [key for key in pieces if key in kept]

    def _numbers(
        self, key: str, held: Sequence[tuple[Steps, tuple[Any, ...]]], needed: bool
    ) -> tuple[Any, Figures | None, Any]:
        """Row order, value (not finite for unknown), whether NaN or infinity was written."""
        order = held[0][0] if len(held) == 1 else np.concatenate([orders for orders, _ in held])
        values = held[0][1] if len(held) == 1 else tuple(v for _, some in held for v in some)
        try:
            numbers = np.array(values, dtype=np.float64)
            if numbers.shape != order.shape:
                raise ValueError
            bad: list[int] = []
        except (ValueError, TypeError, OverflowError):
            numbers, bad = _one_by_one(values)
        odd = ~np.isfinite(numbers)
        if odd.all() and not needed:
            empty = values.count(None) + values.count("")
            if len(bad) + empty == len(values):
                return order, None, None
        for at in bad:
            file, line = self._place(int(order[at]))
            self.reject(line, key, values[at], "not a number", file)
        if odd.any():
            missing = np.fromiter((value is None or value == "" for value in values), bool)
            missing[bad] = True
            odd &= ~missing
        if len(held) == 1:
            return order, numbers, odd
        sort = np.argsort(order, kind="stable")
        return order[sort], numbers[sort], odd[sort]

    def _times(self, row_steps: Steps, steps: Steps) -> Figures | None:
        """Seconds since the first record, by step: the last row of a step counts."""
        by_clock: dict[str, tuple[list[int], list[float]]] = {}
        for shape in self._shapes.values():
            if shape.clock is None:
                continue
            orders, seconds = by_clock.setdefault(shape.keys[shape.clock], ([], []))
            for order, values in zip(shape.order, shape.values, strict=True):
                second = _seconds(values[shape.clock])
                if second is not None and row_steps[order] >= 0:
                    orders.append(order)
                    seconds.append(second)
        if not any(orders for orders, _ in by_clock.values()):
            return None
        clock = max(by_clock, key=lambda name: len(by_clock[name][0]))
        row, read = np.asarray(by_clock[clock][0]), np.asarray(by_clock[clock][1])
        sort = np.argsort(row)
        if len(row) > 1 and (np.diff(read[sort]) < 0).mean() > 0.1:
            return None  # seconds that a step took, not a clock
        time = np.full(len(steps), np.nan)
        time[np.searchsorted(steps, row_steps[row[sort]])] = read[sort]
        since: Figures = time - read.min()
        return since


@dataclass
class _Again:
    """Values that were written a second time at the same step."""

    count: int = 0
    first: int | None = None
    last: int | None = None

    @property
    def span(self) -> tuple[int, int]:
        return self.first or 0, self.last or 0

    def see(self, steps: Steps) -> None:
        """Count the steps at which a later value took the place of another."""
        if not len(steps):
            return
        low, high = int(steps.min()), int(steps.max())
        self.count += len(steps)
        self.first = low if self.first is None else min(low, self.first)
        self.last = high if self.last is None else max(high, self.last)


def as_step(value: object) -> int | None:
    """A whole number from 0 on, also written ``12.0``, ``"12"`` or ``"12/100"``; None otherwise.

    >>> as_step(12), as_step("12/100"), as_step(12.0), as_step(12.5), as_step(-1), as_step(True)
    (12, 12, 12, None, None, None)
    """
    if type(value) is int:
        return value if 0 <= value <= MOST_STEP else None
    if isinstance(value, str):
        try:
            value = float(value.partition("/")[0][:40])
        except ValueError:
            return None
    if type(value) is not float or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MOST_STEP and value == int(value) else None


def _whole_steps(values: list[Any]) -> Steps | None:
    """A column of steps at once, where all of them are whole numbers; else None."""
    if (
        not values
        or set(map(type, values)) != {int}
        or not 0 <= min(values) <= max(values) <= MOST_STEP
    ):
        return None
    return np.array(values, np.int64)


def _seconds(value: object) -> float | None:
    """A clock's reading; dates as ISO 8601 become seconds since 1970."""
    if isinstance(value, str):
        from datetime import UTC, datetime

        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return None


def _one_by_one(values: Sequence[Any]) -> tuple[Figures, list[int]]:
    """Values as numbers, and the places of those that are none."""
    numbers = np.full(len(values), np.nan)
    bad = []
    for at, value in enumerate(values):
        if value is None or value == "":
            continue
        try:
            if isinstance(value, list | tuple | dict):
                raise TypeError
            numbers[at] = float(value)
        except (ValueError, TypeError):
            bad.append(at)
        except OverflowError:
            numbers[at] = math.inf
    return numbers, bad


def _several_a_step(where: Any) -> bool:
    """Whether values come step by step, several at half of the steps and more."""
    if len(where) < 4 or (np.diff(where) < 0).any():
        return False
    count = np.bincount(where)
    return bool((count > 1).sum() * 2 >= (count > 0).sum())


def _flat(row: Mapping[str, Any], before: str, deep: int) -> Iterator[tuple[str, Any]]:
    items: Iterable[tuple[Any, Any]] = row.items()
    for key, value in items:
        name = f"{before}{key}"
        if isinstance(value, dict):
            if deep and "_type" not in value:  # W&B's mark of media and histograms
                yield from _flat(value, f"{name}/", deep - 1)
        else:
            yield name, value
