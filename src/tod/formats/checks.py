"""Checks of values, token by token and row by row: what is no use is refused with its row.

One checker for lists of log-probs, wherever they come from: flat arrays, without a Python loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tod.base import DataError, Groups
from tod.base.text import counted
from tod.diagnostics import GapProfile, GapSums
from tod.formats.columns import FlatColumns, Rows
from tod.formats.jsonl import NOT_UTF8

if TYPE_CHECKING:
    import polars as pl

TOLERANCE = 1e-3
"""How far above 0 a log-prob may be: rounding of half-precision engines, as in Candidates."""
_BLOCK = 1 << 14
"""Tokens whose gaps are summed at once: what is computed of them stays in the cache."""
PAIRS = (("old", "mu"), ("policy", "old"), ("policy", "mu"), ("old", "ref"), ("policy", "ref"))
"""Policies whose gap is kept token by token: log first − log second."""


@dataclass(frozen=True)
class TokenLists:
    """One policy's lists.

    Attributes:
        known: Whether a row has a list, [N].
        sizes: Tokens of every row, [N]; 0 without a list.
        values: All tokens, row after row.
    """

    known: Any
    sizes: Any
    values: Any

    @classmethod
    def of_rows(cls, rows: Sequence[Any]) -> "TokenLists":
        """Of one list or array a row; None where a row has none."""
        known = np.array([x is not None for x in rows], dtype=bool)
        lists = [x for x in rows if x is not None]
        sizes = np.zeros(len(rows), dtype=np.int64)
        sizes[known] = [*map(len, lists)]
        if all(type(x) is list for x in lists):
            flat = np.fromiter(chain.from_iterable(lists), np.float64, int(sizes.sum()))
            return cls(known, sizes, flat)
        arrays = [np.asarray(x, dtype=np.float64) for x in lists]
        return cls(known, sizes, np.concatenate(arrays))

    @classmethod
    def of_column(cls, column: "pl.Series") -> "TokenLists":
        """Of a column of lists; a null in a list is NaN."""
        import polars as pl

        size = column.list.len()
        known = size.is_not_null().to_numpy()
        sizes = size.fill_null(0).cast(pl.Int64).to_numpy()
        filled = column.filter(pl.Series(sizes > 0))
        values = filled.explode().fill_null(float("nan")).to_numpy() if len(filled) else np.zeros(0)
        return cls(known, sizes, values)

    @property
    def starts(self) -> Any:
        """Where the tokens of every row begin, [N]."""
        return np.cumsum(self.sizes) - self.sizes

    def of(self, mask: Any) -> Any:
        """The tokens of some rows."""
        return self.values if mask.all() else self.values[np.repeat(mask, self.sizes)]

    def reduce(self, how: Any, empty: float = np.nan) -> Any:
        """A ufunc over the tokens of every row, [N]; ``empty`` for rows without any."""
        found = np.full(len(self.sizes), empty)
        filled = self.sizes > 0
        if filled.any():
            found[filled] = how.reduceat(self.values, self.starts[filled])
        return found


@dataclass(frozen=True)
class TokenColumns:
    """The lists of a slice of rows, by policy, and what is handed on of them.

    Attributes:
        lists: By policy.
        sums: Sequence sums by policy, [N]; NaN where a row has no list.
        top: The largest value of every row by policy, [N]; NaN where a value is, −∞ without any.
        length: Tokens of every row, [N]; 0 without any list.
        taken: What a trust region takes of every row's tokens, [N], by name.
    """

    lists: Mapping[str, TokenLists]
    sums: dict[str, Any]
    top: Mapping[str, Any]
    length: Any
    taken: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, lists: Mapping[str, TokenLists], rows: int) -> "TokenColumns":
        """The lists of ``rows`` rows by policy; values above 0 by rounding count as 0."""
        top = {n: x.reduce(np.maximum, empty=-np.inf) for n, x in lists.items()}
        lists = {
            n: replace(x, values=np.minimum(x.values, 0.0)) if (top[n] > 0).any() else x
            for n, x in lists.items()
        }
        sums = {n: x.reduce(np.add) for n, x in lists.items()}
        size = np.zeros(rows, dtype=np.int64)
        for x in reversed(list(lists.values())):
            size = np.where(x.known, x.sizes, size)
        return cls(lists, sums, top, size)

    def refuse(self, path: Path, row: Any, rows: Rows, stated: Any = None) -> Any:
        """Reject rows whose lists are no use, in their order; the mask of the others.

        Args:
            path: Their file.
            row: Their numbers in it, [N].
            rows: Where they are refused.
            stated: Lengths that the file states, [N], NaN where it does not; None without any.
        """
        found: dict[int, tuple[str, object, str]] = {}
        for name, x in self.lists.items():
            empty = x.known & (x.sizes == 0)
            top = self.top[name]
            for at in np.flatnonzero(empty | ~(top <= TOLERANCE)).tolist():
                why = "not a number" if np.isnan(top[at]) else "a positive log-prob"
                why = "not a list of one number per token" if empty[at] else why
                value = None if empty[at] else float(top[at])
                found.setdefault(at, (rows.field(f"log_{name}"), value, why))
        wrong = [] if stated is None else np.flatnonzero(self._misstated(stated)).tolist()
        for at in wrong:
            name = next(n for n, x in self.lists.items() if x.known[at])
            why = f"{self.length[at]} tokens in {rows.field(f'log_{name}')}"
            found.setdefault(at, (rows.field("length"), int(stated[at]), why))
        for at in np.flatnonzero(self._uneven()).tolist():
            held = {n: int(x.sizes[at]) for n, x in self.lists.items() if x.known[at]}
            sizes = {rows.field(f"log_{name}"): n for name, n in held.items()}
            shown = ", ".join(f"{n} in {field}" for field, n in sizes.items())
            found.setdefault(at, (next(iter(sizes)), shown, "lengths differ"))
        for at in sorted(found):
            rows.reject(path, int(row[at]), *found[at])
        good = np.ones(len(row), dtype=bool)
        good[list(found)] = False
        return good

    def _misstated(self, stated: Any) -> Any:
        """Rows that state another length than their first list has."""
        return (self.length > 0) & ~np.isnan(stated) & (stated != self.length)

    def _uneven(self) -> Any:
        """Rows whose lists differ in length."""
        most: Any = 0
        least: Any = np.iinfo(np.int64).max
        for x in self.lists.values():
            most = np.maximum(most, np.where(x.known, x.sizes, 0))
            least = np.minimum(least, np.where(x.known, x.sizes, np.iinfo(np.int64).max))
        return least < most

    def count_gaps(self, step: Any, good: Any, behind: Any, rows: Rows) -> None:
        """Add the token sums of the gaps between policies, by step.

        Args:
            step: Step of every row.
            good: Rows that count.
            behind: Rows whose sampler was behind: their log a − log μ is no engine mismatch.
            rows: Where the sums are kept.
        """
        known: tuple[Any, Any] = (None, None)
        order: Any
        tokens: Any
        for first, second in PAIRS:
            if first not in self.lists or second not in self.lists:
                continue
            a, b = self.lists[first], self.lists[second]
            both = good & a.known & b.known
            if not both.any():
                continue
            log_a, log_b, sizes = a.of(both), b.of(both), a.sizes[both]
            log_ref = self._reference(both) if second == "mu" else None
            key = step[both] * 2 + (behind[both] & (second == "mu"))
            if (key[1:] < key[:-1]).any():
                if not all(map(np.array_equal, known, (key, sizes))):  # most pairs share it
                    known, order = (key, sizes), np.argsort(key, kind="stable")
                    tokens = _tokens_of(order, sizes)
                key, sizes, log_a, log_b = key[order], sizes[order], log_a[tokens], log_b[tokens]
                log_ref = None if log_ref is None else log_ref[tokens]
            ends = np.cumsum(sizes)
            cuts = np.flatnonzero(np.diff(key) | np.diff(ends // _BLOCK)) + 1
            for start, end in pairwise([0, *cuts.tolist(), len(key)]):
                mine = slice(ends[start] - sizes[start], ends[end - 1])
                at, stale = divmod(int(key[start]), 2)
                sums = GapSums()
                sums.add(log_a[mine] - log_b[mine])
                rows.gap(first, "mu, stale" if stale else second, at).merge(sums)
                if second == "mu" and not stale and (first == "old" or "old" not in self.lists):
                    profile = rows.profiles.setdefault(at, GapProfile())
                    ref = None if log_ref is None else log_ref[mine]
                    profile.add(log_a[mine], log_b[mine], Groups(sizes[start:end]), sums, ref)

    def _reference(self, rows: Any) -> Any:
        """Log-probs of the reference for some rows; None unless all of them have them."""
        lists = self.lists.get("ref")
        return None if lists is None or not lists.known[rows].all() else lists.of(rows)

    def part(self, mask: Any, gate: Any) -> "TokenColumns":
        """Sums and lengths of some rows, and what a gate takes; the lists are not needed any more.

        Args:
            mask: The rows.
            gate: Trust region that is kept what it takes of, or None.
        """
        sums = {name: values[mask] for name, values in self.sums.items()}
        return TokenColumns(
            {}, sums, {}, self.length[mask], {} if gate is None else self._changed(mask, gate)
        )

    def _changed(self, mask: Any, gate: Any) -> dict[str, Any]:
        """As ``gate.columns`` for some rows; NaN where one of the two lists is missing."""
        found = {}
        for first, second in gate.pairs:
            if first not in self.lists or second not in self.lists:
                continue
            a, b = self.lists[first], self.lists[second]
            both = mask & a.known & b.known & (a.sizes > 0)
            flat = {n: self.lists[n].of(both) for n in (first, second)}
            for name, values in gate.columns(flat, Groups(a.sizes[both])).items():
                column = np.full(len(both), np.nan)
                column[both] = values
                found[name] = column[mask]
        return found


def _tokens_of(order: Any, sizes: Any) -> Any:
    """Places of the tokens of rows that are put in another order."""
    starts = (np.cumsum(sizes) - sizes)[order]
    sizes = sizes[order]
    return np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())


def check_values(columns: FlatColumns, required: tuple[str, ...], max_rejected: float) -> None:
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
                f"reward {name!r} is missing or NaN in {int(lacking.sum())} of {n} rows: left out"
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


def whole(columns: FlatColumns, name: str, most: float) -> Any:
    """A column that every row has, or None with a note; a few rows without an answer go instead."""
    values = getattr(columns, name)
    if name == "answer" and columns.rows.unanswered and values is not None:
        codes = np.ma.getdata(values) & np.int64(2**63 - 1)
        return np.where(np.ma.getmaskarray(values), -1, codes)
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


def _check_log(columns: FlatColumns, name: str, most: float) -> None:
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
        columns.drop(values == -np.inf, "log_mu", values, "mu cannot have drawn this rollout")


def _all_finite(values: Any) -> bool:
    """A finite sum has finite terms; one that overflows only costs the slow path."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()))


def drop_duplicates(columns: FlatColumns) -> int:
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
        way += "choose another reward with --map utility=NAME, "
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
