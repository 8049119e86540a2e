"""Every figure of a batch's summary: path, label, meaning, unit and format, once.

The terminal, the page, the JSON schemas and the TRL log walk this table. A figure that is computed
(a field of `tod.diagnostics.Summary`) needs one row here, and is then shown in all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tod.base.text import fixed, percent, plainly

Form = Literal["share", "percent", "number", "count", "interval", "names", "by_name"]
"""How a figure is written: 0.71, 71 %, three digits, a whole number, bounds, words, name → number.

The last three are no single number: no curve is drawn and no metric logged of them.
"""

_SHOW: dict[str, Callable[[float | None], str]] = {
    "share": fixed,
    "percent": percent,
    "number": plainly,
    "count": plainly,
}


@dataclass(frozen=True)
class Fact:
    """A figure.

    Attributes:
        path: Keys that lead to it in a record, dotted: ``ess_rel.median``.
        label: Its name under the heading of its block.
        hint: What it is, in a sentence.
        form: How it is written.
        unit: Of the number; empty for shares and counts.
        better: Which way is good: higher, lower or near 1; None where neither is.
        plot: The plot over the steps (`PLOTS`) that draws it; None if none does.
        title: Its name among the headline numbers of a page; empty if it is not among them.
        log: Name in a trainer's log behind ``tod/``: by default the path with underscores.
        logged: Whether it is logged; no more than a person watches.
        of: Path of the count that is its whole: the log holds the share, a page shows both.
        ci: Path of its interval.
    """

    path: str
    label: str
    hint: str
    form: Form = "number"
    unit: str = ""
    better: Literal["higher", "lower", "near 1"] | None = None
    plot: str | None = None
    title: str = ""
    log: str = ""
    logged: bool = True
    of: str | None = None
    ci: str | None = None

    @property
    def block(self) -> str:
        """The first key of the path."""
        return self.path.partition(".")[0]

    @property
    def single(self) -> bool:
        """Whether it is one number."""
        return self.form in _SHOW

    @property
    def show(self) -> Callable[[float | None], str]:
        """How a number of it is written; a dash is unknown."""
        return _SHOW[self.form]

    def text(self, record: Mapping[str, Any]) -> str:
        """Its value in a record as a person reads it, with its interval; a dash is unknown."""
        value = lookup(record, self.path)
        if not self.single:
            return listed(value)
        bounds = None if self.ci is None else lookup(record, self.ci)
        if bounds is None or all(bound is None for bound in bounds):
            return self.show(value)
        return f"{self.show(value)} [{', '.join(map(self.show, bounds))}]"


def lookup(record: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path of a record; None where a part of it is missing."""
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def listed(value: Any) -> str:
    """Bounds, words or named numbers in a line.

    >>> listed([0.25, None]), listed(["policy_proposal"]), listed({"min": 4, "max": 8})
    ('[0.25, –]', 'policy/proposal', 'min 4, max 8')
    """
    if isinstance(value, Mapping) and len(set(value.values())) == 1 and len(value) > 1:
        return plainly(next(iter(value.values())))
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', '/')} {plainly(x)}" for name, x in value.items())
    items = value if isinstance(value, list | tuple) else ()
    if all(isinstance(item, str) for item in items):
        return ", ".join(name.replace("_", "/") for name in items)
    return f"[{', '.join(plainly(item) for item in items)}]"


BLOCKS = {
    "contexts": "prompts",
    "ess_rel": "ESS_rel",
    "tails": "weights",
    "overlap": "overlap",
    "coverage": "coverage",
    "mismatch": "sampler gap",
    "staleness": "staleness",
    "drift": "drift",
    "activation": "activation",
    "entropy": "entropy",
    "path": "path to the target",
    "probe": "probe",
}
"""Block of a record → its heading; a block that is not here is headed by its key."""

PLOTS: dict[str, tuple[str, tuple[float, float] | None]] = {
    "Overlap": ("ESS_rel of each leg: median over prompts of equal K.", (0.0, 1.0)),
    "Largest weights": ("Of a prompt whose rewards differ, the median over them.", (0.0, 1.0)),
    "Spread of log w": ("Variance within a prompt, nats²; the median over prompts.", None),
    "Tail index": ("Pareto k̂ of the pooled weights; heavy above 0.7.", None),
    "Coverage": ("What the weights of these rollouts cannot see.", None),
    "Sampler gap": ("The training forward against the engine that sampled.", None),
    "Staleness": ("The policy against itself when the batch was drawn.", None),
    "Drift": ("An estimate on sequences: it can fall below zero.", None),
    "Activation": ("Share of gradient weight that the trust region changes.", (0.0, 0.1)),
    "Entropy": ("Of the sampled tokens.", None),
    "Way to the target": ("Of log π on the anchor: still to go, and off the path, nats².", None),
    "Damage": ("On candidates of the reference, drawn once.", None),
    "Lost of the reference": ("KL(b‖π) on the same candidates.", None),
}
"""Plot over the steps → what to know when reading it, and what its axis holds at least."""


def _share(path: str, label: str, hint: str, **options: Any) -> Fact:
    """A share of 1, better when higher where nothing else is said."""
    return Fact(path, label, hint, "share", **{"better": "higher", **options})


def _gap(block: str, what: str, plot: str) -> tuple[Fact, ...]:
    """The figures of a gap log ρ between two policies, on tokens that the second drew."""
    token, sequence = "nats per token", "nats per sequence"
    return (
        Fact(f"{block}.tokens", "tokens", "Tokens compared.", "count", logged=False),
        Fact(f"{block}.mean_abs", "mean |log ρ|", f"Mean |log ρ|: {what}.", unit=token, plot=plot),
        Fact(f"{block}.k1", "k1", "Mean −log ρ: KL, of either sign.", unit=token, logged=False),
        Fact(f"{block}.k2", "k2", "Mean (log ρ)²/2: KL of a small gap.", unit=token, logged=False),
        Fact(f"{block}.k3", "k3", "Mean ρ − 1 − log ρ: KL, never negative.", unit=token, plot=plot),
        Fact(f"{block}.kl_sequence", "KL", "Mean −Σ log ρ.", unit=sequence, better="lower"),
        _share(
            f"{block}.ess_rel",
            "ESS_rel",
            "Median over prompts of ESS_rel of the sequence weights Π ρ.",
        ),
        Fact(f"{block}.chi2_token", "χ² per token", "Mean ρ² − 1.", logged=False),
        Fact(f"{block}.chi2_sequence", "χ² per sequence", "Mean (Π ρ)² − 1.", logged=False),
        Fact(
            f"{block}.perplexity_factor",
            "perplexity factor",
            "exp(−mean log ρ): perplexity of the first policy over that of the second.",
            better="near 1",
            logged=False,
        ),
    )


def _leg(name: str, label: str, hint: str, **options: Any) -> Fact:
    """A leg of the overlap."""
    return _share(f"overlap.{name}", label, hint, plot="Overlap", **options)


FACTS: tuple[Fact, ...] = (
    Fact("contexts.total", "prompts", "Prompts read.", "count", logged=False),
    Fact(
        "contexts.informative",
        "informative",
        "Prompts whose rollouts differ in reward: only they tell of the target.",
        "count",
        better="higher",
        title="Informative prompts",
        log="informative",
    ),
    Fact(
        "contexts.zero_information",
        "zero-variance",
        "Prompts whose rollouts all have the same reward: they give no gradient.",
        "count",
        better="lower",
        title="Zero-variance groups",
        log="zero_information",
        of="contexts.total",
    ),
    Fact("contexts.all_pass", "all pass", "Every rollout passes.", "count", logged=False),
    Fact("contexts.all_fail", "all fail", "Every rollout fails.", "count", logged=False),
    Fact("contexts.singleton", "singletons", "Prompts of one rollout.", "count", logged=False),
    Fact(
        "contexts.invalid",
        "invalid",
        "Prompts with a reward or log-prob that cannot be used.",
        "count",
        better="lower",
        logged=False,
    ),
    Fact("contexts.candidates_per_context", "K", "Rollouts of a prompt.", "by_name"),
    _share(
        "ess_rel.median",
        "median",
        "Share of the rollouts that effectively count, for a typical informative prompt.",
        title="ESS_rel at your K, median",
        ci="ess_rel.median_ci90",
    ),
    _share(
        "ess_rel.q10",
        "q10",
        "A tenth of the informative prompts lies below.",
        title="ESS_rel at your K, worst tenth",
        ci="ess_rel.q10_ci90",
    ),
    _share("ess_rel.mean", "mean", "Mean over informative prompts.", logged=False),
    Fact("ess_rel.median_ci90", "median, 90 %", "Interval of the median.", "interval"),
    Fact("ess_rel.q10_ci90", "q10, 90 %", "Interval of the 10 % quantile.", "interval"),
    _share(
        "tails.max_weight_median",
        "largest",
        "Weight of the heaviest rollout of a typical prompt.",
        better="lower",
        plot="Largest weights",
        title="Largest weight",
        log="max_weight_median",
    ),
    Fact(
        "tails.log_w_variance_median",
        "variance of log w",
        "Variance of the log-weights of a typical prompt.",
        unit="nats²",
        better="lower",
        plot="Spread of log w",
    ),
    _share(
        "tails.top_mass_median",
        "top two",
        "Weight of the two heaviest rollouts of a typical prompt.",
        better="lower",
        plot="Largest weights",
    ),
    Fact(
        "tails.pareto_k_pooled",
        "tail index",
        "Tail index of the weights of all informative prompts together.",
        better="lower",
        plot="Tail index",
    ),
    _leg("target_proposal", "q*/μ", "ESS_rel of the target against what was sampled."),
    _leg(
        "policy_proposal",
        "π/μ",
        "ESS_rel of the policy against what was sampled: 1 on policy.",
        title="Policy / proposal",
    ),
    _leg("target_policy", "q*/π", "ESS_rel of the target against the policy."),
    _share("overlap.minimum", "smallest", "The smallest leg that is known.", log="overlap_min"),
    Fact("overlap.not_applicable", "not applicable", "Legs that do not exist here.", "names"),
    Fact("overlap.declared", "declared", "Legs known by declaration.", "names"),
    Fact("overlap.k", "K", "Rollouts of the prompts behind the medians.", "count", logged=False),
    Fact("overlap.contexts", "prompts", "Prompts behind the medians.", "count", logged=False),
    Fact("overlap.q10", "q10", "The 10 % quantile of every leg.", "by_name"),
    Fact(
        "overlap.carried_by",
        "carried by",
        "Rollouts that carry the target/policy leg, the median over prompts.",
        better="higher",
        logged=False,
    ),
    Fact(
        "overlap.unknown",
        "left out",
        "Prompts left out of a leg because log-probs of the policy cannot be used.",
        "count",
        better="lower",
        logged=False,
    ),
    Fact(
        "coverage.pass_at_k",
        "pass@K",
        "Share of the prompts of which some rollout passes.",
        "percent",
        better="higher",
        plot="Coverage",
        title="pass@K",
    ),
    Fact(
        "coverage.missing_mass",
        "missing mass",
        "Share of the answers that were never drawn, estimated (Good-Turing).",
        "percent",
        better="lower",
        plot="Coverage",
    ),
    Fact(
        "coverage.mean_rho",
        "mean π/μ",
        "1 where the sampler covers the policy; far below, it misses part of it.",
        better="near 1",
        logged=False,
    ),
    Fact(
        "coverage.mean_rho_z",
        "z of it",
        "Distance of mean π/μ from 1 in standard errors.",
        logged=False,
    ),
    _share(
        "coverage.mean_rho_share",
        "evenness of π/μ",
        "Share of the rollouts that carry mean π/μ; where few do, it reads low by chance.",
        logged=False,
    ),
    _share(
        "coverage.reverse_ess",
        "reverse ESS",
        "ESS_rel read from samples of the target.",
        logged=False,
    ),
    *_gap("mismatch", "the training forward against the engine that sampled", "Sampler gap"),
    *_gap("staleness", "the policy against the one that sampled", "Staleness"),
    Fact(
        "drift.ref",
        "from ref",
        "KL(π‖ref), estimated on sequences.",
        unit="nats per sequence",
        plot="Drift",
        title="Drift from ref",
    ),
    Fact(
        "drift.old",
        "from old",
        "KL(π‖π_old), estimated on sequences.",
        unit="nats per sequence",
        plot="Drift",
    ),
    Fact(
        "drift.ref_token",
        "from ref, per token",
        "KL(π‖ref) per token.",
        unit="nats per token",
        logged=False,
    ),
    Fact(
        "drift.old_token",
        "from old, per token",
        "KL(π‖π_old) per token.",
        unit="nats per token",
        logged=False,
    ),
    Fact(
        "activation",
        "changed",
        "Share of gradient weight that the trust region changes.",
        "percent",
        better="lower",
        plot="Activation",
        title="Activation",
    ),
    Fact(
        "entropy",
        "sampled tokens",
        "Entropy of the sampled tokens.",
        unit="nats per token",
        plot="Entropy",
    ),
    Fact(
        "path.eta_hat",
        "sharpness reached",
        "Sharpness η̂ of the b·exp(η̂U) that is nearest to the policy.",
    ),
    Fact("path.progress", "share of the way", "It over the target's.", logged=False),
    Fact(
        "path.lag",
        "still to go",
        "Squared distance from there to the target, along the path.",
        unit="nats²",
        plot="Way to the target",
    ),
    Fact(
        "path.delta",
        "off the path",
        "Squared distance of the policy from every b·exp(ηU): what it lost on the way.",
        unit="nats²",
        better="lower",
        plot="Way to the target",
        title="Off the path",
    ),
    Fact(
        "path.within",
        "off it, prompt by prompt",
        "The same where every prompt may be at a place of its own.",
        unit="nats²",
        better="lower",
        logged=False,
    ),
    Fact(
        "path.variance",
        "variance of the tilt",
        "Variance of ηU within a prompt, the mean over prompts.",
        unit="nats²",
        logged=False,
    ),
    _share(
        "path.ess_best",
        "largest ESS_rel",
        "Largest median ESS_rel of b·exp(ηU) against the policy, over η.",
        logged=False,
    ),
    Fact("path.eta_best", "its sharpness", "The η at which that is.", logged=False),
    Fact("path.contexts", "prompts", "Informative prompts behind it.", "count", logged=False),
    Fact(
        "probe.eta",
        "sharpness reached",
        "Slope of log π/b on the reward, over candidates that the reference drew.",
        logged=False,
    ),
    Fact(
        "probe.delta",
        "damage",
        "What no sharpness explains of log π/b on candidates that the reference drew.",
        unit="nats²",
        better="lower",
        plot="Damage",
        title="Damage, on the probe",
    ),
    Fact(
        "probe.kl",
        "lost of the reference",
        "KL(b‖π) on candidates that the reference drew.",
        unit="nats per sequence",
        plot="Lost of the reference",
    ),
    Fact(
        "probe.kl_error",
        "its error",
        "Standard error of it, clustered by prompt.",
        unit="nats per sequence",
        logged=False,
    ),
    Fact(
        "probe.contexts",
        "prompts",
        "Prompts of the probe whose rewards differ.",
        "count",
        logged=False,
    ),
    Fact("probe.candidates", "rollouts", "Rollouts of the probe.", "count", logged=False),
)

BY_PATH = {fact.path: fact for fact in FACTS}


def metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """What a trainer's log holds of a record, by name; what is not known is absent."""
    found = {}
    for fact in FACTS:
        value = lookup(record, fact.path) if fact.logged and fact.single else None
        if value is not None and fact.of is not None:
            value = value / max(lookup(record, fact.of), 1)
        if value is not None:
            found[fact.log or fact.path.replace(".", "_")] = float(value)
    return found


def by_block(record: Mapping[str, Any]) -> list[tuple[str, list[tuple[Fact, str]]]]:
    """Headings of the blocks of a record, each with its known figures and their texts."""
    blocks: dict[str, list[tuple[Fact, str]]] = {}
    behind = {fact.ci for fact in FACTS}  # stands by its figure already
    for fact in FACTS:
        value = lookup(record, fact.path)
        empty = value is None or value in ([], (), {})
        if not empty and fact.path not in behind:
            blocks.setdefault(fact.block, []).append((fact, fact.text(record)))
    return [(BLOCKS.get(block, block.replace("_", " ")), known) for block, known in blocks.items()]
