"""Which columns are rewards, and rewards that come from a file of their own.

A framework logs extras among its rewards, and a reward may weigh nothing. The advantages are what
was trained on: within a group they are a positive multiple of the centred sum of the rewards. So
of several numeric columns those count whose sum the logged advantages follow.

A dump that leaves the rewards out takes them from a file that ``--map rewards=FILE`` names, Parquet
or JSON lines: ``row`` (place in the dump of its step, from 0), ``step`` if there are several, and
one column per utility (``utility.NAME``, or any number).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.formats.columns import Rows
from tod.formats.files import base_suffix
from tod.formats.jsonl import decode_blocks
from tod.formats.parquet import collect, scan
from tod.formats.row_by_row import as_float

TOTAL = "reward"
_MOST = 10
"""Columns that differ within groups: of more not every sum is tried."""
_SCREEN = 4096
"""Rows on which sums are sorted out before all rows are asked."""


@dataclass(frozen=True)
class LoggedColumns:
    """Numeric columns beside the advantages: [N] each, NaN where a row has none."""

    columns: Mapping[str, Any]
    advantage: Any
    group: Any

    @classmethod
    def of(cls, parts: Sequence["LoggedColumns"]) -> "LoggedColumns":
        """Several files as one: no group reaches from one to the next."""
        names = dict.fromkeys(name for part in parts for name in part.columns)
        ends = np.cumsum([0, *(part.group.max(initial=-1) + 1 for part in parts)])
        absent = [np.full(len(part.group), np.nan) for part in parts]
        columns = {
            name: _joined([p.columns.get(name, x) for p, x in zip(parts, absent, strict=True)])
            for name in names
        }
        group = [part.group + end for part, end in zip(parts, ends[:-1], strict=True)]
        return cls(columns, _joined([p.advantage for p in parts]), _joined(group).astype(np.int64))


def _joined(parts: list[Any]) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0)


def rewards_among(logged: LoggedColumns, rows: Rows) -> list[str]:
    """The columns whose sum is the utility, with a note on what that rests on.

    Groups in which neither the sum nor the advantage differs say nothing. Of sums that explain the
    advantages equally well the largest is taken. Where none does, all columns are.
    """
    names = list(logged.columns)
    known = np.isfinite(logged.advantage)
    group = np.unique(logged.group[known], return_inverse=True)[1]
    advantage = _centred(logged.advantage[known], group)
    columns = {name: _centred(logged.columns[name][known], group) for name in names}
    moving = [name for name in names if columns[name].any()]
    if not moving and not advantage.any():
        if len(names) > 1:
            rows.note(
                f"no group differs in any of {', '.join(names)}: all ties, whatever is summed"
            )
        return names
    tried = moving if len(moving) <= _MOST else []
    best = _best([columns[name] for name in tried], advantage, group) if known.any() else []
    if not best or not (best[0] or len(moving) < len(names)):
        rows.note(
            f"the logged advantages do not follow a sum of {', '.join(names)} (reward weights, or "
            "normalised one by one?): give the weights with --target, or name one with --map "
            "utility=NAME"
        )
        return names
    flat = [name for name in names if name not in moving]
    kept, *others = ([n for n in names if n in flat or n in {tried[i] for i in c}] for c in best)
    _say(rows, names, flat, kept, others)
    return kept


def _say(
    rows: Rows, names: list[str], flat: list[str], kept: list[str], others: list[list[str]]
) -> None:
    """What was left out, and what the advantages cannot tell."""
    beside = [name for name in names if name not in kept]
    if beside:
        rows.note(f"{', '.join(beside)}: logged beside the rewards, do not enter the advantages")
    if flat and len(kept) > 1:
        rows.note(
            f"{', '.join(flat)}: the same within every group, so the advantages cannot tell "
            "whether they are rewards; no weight depends on them"
        )
    if others:
        shown = " or ".join(" + ".join(other) for other in others[:3])
        rows.note(
            f"{' + '.join(kept)} is taken for the reward; {shown} would explain the advantages "
            "as well: --map utility=NAME chooses one column"
        )


def _best(columns: list[Any], advantage: Any, group: Any) -> list[tuple[int, ...]]:
    """Places of the columns whose sum explains the advantages best, the largest set first.

    The empty set is among them: advantages that are all zero are explained by no moving column.
    """
    sets = [c for n in range(len(columns) + 1) for c in combinations(range(len(columns)), n)]
    screen = np.flatnonzero(group < group[:_SCREEN].max() + 1) if len(group) else group
    if len(screen) < len(group):
        few = [x[screen] for x in columns]
        sets = [c for c in sets if _agreement(few, c, advantage[screen], group[screen]) > 0.9]
    found = [(_agreement(columns, c, advantage, group), c) for c in sets]
    top = max((score for score, _ in found), default=0.0)
    if top < 0.999:
        return []
    return sorted((c for score, c in found if score > top - 1e-6), key=len, reverse=True)


def explains(value: Any, advantage: Any, group: Any) -> bool:
    """Whether the advantage is a positive multiple of the centred value in every group."""
    known = np.isfinite(value) & np.isfinite(advantage)
    group = np.unique(group[known], return_inverse=True)[1]
    found = _cosines(_centred(value[known], group), _centred(advantage[known], group), group)
    return bool(found.size) and bool((found > 0.999).all())


def _agreement(columns: list[Any], places: tuple[int, ...], advantage: Any, group: Any) -> float:
    """Mean cosine of the sum of columns and the advantages; 1 where no group differs."""
    value = sum((columns[at] for at in places), start=np.zeros(len(advantage)))
    found = _cosines(value, advantage, group)
    return float(found.mean()) if found.size else 1.0


def _cosines(value: Any, advantage: Any, group: Any) -> Any:
    """Cosine of two centred columns in every group that differs in either, in [-1, 1].

    1 for centred, z-scored and batch-scaled advantages alike (GRPO, Dr. GRPO, RLOO): dividing by a
    deviation keeps the direction within a group. 0 where one differs and the other does not. Both
    within rounding is no difference: 0.1 eight times has a z-score of 1e-4 in single precision.
    """
    a, b = _unit(value), _unit(advantage)
    count = int(group.max(initial=-1)) + 1
    aa, bb, ab = (np.bincount(group, x, count) for x in (a * a, b * b, a * b))
    moves = (aa > 1e-6) | (bb > 1e-6)
    return (ab / np.sqrt(np.where((aa > 0) & (bb > 0), aa * bb, np.inf)))[moves]


def _unit(values: Any) -> Any:
    """Values on the scale of the largest."""
    most = np.abs(values).max(initial=0.0)
    return values / most if most > 0 else values


def _centred(values: Any, group: Any) -> Any:
    """Deviations from the mean of the group; 0 where they are rounding, or NaN counts as 0.

    TRL sums what is not NaN; what is infinite is rejected later, and tells nothing here.
    """
    values = np.where(np.isfinite(values), values, 0.0)
    count = np.maximum(np.bincount(group), 1)
    off = values - (np.bincount(group, values, len(count)) / count)[group]
    return np.where(np.abs(off) > 1e-9 * np.abs(values).max(initial=0.0), off, 0.0)


def utilities(chosen: Sequence[str], columns: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """The chosen columns, [N] each, their sum first where there are several.

    A column that the person named is a utility whatever the advantages say, but not in the sum.

    A reward function that does not apply writes NaN and counts as 0 in the sum, as in TRL; a row
    to which none applies has no utility.
    """
    n = len(next(iter(columns.values()), ()))
    told = rows.mapping.get("utility", "")
    named = {told: columns[told]} if told in columns else {}
    parts = {name: columns.get(name, np.full(n, np.nan)) for name in chosen}
    if len(parts) < 2:
        return parts | named
    name = TOTAL if TOTAL not in parts else "total"
    rows.note(
        f"`{name}` is the unweighted sum of {', '.join(chosen)}; if the run weighs them, say so "
        "with --target"
    )
    values = np.array(list(parts.values()))
    total = np.where(np.isnan(values).all(axis=0), np.nan, np.nansum(values, axis=0))
    return {name: total, **parts, **named}


_KEYS = ("step", "row")


@dataclass
class RewardFile:
    """Utilities by (step, row), and which of them were asked for."""

    path: Path
    known: dict[tuple[int | None, int], dict[str, float]]
    used: set[tuple[int | None, int]] = field(default_factory=set)
    stepless: bool = False

    def of(self, step: int, row: int) -> dict[str, float] | None:
        """The utilities of a row, or None."""
        key = (None if self.stepless else step, row)
        self.used.add(key)
        return self.known.get(key)

    def leftover(self) -> int:
        """How many of its rows no row of the dump asked for."""
        return len(self.known.keys() - self.used)


def reward_file(rows: Rows, dumps: int) -> RewardFile | None:
    """The file that ``--map rewards=FILE`` names; None without one.

    Args:
        rows: With what the person said; the file's bad rows are refused there.
        dumps: How many dumps it must serve: several need a ``step`` column.

    Raises:
        DataError: It does not exist, lacks ``row`` or ``step``, or holds no number.
    """
    name = rows.mapping.get("rewards")
    if name is None:
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"--map rewards={name}: no such file. It is looked for from here.")
    known: dict[tuple[int | None, int], dict[str, float]] = {}
    stepless = doubled = 0
    for number, item in _rows(path, rows):
        step, row = item.get("step"), item.get("row")
        utility = {
            str(key).removeprefix("utility."): value
            for key, given in item.items()
            if key not in _KEYS and (value := as_float(given)) is not None
        }
        if type(row) is not int or not (step is None or type(step) is int) or not utility:
            bad = "row" if type(row) is not int else "step" if utility else "utility"
            rows.reject(path, number, bad, item.get(bad), "missing, or not a number")
            continue
        stepless += step is None
        doubled += (step, row) in known
        known[step, row] = utility
    _check(path, len(known), stepless, dumps)
    if doubled:
        rows.note(f"{path}: {doubled} rows come twice: the last one counts")
    return RewardFile(path, known, stepless=bool(stepless))


def _check(path: Path, found: int, stepless: int, dumps: int) -> None:
    if not found:
        raise DataError(f"{path}: no row with `row` and a number: there are no rewards in it.")
    if stepless > 0 and (stepless < found or dumps > 1):
        raise DataError(
            f"{path}: {stepless} of {found} rows lack `step`, and there are {dumps} dumps. Add the "
            "training step to every row, or diagnose one dump at a time."
        )


def _rows(path: Path, rows: Rows) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if base_suffix(path) == ".parquet":
        table = collect(path, scan(path))
        yield from enumerate(table.iter_rows(named=True), start=1)
        return
    for numbers, items in decode_blocks(path, dict[str, Any], rows):
        yield from zip(numbers, items, strict=True)
