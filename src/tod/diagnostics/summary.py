"""What a batch's diagnostics say in one record; the names are those of the JSON schema.

``None`` means "not computable from what was recorded", never zero.
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Self, get_type_hints


class Record:
    """Plain data that round-trips through JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The record of such a dictionary; unknown keys are ignored: old files stay readable."""
        hints = get_type_hints(cls)
        known: dict[str, Any] = {}
        for item in fields(cls):  # type: ignore[arg-type]
            if item.name in data:
                value, hint = data[item.name], hints[item.name]
                nested = is_dataclass(hint) and isinstance(value, dict)
                known[item.name] = hint.from_dict(value) if nested else value
        return cls(**known)


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
    """ESS_rel over informative contexts: order-statistic quantiles with 90 % intervals."""

    median: float | None = None
    q10: float | None = None
    mean: float | None = None
    median_ci90: tuple[float | None, float | None] | None = None
    q10_ci90: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class Tails(Record):
    """Tail indicators: medians over informative contexts, and the pooled Pareto k̂."""

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
    """log π_old − log μ: the training forward against the engine, on tokens and sequences."""

    tokens: int | None = None
    mean_abs: float | None = None
    k1: float | None = None
    k3: float | None = None
    kl_sequence: float | None = None
    ess_rel: float | None = None


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
    drift: Drift = field(default_factory=Drift)
    activation: float | None = None
    entropy: float | None = None
