"""What a batch's diagnostics say in one record; the names are those of the JSON schema.

``None`` means "not computable from what was recorded", never zero.
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints


@cache
def _hints(record: type) -> dict[str, Any]:
    """Field types of a record class; resolving them is slow and they never change."""
    return get_type_hints(record)


class Record:
    """Plain data that round-trips through JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The record of such a dictionary; unknown keys are ignored: old files stay readable."""
        hints = _hints(cls)  # type: ignore[arg-type]
        known = {
            item.name: _revive(data[item.name], hints[item.name])
            for item in fields(cls)  # type: ignore[arg-type]
            if item.name in data
        }
        return cls(**known)


def _revive(value: Any, hint: Any) -> Any:
    """A JSON value as the type of its field: records from dictionaries, tuples from lists."""
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if isinstance(value, dict):
        record = next((o for o in options if is_dataclass(o)), None)
        return value if record is None else record.from_dict(value)  # type: ignore[union-attr]
    if isinstance(value, list) and any(get_origin(o) is tuple for o in options):
        return tuple(value)
    return value


@dataclass(frozen=True)
class ContextCounts(Record):
    """How many contexts there are of every class; the classes are disjoint and add up to total.

    ``zero_information`` counts contexts whose tilt Σ η_k U_k is the same for all candidates;
    ``all_pass`` and ``all_fail`` split those of binary utilities. They, singletons and invalid
    contexts are outside every quantile that reads q*.
    """

    total: int = 0
    informative: int = 0
    zero_information: int = 0
    all_pass: int | None = None
    all_fail: int | None = None
    singleton: int = 0
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
    """KL(π‖anchor) by name of the anchor, nats, k1 on sequences; per token beside it."""

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
