"""From rows to candidates: values checked, duplicates dropped, contexts made contiguous."""

from copy import copy
from typing import Any

import numpy as np

from tod.base import DataError, Groups
from tod.base.text import counted
from tod.formats.jsonl import NOT_UTF8
from tod.formats.rows import SHOWN, Rows

TOLERANCE = 1e-3
"""How far above 0 a log-prob may be: rounding of half-precision engines, as in Candidates."""


class Columns:
    """All blocks of a reader as flat columns, and the mask of rows that are still in."""

    def __init__(self, rows: Rows) -> None:
        blocks = rows.blocks
        self.rows = rows
        sizes = [len(block.code) for block in blocks]
        self.file = np.repeat(np.array([b.file for b in blocks], dtype=np.int32), sizes)
        self.code = _stack([b.code for b in blocks], np.int64)
        self.row = _stack([b.row for b in blocks], np.int64)
        self.utility = _named([b.utility for b in blocks], sizes)
        self.log = _named([b.log for b in blocks], sizes)
        self.taken = _named([b.taken for b in blocks], sizes, np.float32)
        self.length = _optional([b.length for b in blocks], sizes)
        self.answer = _optional([b.answer for b in blocks], sizes)
        self.lag = _optional([b.lag for b in blocks], sizes)
        self.identity = _optional([b.identity for b in blocks], sizes)
        self.alive = np.ones(len(self.code), dtype=bool)
        self.sample = _marks([b.sample for b in blocks], sizes)

    def part(self, mask: Any) -> "Columns":
        """Some of the rows, as columns of their own."""
        found = copy(self)
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray):
                setattr(found, name, values[mask])
            elif isinstance(values, dict):
                setattr(found, name, {key: x[mask] for key, x in values.items()})
        return found

    def drop(self, wrong: Any, name: str, values: Any, why: str) -> None:
        """Reject the rows where ``wrong``; the first ones are kept as examples.

        Args:
            wrong: Which rows, [N].
            name: The role that is no use: ``utility.NAME`` or ``log_NAME``.
            values: What they hold, [N]; None where that is nothing.
            why: Why that is no use.
        """
        field = self.rows.field(name)
        wrong = wrong & self.alive
        places = np.flatnonzero(wrong)
        for at in places[:SHOWN].tolist():
            path = self.rows.files[int(self.file[at])]
            held = None if values is None else float(values[at])
            self.rows.reject(path, int(self.row[at]), field, held, why)
        more = len(places) - SHOWN
        if more > 0:
            self.rows.rejected += more
            self.rows.reasons[field, why] += more
        self.alive &= ~wrong


def check_values(columns: Columns, required: tuple[str, ...], max_rejected: float) -> None:
    """Reject rows with unusable numbers; drop optional columns that too many rows lack."""
    rows = columns.rows
    n = max(len(columns.code), 1)
    for name in list(columns.utility):
        values, role = columns.utility[name], f"utility.{name}"
        if _all_finite(values):
            continue
        lacking = np.isnan(values) & columns.alive
        if name not in required and lacking.sum() > max_rejected * n:
            del columns.utility[name]
            rows.note(
                f"utility {name!r} is missing or NaN in {int(lacking.sum())} of {n} rows: left out"
            )
            continue
        columns.drop(np.isnan(values), role, values, "not a number")
        columns.drop(values == np.inf, role, values, "infinite")
        if not rows.forbidden:
            columns.drop(values == -np.inf, role, values, "infinite")
    for name in list(columns.log):
        _check_log(columns, name, max_rejected * n)
    for name in ("length", "answer", "lag", "identity"):
        setattr(columns, name, whole(columns, name, max_rejected * n))


def whole(columns: Columns, name: str, most: float) -> Any:
    """A column that every row has, or None with a note; a few rows without an answer go instead."""
    values = getattr(columns, name)
    if not isinstance(values, np.ma.MaskedArray):
        return values
    mask = np.ma.getmaskarray(values)
    lacking = mask & columns.alive
    count = int(lacking.sum())
    if name == "answer" and 0 < count <= most:
        columns.drop(lacking, name, None, "missing")
    elif count:
        of = f"{count} of {int(columns.alive.sum())} rows"
        known = columns.rows.field({"identity": "candidate"}.get(name, name))
        columns.rows.note(f"{known} is missing in {of}: left out")
        return None
    return values.filled(0)


def _check_log(columns: Columns, name: str, most: float) -> None:
    values = columns.log[name]
    if _all_finite(values) and values.max(initial=0.0) <= TOLERANCE:
        return
    lacking = np.isnan(values) & columns.alive
    if lacking.sum() > most:
        del columns.log[name]
        columns.rows.note(
            f"log_{name} is missing or NaN in {int(lacking.sum())} of {len(values)} rows: left out"
        )
        return
    columns.drop(np.isnan(values), f"log_{name}", values, "not a number")
    columns.drop(values > TOLERANCE, f"log_{name}", values, "a positive log-prob")
    if name == "mu":
        columns.drop(values == -np.inf, "log_mu", values, "mu cannot have drawn this candidate")


def _all_finite(values: Any) -> bool:
    """A finite sum has finite terms; one that overflows only costs the slow path."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()))


def drop_duplicates(columns: Columns) -> int:
    """Keep the last of rows with one identity in one context; how many were dropped."""
    if columns.identity is None or not len(columns.code):
        return 0
    if not _repeated(columns.code, columns.identity):
        return 0
    order = np.lexsort((np.arange(len(columns.code)), columns.identity, columns.code))
    code, identity = columns.code[order], columns.identity[order]
    superseded = np.zeros(len(order), dtype=bool)
    superseded[:-1] = (code[1:] == code[:-1]) & (identity[1:] == identity[:-1])
    earlier = np.zeros(len(order), dtype=bool)
    earlier[order] = superseded
    dropped = int((earlier & columns.alive).sum())
    columns.alive &= ~earlier
    return dropped


def _repeated(code: Any, identity: Any) -> bool:
    """Whether any (code, identity) may occur twice: a quick look through a 64-bit mix of both.

    Rows that come in order of both cannot.
    """
    same = code[1:] == code[:-1]
    if bool((code[1:] >= code[:-1]).all()) and bool((~same | (identity[1:] > identity[:-1])).all()):
        return False
    with np.errstate(over="ignore"):
        mixed = code.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + identity.astype(np.uint64)
        mixed ^= mixed >> np.uint64(29)
    mixed.sort()
    return bool((mixed[1:] == mixed[:-1]).any())


def merge_steps(columns: Columns) -> None:
    """Make contexts with the same key one context, whatever their step; it keeps the first."""
    first: dict[Any, int] = {}
    known = [first.setdefault(key, code) for code, (_, key) in enumerate(columns.rows.contexts)]
    columns.code = np.array(known, dtype=np.int64)[columns.code]


def arrange(columns: Columns) -> tuple[Any, Groups, Any, Any]:
    """Row order that makes contexts contiguous, their sizes, codes and steps.

    Contexts come by step, then by first appearance; candidates in the order of the files. The
    order is a full slice where nothing moves.
    """
    whole = bool(columns.alive.all())
    kept: Any = slice(None) if whole else np.flatnonzero(columns.alive)
    code = columns.code[kept]
    steps = np.array(columns.rows.context_steps, dtype=np.int64)
    sizes = np.bincount(code, minlength=len(steps))
    used = np.flatnonzero(sizes)
    if bool((code[1:] >= code[:-1]).all()) and bool((np.diff(steps[used]) >= 0).all()):
        return kept, Groups(sizes[used]), used, steps[used]
    first = np.zeros(len(steps), dtype=np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]  # of repeated places the last assignment stays
    ranked = used[np.lexsort((first[used], steps[used]))]
    rank = np.empty(len(steps), dtype=np.int64)
    rank[ranked] = np.arange(len(ranked))
    packed = (rank[code] << 32) | np.arange(len(code))  # both fit: sorting integers is fast
    packed.sort()
    order = packed & 0xFFFFFFFF
    return order if whole else kept[order], Groups(sizes[ranked]), ranked, steps[ranked]


def refuse_if_too_many(rows: Rows, accepted: int, max_rejected: float) -> None:
    """Fail rather than pretend.

    Raises:
        DataError: More than the allowed share was rejected, or nothing is left.
    """
    total = accepted + rows.rejected
    if accepted and rows.rejected - rows.torn <= max_rejected * total:
        return
    if not total:
        raise DataError(_nothing(rows))
    examples = "\n".join(f"  {item}" for item in rows.rejections[:5])
    kinds = "; ".join(
        f"{count} x {name}: {why}" for (name, why), count in rows.reasons.most_common(4)
    )
    way = "Mend these rows, "
    if any(why == NOT_UTF8 for _, why in rows.reasons):
        way = "Convert the file (for instance `iconv -f LATIN1 -t UTF-8 FILE`, by its encoding), "
    elif any(name != "line" for name, _ in rows.reasons):
        way += "choose another utility with --map utility=NAME, "
    raise DataError(
        f"{rows.rejected} of {total} rows cannot be used, over the allowed share of "
        f"{max_rejected:.2%} ({kinds}).\n{examples}\n{way}or allow more with "
        "--max-rejected."
    )


def _nothing(rows: Rows) -> str:
    """Why there is no row: other steps, or what the notes say."""
    said = f" What was noticed: {'; '.join(rows.notes[:4])}." if rows.notes else ""
    if rows.beyond is None:
        more = f" and {counted(len(rows.files) - 1, 'other file')}" if len(rows.files) > 1 else ""
        of = f" of {rows.files[0]}{more}" if rows.files else ""
        return f"no rows{of}: no rollouts there.{said}"
    first, last = rows.steps
    asked = first if first == last else f"{_open(first)}:{_open(last)}"
    there = " to ".join(map(str, dict.fromkeys(rows.beyond)))
    return f"no rows of the steps asked for ({asked}); other steps there: {there}.{said}"


def _open(end: int | None) -> str:
    return "" if end is None else str(end)


def _stack(parts: list[Any], kind: Any) -> Any:
    if not parts:
        return np.zeros(0, dtype=kind)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _optional(parts: list[Any], sizes: list[int]) -> Any:
    """A column that some rows may lack, masked there; None where no row has it."""
    if all(part is None for part in parts):
        return None
    whole = [
        np.ma.MaskedArray(np.zeros(size, dtype=np.int64), mask=True) if part is None else part
        for part, size in zip(parts, sizes, strict=True)
    ]
    if any(isinstance(part, np.ma.MaskedArray) for part in whole):
        return np.ma.concatenate(whole)  # type: ignore[no-untyped-call]
    return _stack(whole, None)


def _marks(parts: list[Any], sizes: list[int]) -> Any:
    """One mark per row; None if no block has any."""
    if all(part is None for part in parts):
        return None
    pairs = zip(parts, sizes, strict=True)
    return np.concatenate([np.zeros(n, dtype=bool) if part is None else part for part, n in pairs])


def _named(parts: list[Any], sizes: list[int], kind: Any = np.float64) -> dict[str, Any]:
    names = list(dict.fromkeys(name for part in parts for name in part))
    return {
        name: _stack(
            [
                part[name] if name in part else np.full(size, np.nan, kind)
                for part, size in zip(parts, sizes, strict=True)
            ],
            kind,
        )
        for name in names
    }
