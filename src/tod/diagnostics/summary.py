"""Diagnostics per context, and the one record of a batch that they are condensed into.

The names of the record are those of the JSON schema. ``None`` means "not computable from what was
recorded", never zero.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Array, Groups, to_numpy
from tod.base.brief import Brief
from tod.candidates import Labels
from tod.diagnostics.classes import (
    CLASSES,
    INFORMATIVE,
    INVALID,
    SINGLETON,
    ZERO_INFORMATION,
    passing,
)
from tod.diagnostics.coverage import MeanRho, RhoSums, usable_mean_rho
from tod.diagnostics.overlap import LEGS
from tod.diagnostics.pareto import pareto_k_pooled
from tod.diagnostics.path import Path
from tod.diagnostics.population_ess import PopulationEss
from tod.diagnostics.probe import ProbeReading
from tod.diagnostics.quantiles import Ordered, common_k, quantile
from tod.diagnostics.record import Record
from tod.diagnostics.sketch import LogCounts

__all__ = [
    "ContextCounts",
    "Coverage",
    "Diagnostics",
    "Drift",
    "EssRel",
    "Mismatch",
    "Overlap",
    "Summary",
    "Tails",
]


@dataclass(frozen=True)
class ContextCounts(Record):
    """How many contexts there are of every class; the classes are disjoint and add up to total.

    ``zero_information`` counts contexts whose tilt Σ η_k U_k is the same for all candidates;
    ``all_pass`` and ``all_fail`` split those of binary utilities. They, singletons and invalid
    contexts are outside every quantile that reads q*. ``informative`` and ``zero_information`` are
    None without a target and without a utility, ``singleton`` too where nothing says which
    candidates share a prompt.
    """

    total: int = 0
    informative: int | None = 0
    zero_information: int | None = 0
    all_pass: int | None = None
    all_fail: int | None = None
    singleton: int | None = 0
    invalid: int = 0
    candidates_per_context: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EssRel(Record):
    """ESS_rel over informative contexts of the most common K (``overlap.k``).

    Order-statistic quantiles with 90 % intervals. ESS_rel never reads below 1/K and is biased
    upward by an amount that falls with K, so that contexts of unequal K have no common quantile.
    """

    median: float | None = None
    q10: float | None = None
    mean: float | None = None
    median_ci90: tuple[float | None, float | None] | None = None
    q10_ci90: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class Tails(Record):
    """Tail indicators: medians over the contexts of `EssRel`; the Pareto k̂ pools all K."""

    max_weight_median: float | None = None
    log_w_variance_median: float | None = None
    top_mass_median: float | None = None
    pareto_k_pooled: float | None = None


@dataclass(frozen=True)
class Overlap(Record):
    """The three legs, each the median over contexts at equal K, and the smallest known one."""

    target_proposal: float | None = None
    policy_proposal: float | None = None
    target_policy: float | None = None
    minimum: float | None = None
    not_applicable: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    """Legs known by declaration (on-policy: π = μ), not by measurement."""
    k: int | None = None
    """Candidates per context of the contexts behind the medians: the most common K."""
    contexts: int | None = None
    """Informative contexts of that K."""
    q10: dict[str, float] = field(default_factory=dict)
    """The 10 % quantile over the same contexts, by leg."""
    carried_by: float | None = None
    """Median number of candidates that carry ``target_policy``; out of k."""
    unknown: int = 0
    """Contexts left out of a median because the log-probs of π are unusable there."""


@dataclass(frozen=True)
class Coverage(Record):
    """What self-normalised weights cannot see: missed modes."""

    pass_at_k: float | None = None
    missing_mass: float | None = None
    mean_rho: float | None = None
    mean_rho_z: float | None = None
    mean_rho_share: float | None = None
    """(Σρ)²/(n Σρ²): how even the ratios are whose mean that is."""
    reverse_ess: float | None = None


@dataclass(frozen=True)
class Mismatch(Record):
    """A gap log ρ between two policies on tokens drawn from the second, as tokens and sequences.

    ``Summary.mismatch`` is log π_old − log μ (the training forward against the engine that
    sampled); ``Summary.staleness`` is log π − log π_old (the optimiser's travel).
    """

    tokens: int | None = None
    mean_abs: float | None = None
    """Mean |log ρ_t|, nats."""
    k1: float | None = None
    """Mean −log ρ_t, nats: KL per token, unbiased, of either sign."""
    k2: float | None = None
    """Mean (log ρ_t)²/2, nats: the same KL for a small gap, never negative, of low variance."""
    k3: float | None = None
    """Mean ρ_t − 1 − log ρ_t, nats: the same KL, never negative."""
    kl_sequence: float | None = None
    """Mean −Σ_t log ρ_t over sequences, nats."""
    ess_rel: float | None = None
    """Median over contexts of ESS_rel of the sequence weights Π_t ρ_t."""
    chi2_token: float | None = None
    """Mean ρ_t² − 1; a finite sample may read negative."""
    chi2_sequence: float | None = None
    """Mean (Π_t ρ_t)² − 1; a finite sample may read negative."""
    perplexity_factor: float | None = None
    """exp(−mean log ρ_t): perplexity of the first policy over that of the second."""


@dataclass(frozen=True)
class Drift(Record):
    """KL(π‖anchor) by name of the anchor, nats, k1 on sequences, and per token."""

    ref: float | None = None
    old: float | None = None
    ref_token: float | None = None
    old_token: float | None = None


@dataclass(frozen=True)
class Summary(Record):
    """One batch's diagnostics."""

    contexts: ContextCounts = field(default_factory=ContextCounts)
    ess_rel: EssRel = field(default_factory=EssRel)
    tails: Tails = field(default_factory=Tails)
    overlap: Overlap = field(default_factory=Overlap)
    coverage: Coverage = field(default_factory=Coverage)
    mismatch: Mismatch | None = None
    staleness: Mismatch | None = None
    drift: Drift = field(default_factory=Drift)
    activation: float | None = None
    entropy: float | None = None
    path: Path | None = None
    """Place on the way from the anchor to the target; None where it was not read."""
    probe: ProbeReading | None = None
    """The policy on candidates that the reference drew; None where no probe was read."""
    population: Mapping[str, PopulationEss] | None = None
    """ESS_rel over the population of prompts, by leg; None where it was not read."""


@dataclass(frozen=True, eq=False, repr=False)
class Diagnostics(Brief):
    """Diagnostics per context, [C] each, float64; NaN = not defined there, None = not recorded.

    Attributes:
        k: Candidates per context.
        codes: Class of every context, a position in ``CLASSES``.
        ess: Effective sample size, in [1, k].
        ess_rel: ess/k.
        max_weight: Largest normalised weight.
        top_mass: Mass of the ``top`` largest.
        log_w_variance: Variance of the finite log-weights, nats².
        log_z: log Ẑ, nats.
        utility_mean: Mean utility, or None.
        utility_max: Largest utility, or None.
        utility_min: Smallest utility, or None.
        all_pass: Contexts in which every candidate passes; None unless the utility is binary.
        all_fail: Contexts in which no candidate passes; None unless the utility is binary.
        policy_proposal: ESS_rel(π/μ), or None.
        target_policy: Third leg of the overlap, or None.
        carried_by: Candidates that carry the third leg, or None.
        missing_mass: Weighted Good–Turing over answers, or None.
        rho: Sums of π/μ behind its mean over the batch, or None.
        pareto_k_pooled: k̂ of the pooled informative contexts, or None.
        legs_declared: Legs of the overlap known by declaration.
        legs_not_applicable: Legs that mean nothing here (test time).
    """

    k: Int[np.ndarray, " C"]
    codes: Int[np.ndarray, " C"]
    ess: Float[np.ndarray, " C"]
    ess_rel: Float[np.ndarray, " C"]
    max_weight: Float[np.ndarray, " C"]
    top_mass: Float[np.ndarray, " C"]
    log_w_variance: Float[np.ndarray, " C"]
    log_z: Float[np.ndarray, " C"]
    utility_mean: Float[np.ndarray, " C"] | None = None
    utility_max: Float[np.ndarray, " C"] | None = None
    utility_min: Float[np.ndarray, " C"] | None = None
    all_pass: Bool[np.ndarray, " C"] | None = None
    all_fail: Bool[np.ndarray, " C"] | None = None
    policy_proposal: Float[np.ndarray, " C"] | None = None
    target_policy: Float[np.ndarray, " C"] | None = None
    carried_by: Float[np.ndarray, " C"] | None = None
    missing_mass: Float[np.ndarray, " C"] | None = None
    rho: RhoSums | None = None
    pareto_k_pooled: float | None = None
    legs_declared: tuple[str, ...] = ()
    legs_not_applicable: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of contexts C."""
        return len(self.k)

    @property
    def informative(self) -> Bool[np.ndarray, " C"]:
        """Contexts that can say something about the target."""
        return self.codes == INFORMATIVE  # type: ignore[no-any-return]

    @property
    def compared(self) -> Bool[np.ndarray, " C"]:
        """Informative contexts of their most common K: those behind the quantiles of a summary."""
        return self.informative & (self.k == common_k(self.k[self.informative]))  # type: ignore[no-any-return]

    def part(
        self,
        places: slice,
        log_w: Float[Array, " N"],
        contexts: Groups,
        utility: Float[Array, " N"] | None = None,
    ) -> "Diagnostics":
        """Some consecutive contexts; ``log_w``, ``contexts`` and ``utility`` are of the whole.

        A utility that is binary in these contexts tells their passes, whatever it is elsewhere.
        """
        offsets = contexts.offsets
        rows = slice(int(offsets[places.start]), int(offsets[places.stop]))
        known = {item.name: getattr(self, item.name) for item in fields(self)}
        columns: dict[str, Any] = {
            n: x[places] for n, x in known.items() if isinstance(x, np.ndarray)
        }
        rho = None if self.rho is None else self.rho.take(places)
        cut = replace(self, rho=rho, **columns)
        if utility is not None:
            cut = replace(cut, **passing(utility[rows], cut.utility_min, cut.utility_max))
        k = pareto_k_pooled(log_w[rows], Groups(cut.k), cut.informative, cut.max_weight, cut.log_z)
        return replace(cut, pareto_k_pooled=k)

    @property
    def mean_rho(self) -> MeanRho | None:
        """Mean of π/μ over the batch; None without usable log-probs of π."""
        return None if self.rho is None else usable_mean_rho(self.rho)

    def summary(
        self,
        *,
        coverage: Coverage | None = None,
        mismatch: Mismatch | None = None,
        staleness: Mismatch | None = None,
        drift: Drift | None = None,
        activation: float | None = None,
        entropy: float | None = None,
        path: Path | None = None,
    ) -> Summary:
        """One record of the batch, unknown and infinite numbers as None.

        What needs more than log-weights is handed in. Fields of ``coverage`` that are not None
        replace what was measured here.
        """
        columns = _Sorted(self)
        return Summary(
            contexts=_counts(self),
            ess_rel=ess_rel_record(columns),
            tails=tails_record(columns, self.pareto_k_pooled),
            overlap=overlap_record(columns, self.legs_declared, self.legs_not_applicable),
            coverage=_coverage(self, coverage),
            mismatch=mismatch,
            staleness=staleness,
            drift=drift or Drift(),
            activation=activation,
            entropy=entropy,
            path=path,
        )

    def rows(self, labels: Labels | None = None) -> dict[str, Any]:
        """Columns of one row per context; what was not recorded is a column of None.

        ``context`` is the label, or the position in the batch; ``step`` is None when unlabelled.
        """
        unknown = [None] * len(self)
        labels = labels or Labels()
        return {
            "step": unknown if labels.step is None else to_numpy(labels.step),
            "context": np.arange(len(self)) if labels.context is None else list(labels.context),
            "k": self.k,
            "ess": self.ess,
            "ess_rel": self.ess_rel,
            "max_weight": self.max_weight,
            "top_mass": self.top_mass,
            "log_w_variance": self.log_w_variance,
            "log_z": self.log_z,
            "utility_mean": unknown if self.utility_mean is None else self.utility_mean,
            "utility_max": unknown if self.utility_max is None else self.utility_max,
            "class": np.array(CLASSES, dtype=object)[self.codes].tolist(),
        }


def _counts(d: Diagnostics) -> ContextCounts:
    blind = d.codes == ZERO_INFORMATION
    return ContextCounts(
        total=len(d),
        informative=int(d.informative.sum()),
        zero_information=int(blind.sum()),
        all_pass=None if d.all_pass is None else int((blind & d.all_pass).sum()),
        all_fail=None if d.all_fail is None else int((blind & d.all_fail).sum()),
        singleton=int((d.codes == SINGLETON).sum()),
        invalid=int((d.codes == INVALID).sum()),
        candidates_per_context={
            "min": int(d.k.min()),
            "median": int(quantile(d.k.astype(np.float64), 0.5)),
            "max": int(d.k.max()),
        }
        if len(d)
        else {},
    )


class Columns(Protocol):
    """Numbers of contexts, of which a summary reads quantiles."""

    @property
    def k(self) -> int | None:
        """The most common K among informative contexts, else among readable ones."""

    def has(self, name: str) -> bool:
        """Whether the column was recorded."""

    def __call__(
        self, name: str, *, readable: bool = False, at_k: bool = False
    ) -> "Ordered | LogCounts":
        """The column of informative (or all readable) contexts, perhaps of the common K only."""


class _Sorted:
    """Columns over the contexts that may be read, each sorted once.

    Attributes:
        k: The most common K among informative contexts, else among readable ones.
    """

    def __init__(self, d: Diagnostics) -> None:
        self._d = d
        self._informative = d.informative
        self._readable = self._informative | (d.codes == ZERO_INFORMATION)
        self.k = common_k(d.k[self._informative]) or common_k(d.k[self._readable])
        self._equal = bool((d.k == self.k).all())
        self._known: dict[tuple[str, bool, bool], Ordered] = {}

    def has(self, name: str) -> bool:
        """Whether the column was recorded."""
        return getattr(self._d, name) is not None

    def __call__(self, name: str, *, readable: bool = False, at_k: bool = False) -> Ordered:
        """The column of informative (or all readable) contexts, perhaps of the common K only."""
        key = (name, readable, at_k and not self._equal)
        if key not in self._known:
            mask = self._readable if readable else self._informative
            mask = mask & (self._d.k == self.k) if key[2] else mask
            self._known[key] = Ordered(getattr(self._d, name)[mask])
        return self._known[key]


def ess_rel_record(columns: Columns) -> EssRel:
    """Over informative contexts of the most common K, as the legs: its floor and bias are of K."""
    x = columns("ess_rel", at_k=True)
    if not len(x):
        return EssRel()
    return EssRel(
        median=x.quantile(0.5),
        q10=x.quantile(0.1),
        mean=x.mean,
        median_ci90=_bounds(x.interval(0.5)),
        q10_ci90=_bounds(x.interval(0.1)),
    )


def tails_record(columns: Columns, pareto_k: float | None) -> Tails:
    """Medians at the most common K; the pooled k̂ reads K w̄, of mean 1 whatever K is."""
    return Tails(
        max_weight_median=columns("max_weight", at_k=True).quantile(0.5),
        log_w_variance_median=columns("log_w_variance", at_k=True).quantile(0.5),
        top_mass_median=columns("top_mass", at_k=True).quantile(0.5),
        pareto_k_pooled=pareto_k,
    )


def overlap_record(
    columns: Columns, legs_declared: tuple[str, ...], not_applicable: tuple[str, ...]
) -> Overlap:
    """Medians over contexts of the most common K, the larger on a tie; never over unequal K.

    Legs with q* read informative contexts, π/μ every one that is neither singleton nor invalid.
    """
    by_leg: dict[str, Ordered | LogCounts] = {}
    for leg in LEGS:
        name = "ess_rel" if leg == "target_proposal" else leg
        if leg not in not_applicable and columns.has(name):
            by_leg[leg] = columns(name, readable=leg == "policy_proposal", at_k=True)
    medians = {leg: x.quantile(0.5) for leg, x in by_leg.items()}
    declared = _declared(legs_declared, not_applicable, medians)
    medians |= declared
    known = [value for value in medians.values() if value is not None]
    carried = columns("carried_by", at_k=True) if columns.has("carried_by") else None
    return Overlap(
        **{leg: medians.get(leg) for leg in LEGS},
        minimum=min(known, default=None),
        not_applicable=not_applicable,
        declared=tuple(declared),
        k=columns.k,
        contexts=len(columns("ess_rel", at_k=True)),
        q10={leg: q for leg, x in by_leg.items() if (q := x.quantile(0.1)) is not None},
        carried_by=None if carried is None else carried.quantile(0.5),
        unknown=max((x.unknown for x in by_leg.values()), default=0),
    )


def _declared(
    declared: tuple[str, ...], not_applicable: tuple[str, ...], medians: dict[str, Any]
) -> dict[str, Any]:
    """Legs that follow from π = μ and were not measured (docs/equations.md C.12)."""
    on_policy = "policy_proposal" in declared and "policy_proposal" not in medians
    legs: dict[str, Any] = {"policy_proposal": 1.0} if on_policy else {}
    if "target_policy" not in medians and (on_policy or "target_policy" in declared):
        legs["target_policy"] = medians.get("target_proposal")
    return {leg: v for leg, v in legs.items() if leg not in not_applicable and v is not None}


def _coverage(d: Diagnostics, more: Coverage | None) -> Coverage:
    mass = None if d.missing_mass is None else d.missing_mass[d.informative]
    return coverage_record(
        d.mean_rho, None if mass is None or not mass.size else mass.mean(), _share_passed(d), more
    )


def coverage_record(
    rho: MeanRho | None, missing_mass: float | None, passed: float | None, more: Coverage | None
) -> Coverage:
    """What was measured, and in its place whatever of ``more`` is not None."""
    measured = Coverage(
        pass_at_k=passed,
        missing_mass=None if missing_mass is None else finite(missing_mass),
        mean_rho=None if rho is None else finite(rho.value),
        mean_rho_z=None if rho is None or rho.z is None else finite(rho.z),
        mean_rho_share=None if rho is None else finite(rho.share),
    )
    known = {name: v for name, v in (more.to_dict() if more else {}).items() if v is not None}
    return replace(measured, **known)


def _share_passed(d: Diagnostics) -> float | None:
    """Share of valid contexts with at least one pass: pass@K at every context's own K."""
    valid = d.codes != INVALID
    if d.all_fail is None or not valid.any():
        return None
    return float((~d.all_fail[valid]).mean())


def _bounds(interval: tuple[float, float]) -> tuple[float | None, float | None]:
    return finite(interval[0]), finite(interval[1])


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def finite(value: Any) -> float | None:
    """The number, or None where it is infinite or NaN."""
    return float(value) if math.isfinite(value) else None
