"""A batch that no one machine holds: diagnostics of its shards, which add up to those of all.

    totals = ShardDiagnostics.of(measure(log_w, tilt, contexts), log_w, contexts)   on every machine
    sum_of_shards(all_of_them).summary()                                            on one

A shard keeps a few megabytes however many candidates it has. Counts, means, pass@K, the mean of ρ
and its z, and the pooled k̂ of the sum are those of the whole batch; medians and quantiles are
those of the whole to a relative `sketch.ACCURACY`, and the same however the batch was split.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol, Self, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Array, DataError, Groups, to_numpy
from tod.base.brief import Brief
from tod.diagnostics.classes import INFORMATIVE, INVALID, SINGLETON, ZERO_INFORMATION
from tod.diagnostics.coverage import RhoTotals, usable
from tod.diagnostics.pareto import largest_mean_one, pareto_of_largest
from tod.diagnostics.quantiles import most_common, rank
from tod.diagnostics.sketch import LogCounts
from tod.diagnostics.summary import (
    ContextCounts,
    Diagnostics,
    Summary,
    coverage_record,
    ess_rel_record,
    overlap_record,
    tails_record,
)

__all__ = ["ShardDiagnostics", "sum_of_shards"]

LARGEST = 1 << 17
"""Weights that a sum holds for the tail: enough for 3√S of S = 1.9·10⁹ candidates, 1 MiB."""
COLUMNS = (
    "ess_rel",
    "max_weight",
    "log_w_variance",
    "top_mass",
    "policy_proposal",
    "target_policy",
    "carried_by",
)
"""Columns of `Diagnostics` that a summary reads quantiles of."""

Sizes = Mapping[int, int]
"""Number of contexts by K."""


@dataclass(frozen=True)
class Passes:
    """Passes of a binary utility in valid contexts.

    Attributes:
        valid: Contexts that have weights.
        some: Of them, those with a pass.
        blind_all: Zero-information contexts in which all pass.
        blind_none: Zero-information contexts in which none passes.
        fail: Value of a failure, 0 or −1; None where everything passes.
    """

    valid: int
    some: int
    blind_all: int
    blind_none: int
    fail: float | None

    def __add__(self, other: "Passes") -> "Passes | None":
        """Of both; None where a failure is another value: the utility is not binary then."""
        levels = {level for level in (self.fail, other.fail) if level is not None}
        if len(levels) > 1:
            return None
        return Passes(
            self.valid + other.valid,
            self.some + other.some,
            self.blind_all + other.blind_all,
            self.blind_none + other.blind_none,
            levels.pop() if levels else None,
        )


@dataclass(frozen=True, eq=False, repr=False)
class ShardDiagnostics(Brief):
    """Diagnostics of a shard in a few megabytes; ``a + b`` is that of the contexts of both.

    Attributes:
        codes: Contexts by class code.
        sizes: Contexts by K: all, informative and readable ones, by name.
        columns: Counts of a column by its name, its readers (a key of ``sizes``) and K.
        largest: The largest log K w̄ of informative contexts, ascending, at most ``LARGEST``.
        rho: What the mean of π/μ needs; None where log π is not recorded.
        missing: Sum over informative contexts of the missing mass, and their number; None where
            no answers were recorded.
        passes: None unless the utility is binary.
        legs_declared: Legs of the overlap known by declaration.
        legs_not_applicable: Legs that mean nothing here.
        recorded: Names of the columns.
    """

    codes: Mapping[int, int]
    sizes: Mapping[str, Sizes]
    columns: Mapping[tuple[str, str, int], LogCounts]
    largest: Float[np.ndarray, " M"]
    rho: RhoTotals | None = None
    missing: tuple[float, int] | None = None
    passes: Passes | None = None
    legs_declared: tuple[str, ...] = ()
    legs_not_applicable: tuple[str, ...] = ()
    recorded: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(
        cls, diagnostics: Diagnostics, log_w: Float[Array, " N"], contexts: Groups
    ) -> "ShardDiagnostics":
        """Of a shard that was measured.

        Args:
            diagnostics: What `measure` returned.
            log_w: The log-weights that it was measured from, nats.
            contexts: Their contexts.

        Raises:
            DataError: ``diagnostics`` is of another number of contexts.
        """
        d = diagnostics
        if len(d) != len(contexts):
            raise DataError(
                f"diagnostics of {len(d)} prompts and groups of {len(contexts)}: hand in the "
                "groups that were measured."
            )
        readers = {"informative": d.informative, "readable": readable(d)}
        sizes = {"all": _by_size(d.k)}
        sizes |= {who: _by_size(d.k[mask]) for who, mask in readers.items()}
        recorded = frozenset(name for name in COLUMNS if getattr(d, name) is not None)
        columns = {
            (name, who, k): LogCounts.of(values)
            for who, mask in readers.items()
            for name in sorted(recorded)
            for k, values in zip(sizes[who], _apart(getattr(d, name), d.k, mask), strict=True)
        }
        mass = None if d.missing_mass is None else d.missing_mass[d.informative]
        return cls(
            codes=_by_size(d.codes),
            sizes=sizes,
            columns=columns,
            largest=largest_mean_one(
                to_numpy(log_w), contexts, d.informative, d.max_weight, d.log_z, LARGEST
            ),
            rho=None if d.rho is None else RhoTotals.of(usable(d.rho)),
            missing=None if mass is None else (float(mass.sum()), len(mass)),
            passes=_passes(d),
            legs_declared=d.legs_declared,
            legs_not_applicable=d.legs_not_applicable,
            recorded=recorded,
        )

    def __add__(self, other: "ShardDiagnostics") -> "ShardDiagnostics":
        """Of the contexts of both.

        Raises:
            DataError: One was measured with columns or legs that the other lacks.
        """
        if not self.sizes["all"] or not other.sizes["all"]:
            return self if self.sizes["all"] else other
        _check_alike(self, other)
        rho = None if self.rho is None or other.rho is None else self.rho + other.rho
        missing = None
        if self.missing is not None and other.missing is not None:
            missing = (self.missing[0] + other.missing[0], self.missing[1] + other.missing[1])
        passes = None
        if self.passes is not None and other.passes is not None:
            passes = self.passes + other.passes
        both = np.sort(np.concatenate([self.largest, other.largest]))
        return ShardDiagnostics(
            codes=_added(self.codes, other.codes),
            sizes={who: _added(self.sizes[who], other.sizes[who]) for who in self.sizes},
            columns=_added(self.columns, other.columns),
            largest=both[-LARGEST:],
            rho=rho,
            missing=missing,
            passes=passes,
            legs_declared=self.legs_declared,
            legs_not_applicable=self.legs_not_applicable,
            recorded=self.recorded,
        )

    @property
    def k(self) -> int | None:
        """The most common K among informative contexts, else among readable ones."""
        for who in ("informative", "readable"):
            sizes = sorted(k for k in self.sizes[who] if k > 1)
            if sizes:
                return most_common(sizes, np.array([self.sizes[who][k] for k in sizes]))
        return None

    def has(self, name: str) -> bool:
        """Whether the column was recorded."""
        return name in self.recorded

    def __call__(self, name: str, *, readable: bool = False, at_k: bool = False) -> LogCounts:
        """The counts of informative (or all readable) contexts, perhaps of the common K only."""
        who = "readable" if readable else "informative"
        sizes = [self.k] if at_k else list(self.sizes[who])
        empty = LogCounts.of(np.empty(0))
        return sum((self.columns.get((name, who, k or 0), empty) for k in sizes), start=empty)

    def summary(self) -> Summary:
        """One record of all shards, as `Diagnostics.summary` makes it of one batch.

        What needs more than log-weights is None; put it in with `dataclasses.replace`. The pooled
        k̂ is None where its tail is longer than the weights that a sum holds.
        """
        draws = sum(k * count for k, count in self.sizes["informative"].items())
        rho = self.rho
        of_rho = None if rho is None or not np.isfinite(rho.top) else rho.mean_rho()
        mean_missing = (
            self.missing[0] / self.missing[1] if self.missing and self.missing[1] else None
        )
        return Summary(
            contexts=self._counts(),
            ess_rel=ess_rel_record(self),
            tails=tails_record(self, pareto_of_largest(self.largest, draws)),
            overlap=overlap_record(self, self.legs_declared, self.legs_not_applicable),
            coverage=coverage_record(of_rho, mean_missing, self._passed(), None),
        )

    def _passed(self) -> float | None:
        passes = self.passes
        return passes.some / passes.valid if passes is not None and passes.valid else None

    def _counts(self) -> ContextCounts:
        passes, sizes = self.passes, self.sizes["all"]
        total = sum(sizes.values())
        return ContextCounts(
            total=total,
            informative=self.codes.get(INFORMATIVE, 0),
            zero_information=self.codes.get(ZERO_INFORMATION, 0),
            all_pass=None if passes is None else passes.blind_all,
            all_fail=None if passes is None else passes.blind_none,
            singleton=self.codes.get(SINGLETON, 0),
            invalid=self.codes.get(INVALID, 0),
            candidates_per_context={
                "min": min(sizes),
                "median": _ranked(sizes, rank(total, 0.5)),
                "max": max(sizes),
            }
            if sizes
            else {},
        )


def sum_of_shards(shards: Iterable[ShardDiagnostics]) -> ShardDiagnostics:
    """All shards in one, added in the order they come in.

    Raises:
        DataError: There are none, or they were measured in different ways.
    """
    every = iter(shards)
    first = next(every, None)
    if first is None:
        raise DataError("no shard: a sum of diagnostics needs at least one.")
    return reduce(lambda a, b: a + b, every, first)


def readable(d: Diagnostics) -> Bool[np.ndarray, " C"]:
    """Contexts that are neither singleton nor invalid, [C]."""
    mask: Bool[np.ndarray, " C"] = d.informative | (d.codes == ZERO_INFORMATION)
    return mask


def _by_size(values: Int[np.ndarray, " C"]) -> dict[int, int]:
    sizes, counts = np.unique(values, return_counts=True)
    return dict(zip(sizes.tolist(), counts.tolist(), strict=True))


def _ranked(sizes: Sizes, place: int) -> int:
    """The size of a rank from 1."""
    ascending = sorted(sizes)
    at = int(np.searchsorted(np.cumsum([sizes[k] for k in ascending]), place))
    return ascending[at]


def _passes(d: Diagnostics) -> Passes | None:
    if d.all_pass is None or d.all_fail is None or d.utility_min is None:
        return None
    valid, blind = d.codes != INVALID, d.codes == ZERO_INFORMATION
    lowest = float(d.utility_min.min(initial=1.0))
    return Passes(
        valid=int(valid.sum()),
        some=int((~d.all_fail[valid]).sum()),
        blind_all=int((blind & d.all_pass).sum()),
        blind_none=int((blind & d.all_fail).sum()),
        fail=None if lowest == 1.0 else lowest,
    )


def _apart(
    values: Float[np.ndarray, " C"], k: Int[np.ndarray, " C"], mask: Bool[np.ndarray, " C"]
) -> list[Float[np.ndarray, " c"]]:
    """The values of every K, smallest K first, of the contexts of the mask."""
    order = np.argsort(k[mask], kind="stable")
    ends = np.flatnonzero(np.diff(k[mask][order])) + 1
    return np.split(values[mask][order], ends) if len(order) else []


class Adds(Protocol):
    """What can be added to its own kind."""

    def __add__(self, other: Self, /) -> Self:
        """The two in one."""


K = TypeVar("K")
A = TypeVar("A", bound=Adds)


def _added(a: Mapping[K, A], b: Mapping[K, A]) -> dict[K, A]:
    """Both mappings; where a key is in both, the sum."""
    return {**a, **b, **{key: a[key] + b[key] for key in a.keys() & b.keys()}}


def _check_alike(a: ShardDiagnostics, b: ShardDiagnostics) -> None:
    """Refuse to add what was measured in different ways.

    Raises:
        DataError: Columns or legs of one that the other lacks.
    """
    for what, one, other in (
        ("columns", sorted(a.recorded), sorted(b.recorded)),
        ("declared legs", list(a.legs_declared), list(b.legs_declared)),
        ("legs without meaning", list(a.legs_not_applicable), list(b.legs_not_applicable)),
    ):
        if one != other:
            raise DataError(
                f"{what} {one} of one shard and {other} of another: measure every shard with the "
                "same log-probs and declarations, or they do not add up."
            )
