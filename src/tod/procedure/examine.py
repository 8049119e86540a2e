"""D, the diagnostics of a batch: weigh, measure, summarise, and say what could not be known.

This is the one place where a batch is measured. The engine, the live callback, the search, the
exact worlds and `tod diagnose` hand it what they know and read the same record:

    log w = log b/μ + Σ_k η_k U_k         weigh: of every candidate, nats
    ESS_rel, legs, tails, classes         measure: of every context
    one `Summary`, one `Unknown` for      summarise: of the batch
    every number that could not be made

A context says nothing of q* where its K candidates cannot be told apart by what q* is made of:

    zero information:  max_i s_i − min_i s_i ≤ 8 ε max_i |s_i|
    s = Σ_k η_k U_k and log 1{support}    for a target with a tilt, a support or a selectivity
    s = log w = log b/μ                   for a target without, which speaks through its anchors

A constant tilt is blind whatever ESS_rel reads: other candidates may differ. Where nothing is left
of log w by symbol (q* = μ, as for data), every draw is one of q*, ESS_rel is exactly 1, and no
context is blind. A pull of the operator is no part of q*: the residual decides no class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, Groups, Unknown, to_numpy
from tod.base.brief import Brief
from tod.candidates import Candidates, Labels, Tokens
from tod.diagnostics import (
    Coverage,
    Diagnostics,
    Drift,
    EssRel,
    GapSums,
    Mismatch,
    Overlap,
    Path,
    Summary,
    Tails,
    drift_and_reasons,
    gap_of_sequences,
    harmonic_mean,
    measure,
    path_of,
    reverse_ess,
)
from tod.diagnostics.summary import mean_of_known
from tod.operators import (
    MajorityVote,
    Operator,
    PolicyGradient,
    SelectionRule,
    Unbounded,
    WeightedVote,
)
from tod.procedure.procedure import Procedure
from tod.targets import Mixture, Target, TargetFamily

__all__ = [
    "Declared",
    "Examined",
    "Weights",
    "declared_width",
    "examine",
    "measured_at",
    "moving_anchors",
    "steps_of",
    "weigh",
    "weights_at",
]

Knobs = Mapping[int, Mapping[str, float]]
"""Knobs of a target in force, by step."""
Gaps = Mapping[tuple[str, str], Mapping[int, GapSums]]
"""Token sums of log a − log b, by pair of policies and step."""
TRAINED = ("policy_proposal", "target_policy")
"""Legs of the overlap without meaning where no policy is trained."""


@dataclass(frozen=True)
class Declared:
    """What only a host can know of a batch; None is unknown.

    Attributes:
        on_policy: μ was the policy itself: the leg π/μ is 1 where it is not measured.
        activation: Share of the gradient's weight that the trust region changed, over the updates.
        entropy: Mean entropy over the vocabulary, nats a token; else it is estimated from log μ.
        one_engine: log μ was read off the training forward, so that no mismatch can be measured.
        grouped: Whether it is known which candidates share a prompt.
        mismatch: Token means of log π_old − log μ, where the host alone held the tokens.
        staleness: The same of log π − log π_old.
        reward_range: Least and largest value that a utility can have, by name; what is not there
            is unknown, and never taken from the sample.
    """

    on_policy: bool = False
    activation: float | None = None
    entropy: float | None = None
    one_engine: bool = False
    grouped: bool = True
    mismatch: Mismatch | None = None
    staleness: Mismatch | None = None
    reward_range: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Weights(Brief):
    """log w = log b/μ + η·unit of every candidate, [N].

    Attributes:
        log_w: log q̃*/μ under the target in force; −∞ outside its support.
        log_base: log b/μ, of which a huge tilt would leave nothing in ``log_w``.
        tilt: Σ_k η_k U_k.
        value: The utility itself where there is one, else the tilt per unit of sharpness; None
            where the target has no tilt and not exactly one utility was recorded.
        information: What has to differ for a context to say anything of q*; None: nothing has to.
        eta: Sharpness in force: one number, or [N] where a controller turned it.
        declared: Sharpness of the target as it was declared; 1 for a target without any, None for
            a selectivity, which has one for every context.
    """

    log_w: Float[np.ndarray, " N"]
    log_base: Float[np.ndarray, " N"]
    tilt: Float[np.ndarray, " N"]
    value: Float[np.ndarray, " N"] | None
    information: Float[np.ndarray, " N"] | None
    eta: Any
    declared: float | None

    @property
    def last(self) -> float | None:
        """The sharpness in force at the last step; None where every context has its own."""
        known = np.atleast_1d(self.eta)
        return float(known[-1]) if len(known) and self.declared is not None else self.declared

    def unit(self, rows: Any) -> Float[np.ndarray, " n"]:
        """The tilt at η = 1 of some candidates; −∞ outside the support."""
        tilt = self.tilt[rows]
        eta = self.eta[rows] if np.ndim(self.eta) else self.eta
        return np.where(np.isfinite(tilt), tilt / eta, -np.inf)

    def base(self, rows: Any) -> Float[np.ndarray, " n"] | None:
        """Log b/μ of some candidates, 0 outside the support; None where b = μ up to rounding."""
        base = np.where(np.isfinite(self.tilt[rows]), self.log_base[rows], 0.0)
        return base if np.abs(base).max(initial=0.0) > ROUNDING else None


ROUNDING = 1e-3
"""Nats by which log-probs of one policy may differ between the pass that drew and the one that
scored. Left out of the weights, it changes an ESS by at most a factor exp(±4·ROUNDING), 0.4 %."""


def weigh(target: TargetFamily, candidates: Candidates, knobs: Knobs | None = None) -> Weights:
    """The weights under a target, turned to what it was at every step where ``knobs`` say so.

    Raises:
        MissingLogProbs: The target's anchor was not recorded.
        DataError: A utility of the target is missing.
    """
    whole = _weigh(target.target, candidates)
    if not knobs:
        return whole
    columns: dict[str, Any] = {
        item.name: x.copy() if isinstance(x := getattr(whole, item.name), np.ndarray) else x
        for item in fields(whole)
    }
    columns["eta"] = np.full(len(candidates), whole.eta, dtype=np.float64)
    offsets = candidates.contexts.offsets
    for step, at in steps_of(candidates):
        rows = slice(int(offsets[at.start]), int(offsets[at.stop]))
        part = _weigh(in_force(target, knobs, step), candidates.take(np.arange(at.start, at.stop)))
        for name, column in columns.items():
            own = getattr(part, name)
            if isinstance(column, np.ndarray):
                column[rows] = part.tilt if own is None else own
    return replace(whole, **columns)


def in_force(target: TargetFamily, knobs: Knobs, step: int) -> Target:
    """The general form of the target in force at a step."""
    own = target.knobs()
    turned = {name: value for name, value in knobs.get(step, {}).items() if name in own}
    if turned.get("eta") == 0.0 and not target.target.tilts:
        turned = {}  # version 0.1 recorded the sum over no tilt as the eta of a teacher
    return target.turned(turned).target if turned else target.target


def _weigh(target: Target, candidates: Candidates) -> Weights:
    tilt, base = map(to_numpy, target.tilt_and_base(candidates))
    by_context = target.selectivity
    eta = 1.0 if by_context else float(target.sharpness) or 1.0
    tilted = bool(by_context or target.support or target.sharpness)
    names = [by_context.utility] if by_context else [item.utility for item in target.tilts]
    log_w = tilt + base if base.any() else tilt
    value: Any = tilt / eta if tilted else None
    if len(names) == 1:
        value = to_numpy(candidates.utilities(names[0]))
    elif not names and len(candidates.utility) == 1:
        value = to_numpy(next(iter(candidates.utility.values())))
    exact = not target.needs(candidates.semantics)
    information = tilt if tilted else None if exact else log_w
    return Weights(log_w, base, tilt, value, information, eta, None if by_context else eta)


def weights_at(
    log_w0: Float[np.ndarray, " N"] | None, unit: Float[np.ndarray, " N"], eta: float
) -> Float[np.ndarray, " N"]:
    """Log w = log b/μ + η·unit at another sharpness; −∞ stays −∞ at η = 0."""
    alive = np.isfinite(unit)
    tilt = np.where(alive, eta * np.where(alive, unit, 0.0), -np.inf)
    return tilt if log_w0 is None else log_w0 + tilt


def measured_at(
    log_w0: Float[np.ndarray, " N"] | None,
    unit: Float[np.ndarray, " N"],
    contexts: Groups,
    eta: float,
    log_r: Float[Array, " N"] | None = None,
) -> Diagnostics:
    """Diagnostics of the same candidates at another sharpness; ``unit`` decides who is blind."""
    return measure(weights_at(log_w0, unit, eta), unit, contexts, log_r=log_r)


def declared_width(target: Target, ranges: Mapping[str, Sequence[float]]) -> float | None:
    """Range of the tilt at η = 1, Σ_k η_k R_k / η; None where that of a utility is not declared.

    Args:
        target: The target, in its general form.
        ranges: Least and largest value that a utility can have, by name.
    """
    if not target.tilts or not target.sharpness:
        return None
    if any(tilt.utility not in ranges for tilt in target.tilts):
        return None
    total = sum(abs(t.eta) * (ranges[t.utility][1] - ranges[t.utility][0]) for t in target.tilts)
    return float(total / target.sharpness)


def steps_of(candidates: Candidates) -> list[tuple[int, slice]]:
    """Steps with the places of their contexts, which are consecutive; one step if not labelled."""
    count = len(candidates.contexts)
    if candidates.labels.step is None or not count:
        return [(0, slice(0, count))] if count else []
    steps = to_numpy(candidates.labels.step)
    starts = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1)).tolist()
    pairs = zip(steps[starts].tolist(), starts, [*starts[1:], count], strict=True)
    return [(step, slice(a, b)) for step, a, b in pairs]


@dataclass(frozen=True, eq=False, repr=False)
class Known(Brief):
    """What is known of a batch: what `examine` was handed, all of it or the part of a slice.

    Attributes:
        target: q*, or None where no target can be weighed.
        operator: (μ, A), or None where it is not known.
        candidates: The batch.
        tokens: Its token log-probs, or None.
        gaps: Token sums, where tokens were read and not held.
        lag: Policy versions between sampling and training, [N], or None.
        declared: By step; ``None`` is the key of what holds at every step.
        samples: Places of contexts with draws from the target, and those draws.
        knobs: What the target was turned to, by step.
        lack: Why no target is weighed, where none is.
    """

    target: TargetFamily | None
    operator: Operator | None
    candidates: Candidates
    tokens: Tokens | None
    gaps: Gaps
    lag: Int[np.ndarray, " N"] | None
    declared: Mapping[int | None, Declared]
    samples: tuple[Int[np.ndarray, " S"], Candidates] | None
    knobs: Knobs
    lack: Unknown | None

    @property
    def selects(self) -> bool:
        """Whether candidates are selected and no policy is trained."""
        return self.operator is not None and isinstance(self.operator.action, SelectionRule)

    @property
    def sampled(self) -> bool:
        """Whether the candidates are draws of μ."""
        return self.candidates.semantics == "sampled"

    @property
    def policy(self) -> Float[Array, " N"] | None:
        """Log π before it saw the batch: ``policy`` if recorded, else ``old``."""
        known = self.candidates.log_anchor
        return known.get("policy", known.get("old"))

    @cached_property
    def log_r(self) -> Float[np.ndarray, " N"] | None:
        """Log π/μ; None where it is not recorded, or means nothing."""
        policy, mu = self.policy, self.candidates.log_mu
        if policy is None or mu is None or self.selects or not self.sampled:
            return None
        log_r: Float[np.ndarray, " N"] = to_numpy(policy) - to_numpy(mu)
        return log_r

    @property
    def length(self) -> Int[np.ndarray, " N"] | None:
        """Tokens of every candidate."""
        if self.candidates.labels.length is None and self.tokens is not None:
            return self.tokens.sequences.sizes
        return self.candidates.labels.length

    @cached_property
    def of_host(self) -> Declared:
        """What was declared of all these steps: means of what every step has."""
        every = self.declared.get(None)
        if every is not None:
            return every
        found = [self.declared.get(step, Declared()) for step, _ in steps_of(self.candidates)]
        if len(found) == 1:
            return found[0]
        entropies = [item.entropy for item in found]
        return Declared(
            on_policy=bool(found) and all(item.on_policy for item in found),
            activation=mean_of_known(item.activation for item in found),
            entropy=None if None in entropies else mean_of_known(entropies),
            one_engine=bool(found) and all(item.one_engine for item in found),
            grouped=all(item.grouped for item in found),
            mismatch=_joined([item.mismatch for item in found]),
            staleness=_joined([item.staleness for item in found]),
            reward_range=_same([item.reward_range for item in found]),
        )

    @property
    def width(self) -> float | None:
        """Declared range of the tilt at η = 1, Σ_k η_k R_k / η; None where one is not declared."""
        if self.target is None:
            return None
        return declared_width(self.target.target, self.of_host.reward_range)

    def cut(self, at: slice) -> "Known":
        """The part of some consecutive contexts, as views."""
        whole, sizes = self.candidates, self.candidates.contexts.sizes
        if at == slice(0, len(sizes)):
            return self
        offsets = whole.contexts.offsets
        rows = slice(int(offsets[at.start]), int(offsets[at.stop]))
        labels = whole.labels
        step = None if labels.step is None else labels.step[at]
        tokens = None
        if self.tokens is not None:
            tokens = self.tokens.take(np.arange(rows.start, rows.stop))
        candidates = Candidates(
            contexts=Groups(sizes[at]),
            utility={name: x[rows] for name, x in whole.utility.items()},
            log_mu=None if whole.log_mu is None else whole.log_mu[rows],
            log_anchor={name: x[rows] for name, x in whole.log_anchor.items()},
            semantics=whole.semantics,
            labels=Labels(
                step=step,
                length=None if labels.length is None else labels.length[rows],
                answer=None if labels.answer is None else labels.answer[rows],
            ),
        )
        steps = set() if step is None else set(np.unique(step).tolist())
        return replace(
            self,
            candidates=candidates,
            tokens=tokens,
            gaps={p: {s: x for s, x in by.items() if s in steps} for p, by in self.gaps.items()},
            lag=None if self.lag is None else self.lag[rows],
            samples=None,
        )


@dataclass(frozen=True, eq=False, repr=False)
class Examined(Brief):
    """D of a batch.

    Attributes:
        diagnostics: Of every context.
        summary: Of the batch: what `classify` reads and a run records.
        unknown: Every number of the summary that is None, why, and what would make it known.
        known: What it was made from.
        weights: log w and what it is made of; None without a target.
        reverse: ESS_rel seen from draws of the target, [C]; NaN where a context has none.
    """

    diagnostics: Diagnostics
    summary: Summary
    unknown: tuple[Unknown, ...]
    known: Known
    weights: Weights | None
    reverse: Float[np.ndarray, " C"]

    @property
    def candidates(self) -> Candidates:
        """The batch."""
        return self.known.candidates

    @property
    def log_w(self) -> Float[np.ndarray, " N"]:
        """Log q*/μ; 0 without a target."""
        return np.zeros(len(self.candidates)) if self.weights is None else self.weights.log_w

    def part(self, at: slice) -> "Examined":
        """D of some consecutive contexts: the same as examining them alone."""
        known = self.known.cut(at)
        if known is self.known:
            return self
        contexts, weights = self.candidates.contexts, self.weights
        rows = slice(int(contexts.offsets[at.start]), int(contexts.offsets[at.stop]))
        diagnostics = self.diagnostics.part(at, self.log_w, contexts, _utility(self.known, weights))
        if weights is not None:
            cut = {item.name: getattr(weights, item.name) for item in fields(weights)}
            cut = {n: x[rows] if isinstance(x, np.ndarray) else x for n, x in cut.items()}
            weights = replace(weights, **cut)
        return _summarised(known, weights, diagnostics, self.reverse[at])


def examine(
    procedure: Procedure | TargetFamily | None,
    candidates: Candidates,
    *,
    gaps: Gaps | None = None,
    tokens: Tokens | None = None,
    lag: Int[np.ndarray, " N"] | None = None,
    declared: Declared | Mapping[int, Declared] | None = None,
    knobs: Knobs | None = None,
    samples: tuple[Int[np.ndarray, " S"], Candidates] | None = None,
    lack: Unknown | None = None,
) -> Examined:
    """The diagnostics D of a batch: everything that is recorded of it allows, and nothing else.

    π is the policy before it saw these candidates: ``policy`` if recorded, else ``old``.

    Args:
        procedure: The triple; its target alone where the operator is not known; None where no
            target can be weighed, and contexts are told apart by the first utility.
        candidates: The batch, or several steps of a run, contexts in the order of ``labels.step``.
        gaps: Token sums of log a − log b, where tokens were read and not held.
        tokens: Token log-probs; those of the candidates if None.
        lag: Policy versions between sampling and training, [N]; 0 is fresh, None unknown.
        declared: What only the host knows, of all steps or by step. See `Declared`.
        knobs: What the target was turned to at every step; None: it stayed as it was declared.
        samples: Places of contexts, ascending, and draws from the target in them.
        lack: Why there is no target to weigh, where the caller knows it better.

    Raises:
        MissingLogProbs: log q*/μ itself cannot be computed.
        DataError: A utility of the target is missing.

    Source: TOD framework, section 5
    """
    triple = isinstance(procedure, Procedure)
    known = Known(
        target=procedure.target if isinstance(procedure, Procedure) else procedure,
        operator=procedure.operator if triple else None,  # type: ignore[union-attr]
        candidates=candidates,
        tokens=candidates.tokens if tokens is None else tokens,
        gaps=gaps or {},
        lag=lag,
        declared=dict(declared.items())
        if isinstance(declared, Mapping)
        else {None: declared or Declared()},
        samples=samples,
        knobs=knobs or {},
        lack=lack,
    )
    weights = None if known.target is None else weigh(known.target, candidates, knobs)
    return _summarised(known, weights, _measured(known, weights), _reverse(known, weights))


def _same(ranges: Sequence[Mapping[str, Sequence[float]]]) -> Mapping[str, Any]:
    """What every step declares alike."""
    first = ranges[0] if ranges else {}
    return {name: r for name, r in first.items() if all(o.get(name) == r for o in ranges)}


def _utility(known: Known, weights: Weights | None) -> Any:
    """What a context's mean, passes and failures are of; None without a utility."""
    if weights is not None:
        return weights.value
    return next(map(to_numpy, known.candidates.utility.values()), None)


def _measured(known: Known, weights: Weights | None) -> Diagnostics:
    """Of every context. Answers count where they are voted on, or no operator is known."""
    utility = _utility(known, weights)
    votes = known.operator is None or isinstance(known.operator.action, MajorityVote | WeightedVote)
    declares = known.of_host.on_policy and known.log_r is None and known.sampled
    return measure(
        np.zeros(len(known.candidates)) if weights is None else weights.log_w,
        utility if weights is None else weights.information,
        known.candidates.contexts,
        utility=utility,
        log_r=known.log_r,
        answers=known.candidates.labels.answer if votes else None,
        legs_declared=("policy_proposal",) if declares else (),
        legs_not_applicable=TRAINED if known.selects else (),
    )


def _reverse(known: Known, weights: Weights | None) -> Float[np.ndarray, " C"]:
    """ESS_rel from draws of the target: exp(LSE ω(y) − ln K − LSE ω(z) + ln m) by context.

    NaN where there are none, or where one side has no finite weight; 0 where μ cannot propose one
    of them. A selectivity finds its η from the candidates of a context: draws have none.
    """
    found = np.full(len(known.candidates.contexts), np.nan)
    if known.samples is None or weights is None or not draws_weighable(known):
        return found
    assert known.target is not None  # noqa: S101 - there are weights
    at, draws = known.samples
    contexts, rows = known.candidates.contexts.take(at)
    steps = known.candidates.labels.step
    labelled = replace(draws, labels=Labels(step=None if steps is None else steps[at]))
    omega = weigh(known.target, labelled, known.knobs).log_w
    beyond = omega == np.inf
    with np.errstate(invalid="ignore"):
        finite = np.where(beyond, 0.0, omega)
        values = to_numpy(reverse_ess(weights.log_w[rows], contexts, finite, draws.contexts))
    missed = to_numpy(draws.contexts.sum(beyond.astype(np.float64))) > 0
    values = np.where(missed, 0.0, values)
    found[at] = np.where(np.isfinite(values), values, np.nan)
    return found


def draws_weighable(known: Known) -> bool:
    """Whether draws of the target have all that the target reads."""
    if known.samples is None or known.target is None:
        return False
    target, draws = known.target.target, known.samples[1]
    has = set(draws.utility) >= set(target.utilities) and target.needs() <= set(draws.recorded)
    return has and target.selectivity is None


def _summarised(
    known: Known, weights: Weights | None, diagnostics: Diagnostics, reverse: Any
) -> Examined:
    """One record of the batch, with a reason for everything that it leaves open."""
    host = known.of_host
    mismatch, no_mismatch = _mismatch(known)
    staleness, no_staleness = _staleness(known)
    drift, no_drift = _drift(known)
    path, no_path = _path(known, weights, diagnostics)
    seen = reverse[~np.isnan(reverse)]
    summary = diagnostics.summary(
        coverage=Coverage(reverse_ess=harmonic_mean(seen)) if seen.size else None,
        mismatch=mismatch,
        staleness=staleness,
        drift=drift,
        activation=host.activation,
        entropy=_entropy(known) if host.entropy is None else host.entropy,
        path=path,
    )
    if not known.sampled:
        summary = replace(summary, overlap=Overlap())
    if weights is None:
        summary = _without_target(summary)
    unclear = weights is None and not known.candidates.utility
    if unclear or not host.grouped:
        counts = replace(summary.contexts, informative=None, zero_information=None)
        counts = counts if host.grouped else replace(counts, singleton=None)
        summary = replace(summary, contexts=counts)
    unknown = (
        *_no_weights(known, summary),
        *_no_legs(known, summary),
        *_no_coverage(known, summary),
        *no_mismatch,
        *_no_lag(known),
        *no_staleness,
        *no_drift,
        *no_path,
        *_no_activation(known, summary),
        *_no_entropy(known, summary),
    )
    return Examined(diagnostics, summary, unknown, known, weights, reverse)


def _without_target(found: Summary) -> Summary:
    overlap = replace(
        found.overlap,
        target_proposal=None,
        target_policy=None,
        minimum=found.overlap.policy_proposal,
        carried_by=None,
        q10={leg: q for leg, q in found.overlap.q10.items() if leg == "policy_proposal"},
    )
    return replace(found, ess_rel=EssRel(), tails=Tails(), overlap=overlap)


MISSING = {
    "mu": ("the sampler's log-probs are not recorded", "a log_mu column"),
    "old": ("the old policy's log-probs are not recorded", "a log_old column"),
    "policy": ("the policy's log-probs are not recorded", "a log_policy column"),
    "ref": ("the reference's log-probs are not recorded", "a log_ref column"),
}


def _missing(known: Known, what: str, *names: str) -> tuple[Unknown, ...]:
    """The first policy that is not recorded; ``policy|old`` asks for either. Empty if all are."""
    recorded = set(known.candidates.recorded)
    for wanted in names:
        either = wanted.split("|")
        if recorded.isdisjoint(either):
            return (Unknown(what, *MISSING[either[0]], lacks=wanted),)
    return ()


def _unusable(what: str) -> tuple[Unknown, ...]:
    why = "log-probs of the policy are recorded and infinite"
    return (Unknown(what, why, "finite log-probs of the policy", "impossible"),)


def _no_policy(what: str) -> tuple[Unknown, ...]:
    why = "rollouts are selected and no policy is trained"
    return (Unknown(what, why, "nothing: it means nothing here", "not_applicable"),)


def _no_draws(what: str) -> tuple[Unknown, ...]:
    why = "the rollouts are a fixed set and no draws of mu"
    return (Unknown(what, why, "rollouts that are sampled", "not_applicable"),)


def _inapplicable(known: Known, what: str) -> tuple[Unknown, ...]:
    """Why a number of the policy in training means nothing here; empty where it may be known."""
    if known.selects:
        return _no_policy(what)
    return () if known.sampled else _no_draws(what)


def blind(summary: Summary) -> Unknown | None:
    """Why no context says anything of q*, where none does; the number has still to be named."""
    counts = summary.contexts
    if counts.singleton is None:
        why = "it is not recorded which rollouts share a prompt"
        return Unknown("", why, "a group or prompt id of every rollout", lacks="context")
    if counts.informative is None:
        return Unknown("", "no reward is recorded", "a reward per rollout", lacks="utility")
    if counts.informative:
        return None
    if counts.singleton == counts.total:
        why, needs = "every prompt has a single rollout", "several rollouts a prompt"
    elif counts.all_pass is None and summary.ess_rel.median is None and counts.invalid:
        why, needs = "no prompt has a usable weight", "finite rewards and log-probs"
    else:
        why = "no prompt is informative: all rollouts of each weigh the same"
        needs = "prompts of mixed outcome: more rollouts, or easier or harder prompts"
    return Unknown("", why, needs, "no_information")


def _no_weights(known: Known, summary: Summary) -> tuple[Unknown, ...]:
    lack = known.lack
    if known.target is None and lack is None:
        lack = Unknown("", "no target is known", "a target", "not_declared")
    lack = lack or blind(summary)
    if lack is not None:
        names = ["ess_rel", "tails", "overlap.target_proposal"]
        if known.target is None:
            names.append("worst_contexts")
        return tuple(replace(lack, what=what) for what in names)
    if summary.tails.pareto_k_pooled is not None:
        return ()
    why = "fewer than 25 pooled weights, or a tail of few distinct ones, as of a 0/1 reward"
    needs = "more informative prompts, or a reward of more values"
    return (Unknown("tails.pareto_k_pooled", why, needs, "too_few"),)


def _no_legs(known: Known, summary: Summary) -> tuple[Unknown, ...]:
    overlap = summary.overlap
    found: list[Unknown] = []
    for leg in TRAINED:
        what = f"overlap.{leg}"
        if getattr(overlap, leg) is not None or known.selects:
            continue
        nothing = known.lack or blind(summary)
        lacking: tuple[Unknown, ...] = ()
        if not known.sampled:
            lacking = _no_draws(what)
        elif "policy_proposal" not in overlap.declared:
            lacking = _missing(known, what, "mu", "policy|old")
        alone = summary.contexts.singleton in (None, summary.contexts.total)
        if not lacking and nothing is not None and (leg == "target_policy" or alone):
            lacking = (replace(nothing, what=what),)
        found += lacking or _unusable(what)
    return tuple(found)


def _no_coverage(known: Known, summary: Summary) -> tuple[Unknown, ...]:
    cover, found = summary.coverage, []
    if cover.pass_at_k is None:
        what, needs = "coverage.pass_at_k", "a 0/1 reward"
        why = "the reward is not binary" if known.candidates.utility else "no reward is recorded"
        found.append(Unknown(what, why, needs, lacks="" if known.candidates.utility else "utility"))
    if cover.missing_mass is None:
        why = "it is not recorded which answers are the same"
        needs = "an `answer` column in TOD's own format"
        found.append(Unknown("coverage.missing_mass", why, needs, lacks="answer"))
    what = "coverage.mean_rho"
    if cover.mean_rho is None:
        lacking = _inapplicable(known, what) or _missing(known, what, "mu", "policy|old")
        found += lacking or _unusable(what)
    elif cover.mean_rho_z is None:
        why = "fewer than 100 effective rollouts carry it, or all have one ratio: it has no error"
        found.append(Unknown("coverage.mean_rho_z", why, "more prompts", "too_few"))
    if cover.reverse_ess is None:
        found.append(_no_reverse(known))
    return tuple(found)


def _no_reverse(known: Known) -> Unknown:
    what = "coverage.reverse_ess"
    if known.samples is None:
        why = "no rollout is marked as a sample of the target"
        needs = "verified solutions or teacher samples, with log_mu and `drawn_from` = `target`"
        return Unknown(what, why, needs, lacks="samples")
    mine, draws = known.candidates, known.samples[1]
    lacking = [name for name in mine.utility if name not in draws.utility]
    lacking += [f"log_{name}" for name in mine.recorded if name not in draws.recorded]
    named = ", ".join(lacking) or "a usable weight under this target"
    return Unknown(what, f"the samples of the target lack {named}", "the same columns for them")


def _gap(known: Known, first: str, second: str, among: Any = None) -> Mismatch | None:
    """Log first − log second, of some contexts; with token means where tokens or sums are known."""
    contexts: Any = known.candidates.contexts
    tokens, rows = known.tokens, None
    if among is not None and not among.all():
        contexts, rows = contexts.take(np.flatnonzero(among))
        tokens = None if tokens is None else tokens.take(rows)
    if not len(contexts):
        return None
    sums, by_token = GapSums(), {} if tokens is None else dict(tokens.log_anchor)
    if tokens is not None and tokens.log_mu is not None:
        by_token["mu"] = tokens.log_mu
    if first in by_token and second in by_token:
        a, b = (to_numpy(by_token[name]).astype(np.float64) for name in (first, second))
        sums.add(a - b)
    for part in known.gaps.get((first, second), {}).values():
        sums.merge(part)
    a, b = (to_numpy(known.candidates.log_prob(name, "")) for name in (first, second))
    if rows is not None:
        a, b = a[rows], b[rows]
    return gap_of_sequences(a, b, contexts, sums)


def _completed(measured: Mismatch, host: Mismatch | None) -> Mismatch:
    """What is measured, and of the host what only tokens tell."""
    if host is None or measured.tokens is not None:
        return measured
    own = {name: v for name, v in measured.to_dict().items() if v is not None}
    return replace(host, **own)


def _mismatch(known: Known) -> tuple[Mismatch | None, tuple[Unknown, ...]]:
    """Engine mismatch log π_old − log μ, where the sampler was π_old as it is trained."""
    what, recorded = "mismatch", set(known.candidates.recorded)
    lacking = _inapplicable(known, what)
    if not lacking and {"mu", "policy"} <= recorded and "old" not in recorded:
        why = "log policy - log mu mixes engine mismatch with staleness, and log_old is missing"
        needs = "a log_old column: the sampler's weights, scored in training"
        lacking = (Unknown(what, why, needs, lacks="old"),)
    lacking = lacking or _missing(known, what, "mu", "old")
    if lacking:
        return None, lacking
    fresh, why = _fresh(known)
    if why:
        needs = "log-probs of the training forward at the sampler's own version"
        return None, (Unknown(what, why, needs, "not_applicable"),)
    if known.of_host.one_engine:
        why = "log mu was read off the training forward: there is no second engine to compare"
        return None, (Unknown(what, why, "log_mu as the sampler itself records it", lacks="mu"),)
    found = _gap(known, "old", "mu", fresh)
    if found is None:
        return None, _unusable(what)
    return _completed(found, known.of_host.mismatch), ()


def _fresh(known: Known) -> tuple[Any, str]:
    """Contexts that π_old itself sampled, [C] (None: all), or else why there are none."""
    if known.lag is not None:
        contexts: Any = known.candidates.contexts
        fresh = contexts.max(known.lag.astype(np.float64)) <= 0
        behind = "the sampler was behind the trainer everywhere: log old - log mu mixes engine "
        return fresh, "" if fresh.any() else behind + "mismatch with staleness"
    if known.operator is None:
        return None, ""
    proposal = known.operator.proposal
    if proposal.samplers != ("old",) or proposal.source == "replay":
        return None, f"rollouts of the proposal {proposal.source!r} are no draws of log old"
    if proposal.refresh != 1:
        return None, "mu is not refreshed every step: log old - log mu holds staleness too"
    if getattr(proposal, "top_p", 1.0) < 1 or getattr(proposal, "top_k", None) is not None:
        return None, "mu is truncated (top_p, top_k): log old - log mu holds the truncation too"
    if proposal.scoring_temperature != proposal.temperature:
        return None, "mu has its own temperature: log old - log mu holds the difference too"
    return None, ""


def _no_lag(known: Known) -> tuple[Unknown, ...]:
    recorded = set(known.candidates.recorded)
    told = known.lag is not None or known.operator is not None
    if told or "mu" not in recorded or not recorded & {"old", "policy"}:
        return ()
    why = (
        "it is not recorded which weights sampled: were they older than the trainer's, then "
        "log old - log mu holds staleness too"
    )
    needs = "a `lag` column: training versions behind, 0 where fresh"
    return (Unknown("lag", why, needs, lacks="lag"),)


def _staleness(known: Known) -> tuple[Mismatch | None, tuple[Unknown, ...]]:
    """The policy's travel log π − log π_old since it sampled."""
    what = "staleness"
    lacking = _inapplicable(known, what) or _missing(known, what, "policy", "old")
    found = None if lacking else _gap(known, "policy", "old")
    if found is None:
        return None, lacking or _unusable(what)
    return _completed(found, known.of_host.staleness), ()


def _drift(known: Known) -> tuple[Drift, tuple[Unknown, ...]]:
    """KL(π‖ref) and KL(π‖π_old) by k1, draws of μ weighted by π/μ where μ is recorded.

    Without a recorded ``policy`` π is π_old itself, and has not moved from it.
    """
    names = {"ref": "policy|old", "old": "policy"}
    policy, mu = known.policy, known.candidates.log_mu
    other = known.operator is not None and known.operator.proposal.samplers != ("old",)
    lacking = [item for name in names for item in _inapplicable(known, f"drift.{name}")]
    if lacking:
        return Drift(), tuple(lacking)
    if other and mu is None:
        why = "the rollouts are no draws of the policy, and log mu is not recorded"
        lacking = [Unknown(f"drift.{name}", why, "a log_mu column", lacks="mu") for name in names]
        return Drift(), tuple(lacking)
    lacking = [u for n, of in names.items() for u in _missing(known, f"drift.{n}", of, n)]
    absent = {item.what for item in lacking}
    wanted = [name for name in names if f"drift.{name}" not in absent]
    if not wanted or policy is None:
        return Drift(), tuple(lacking)
    log_rho = None if mu is None else to_numpy(policy) - to_numpy(mu)
    anchors = {name: known.candidates.log_anchor[name] for name in wanted}
    found, reasons = drift_and_reasons(policy, anchors, known.length, log_rho)
    return found, (*lacking, *reasons)


def _path(
    known: Known, weights: Weights | None, diagnostics: Diagnostics
) -> tuple[Path | None, tuple[Unknown, ...]]:
    """Where π is between the anchor and q*; an ``old`` in the anchor is taken out of it.

    With a share ρ of π_old in b, iterating leads along the path of the rest of the anchor b' to
    b'·exp(tilt/(1 − ρ)), and log π/b' is (log π/b − ρ·log π/π_old)/(1 − ρ).
    """
    what = "path"
    lacking = _inapplicable(known, what) or _no_fixed_anchor(known)
    if not lacking and weights is not None and known.log_r is None and not known.of_host.on_policy:
        lacking = _missing(known, what, "mu", "policy|old")
    if lacking or weights is None or known.target is None:
        return None, lacking
    log_r = np.zeros(len(weights.tilt)) if known.log_r is None else known.log_r
    tilt, gap = weights.tilt, log_r - weights.log_base
    old = _share_of_old(known.target.target)
    if old:
        policy, before = known.policy, known.candidates.log_anchor.get("old")
        moved = 0.0 if policy is None or before is None else to_numpy(policy) - to_numpy(before)
        tilt, gap = tilt / (1 - old), (gap - old * moved) / (1 - old)
    step = known.candidates.labels.step
    found = path_of(
        tilt,
        gap,
        log_r,
        known.candidates.contexts,
        diagnostics.informative,
        eta=weights.last,
        step=None if step is None else to_numpy(step),
    )
    if found is not None:
        return found, ()
    why = "no prompt is informative: all rollouts of each weigh the same"
    needs = "prompts of mixed outcome: more rollouts, or easier or harder prompts"
    return None, (Unknown(what, why, needs, "no_information"),)


def _share_of_old(target: Target) -> float:
    """Exponent of π_old in the anchor."""
    return 0.0 if isinstance(target.anchor, Mixture) else target.anchor.get("old", 0.0)


def moving_anchors(target: Target) -> tuple[str, ...]:
    """Policies of the anchor that move with π and leave no fixed base; an ``old`` can be taken out.

    Args:
        target: q* in its general form.
    """
    if isinstance(target.anchor, Mixture):
        return tuple(n for n in ("mu", "old", "policy") if n in target.anchor.weights)
    used = [name for name, exponent in target.anchor.items() if exponent]
    moving = tuple(name for name in ("mu", "policy") if name in used)
    return moving or (("old",) if _share_of_old(target) >= 1.0 else ())


def _no_fixed_anchor(known: Known) -> tuple[Unknown, ...]:
    """Why there is no path from a base that stays where it is; empty where there is one."""
    what = "path"
    if known.target is None:
        lack = known.lack or Unknown("", "no target is known", "a target", "not_declared")
        return (replace(lack, what=what),)
    target = known.target.target
    moving = moving_anchors(target)
    if moving:
        why = f"the anchor {moving[0]} moves with the policy: there is no base"
        return (Unknown(what, why, "a target anchored at ref", "not_applicable"),)
    if target.selectivity is None and not target.sharpness:
        why = "the target has no tilt, so that its anchor is all of it"
        return (Unknown(what, why, "nothing: it means nothing here", "not_applicable"),)
    return ()


def _no_activation(known: Known, summary: Summary) -> tuple[Unknown, ...]:
    """Gates need a trust region, and log-probs of two policies token by token."""
    what = "activation"
    if summary.activation is not None:
        return ()
    if known.selects:
        return _no_policy(what)
    if known.operator is not None:
        action = known.operator.action
        region = getattr(action, "trust_region", None)
        if not isinstance(action, PolicyGradient) or isinstance(region, Unbounded):
            why, needs = "the operator has no trust region", "nothing: it means nothing here"
            return (Unknown(what, why, needs, "not_applicable"),)
    lacking = _missing(known, what, "policy", "old|mu")
    why = "nobody said which trust region the operator has, or no advantage differs from 0"
    needs = "--clip LOW,HIGH, --operator RECIPE or --config FILE"
    return lacking or (Unknown(what, why, needs, "not_declared"),)


def _entropy(known: Known) -> float | None:
    """−Σ log μ / Σ length, nats a token: unbiased for μ's entropy, over candidates with tokens."""
    length, mu = known.length, known.candidates.log_mu
    if mu is None or length is None or not int(length.sum()):
        return None
    value = -float(to_numpy(mu)[length > 0].sum(dtype=np.float64)) / int(length.sum())
    return max(value, 0.0) if np.isfinite(value) else None


def _no_entropy(known: Known, summary: Summary) -> tuple[Unknown, ...]:
    if summary.entropy is not None:
        return ()
    why, needs = "it is not recorded how many tokens a rollout has", "a `length` column"
    lacking = _missing(known, "entropy", "mu")
    return lacking or (Unknown("entropy", why, needs, lacks="length"),)


def _joined(gaps: list[Mismatch | None]) -> Mismatch | None:
    """Token means of several steps; None unless every step has them."""
    known = [gap for gap in gaps if gap is not None and gap.tokens]
    if not known or len(known) < len(gaps):
        return None
    counts = [gap.tokens or 0 for gap in known]
    total = sum(counts)

    def mean(name: str) -> float | None:
        values = [getattr(gap, name) for gap in known]
        if any(value is None for value in values):
            return None
        return float(np.dot(values, counts)) / total

    names = ("mean_abs", "k1", "k2", "k3", "chi2_token")
    means = {name: mean(name) for name in names}
    k1 = means["k1"]
    factor = None if k1 is None or k1 >= 700 else float(np.exp(k1))
    return Mismatch(tokens=total, perplexity_factor=factor, **means)
