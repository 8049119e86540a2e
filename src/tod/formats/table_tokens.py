"""Lists of log-probs per token as flat arrays: checked, summed and compared without a Python loop.

The checks and their words are those that ``Sink.sums`` has for one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import GapSums
from tod.diagnostics.drift import k3
from tod.formats.gather import TOLERANCE
from tod.formats.rows import Rows
from tod.formats.token_rows import PAIRS

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Lists:
    """One policy's lists.

    Attributes:
        known: Whether a row has a list, [N].
        sizes: Tokens of every row, [N]; 0 without a list.
        values: All tokens, row after row.
    """

    known: Any
    sizes: Any
    values: Any

    @property
    def starts(self) -> Any:
        """Where the tokens of every row begin, [N]."""
        return np.cumsum(self.sizes) - self.sizes

    def reduce(self, how: Any, values: Any, empty: float = np.nan) -> Any:
        """A ufunc over the tokens of every row, [N]; ``empty`` for rows without any."""
        found = np.full(len(self.sizes), empty)
        filled = self.sizes > 0
        if filled.any():
            found[filled] = how.reduceat(values, self.starts[filled])
        return found


@dataclass(frozen=True)
class Tokens:
    """The lists of a slice of rows, by policy, and what is handed on of them.

    Attributes:
        lists: By policy.
        sums: Sequence sums by policy, [N]; NaN where a row has no list.
        length: Tokens of every row, [N]; 0 without any list.
        taken: What a trust region takes of every row's tokens, [N], by name.
    """

    lists: Mapping[str, Lists]
    sums: Mapping[str, Any]
    length: Any
    taken: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: "pl.DataFrame", names: Mapping[str, Any]) -> "Tokens":
        """Columns ``t.<policy>`` of a table; values above 0 by rounding count as 0."""
        lists = {name: _flat(table[f"t.{name}"]) for name in names}
        sums = {n: x.reduce(np.add, np.minimum(x.values, 0.0)) for n, x in lists.items()}
        size = np.zeros(len(table), dtype=np.int64)
        for x in reversed(lists.values()):
            size = np.where(x.known, x.sizes, size)
        return cls(lists, sums, size)

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
            top = x.reduce(np.maximum, x.values, empty=-np.inf)
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
        for first, second in PAIRS:
            if first not in self.lists or second not in self.lists:
                continue
            a, b = self.lists[first], self.lists[second]
            both = good & a.known & b.known
            if not both.any():
                continue
            stale = behind[both] & (second == "mu")
            log_rho = np.minimum(_of(a, both), 0.0) - np.minimum(_of(b, both), 0.0)
            sums = _gaps(Lists(both[both], a.sizes[both], log_rho))
            for at in np.unique(step[both]).tolist():
                for other, mark in ((second, ~stale), ("mu, stale", stale)):
                    mine = (step[both] == at) & mark
                    if mine.any():
                        parts = {name: x[mine].sum().item() for name, x in sums.items()}
                        rows.gap(first, other, at).merge(GapSums(**parts))

    def part(self, mask: Any, gate: Any) -> "Tokens":
        """Sums and lengths of some rows, and what a gate takes; the lists are not needed any more.

        Args:
            mask: The rows.
            gate: Trust region whose toll is kept, or None.
        """
        sums = {name: values[mask] for name, values in self.sums.items()}
        return Tokens({}, sums, self.length[mask], {} if gate is None else self._toll(mask, gate))

    def _toll(self, mask: Any, gate: Any) -> dict[str, Any]:
        """As ``gate.columns`` for some rows; NaN where one of the two lists is missing."""
        found = {}
        for first, second in gate.pairs:
            if first not in self.lists or second not in self.lists:
                continue
            a, b = self.lists[first], self.lists[second]
            both = mask & a.known & b.known & (a.sizes > 0)
            flat = {n: np.minimum(_of(self.lists[n], both), 0.0) for n in (first, second)}
            for name, values in gate.columns(flat, Groups(a.sizes[both])).items():
                column = np.full(len(both), np.nan)
                column[both] = values
                found[name] = column[mask]
        return found


def _flat(column: "pl.Series") -> Lists:
    import polars as pl

    size = column.list.len()
    known = size.is_not_null().to_numpy()
    sizes = size.fill_null(0).cast(pl.Int64).to_numpy()
    filled = column.filter(pl.Series(sizes > 0))
    values = filled.explode().fill_null(float("nan")).to_numpy() if len(filled) else np.zeros(0)
    return Lists(known, sizes, values)


def _of(lists: Lists, mask: Any) -> Any:
    """The tokens of some rows."""
    return lists.values[np.repeat(mask, lists.sizes)]


def _gaps(rho: Lists) -> dict[str, Any]:
    """The terms of ``GapSums`` for every row."""
    x = rho.values
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            "tokens": rho.sizes,
            "total": rho.reduce(np.add, x),
            "absolute": rho.reduce(np.add, np.abs(x)),
            "k2": rho.reduce(np.add, x * x) / 2,
            "k3": rho.reduce(np.add, k3(0 * x, x)),
            "squares": rho.reduce(np.add, np.expm1(2 * x)),
        }
