"""The triple (q*, (μ, A), D): where target, operator and diagnostics meet, and nothing else."""

from collections.abc import Mapping
from typing import Any, Self

from jaxtyping import Float
from pydantic import model_validator

from tod.base import Array, DataError, Spec, detach, namespace
from tod.candidates import Candidates, Tokens
from tod.diagnostics import Diagnostics, measure
from tod.operators import (
    Batch,
    Credit,
    KLPull,
    Operator,
    PolicyGradient,
    Pool,
    Preference,
    Totals,
    UpdateRule,
    WeightedRegression,
    WithinBudget,
)
from tod.targets import Mixture, Target, TargetSpec


class Procedure(Spec):
    """A post-training or inference-control procedure. Source: TOD framework, section 1."""

    target: TargetSpec
    """q*: the intended distribution."""
    operator: Operator
    """(μ, A): how candidates are made and used."""

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        check_compatible(self.tilt, self.operator)
        return self

    @property
    def tilt(self) -> Target:
        """The target in its general form."""
        return self.target.target

    @property
    def anchors_needed(self) -> frozenset[str]:
        """Policies whose log-probs the action reads (diagnostics may profit from more).

        Terms that cancel symbolically are not among them.
        """
        action = self.operator.action
        if isinstance(action, PolicyGradient):
            if action.pull is None:
                return frozenset()
            if isinstance(action.pull, KLPull):
                return frozenset(pulled_names(self.tilt))
            return frozenset(self.tilt.names)
        if not action.needs_anchors:
            return frozenset()
        preferring = isinstance(action, Preference)
        return frozenset(self.tilt.names) if preferring else self.tilt.needs()


def check_compatible(target: Target, operator: Operator) -> None:
    """Refuse an action that the target gives nothing finite, or no single weight.

    Raises:
        ValueError: With the reason and the way out.
    """
    action, anchor = operator.action, target.anchor
    if isinstance(action, Preference) and target.selectivity is not None:
        raise ValueError(
            "a preference loss has one β = 1/(sη), and a selectivity has another η in every "
            "context. Declare eta, or use `listwise`"
        )
    budgeted = isinstance(action, WeightedRegression) and isinstance(action.weights, WithinBudget)
    if budgeted and not any(tilt.eta for tilt in target.tilts):
        raise ValueError(
            "weights kl_budget find the η of the target's utilities, and the target declares none "
            "with an eta above 0. Declare one (its size is not read), or use weights `target`"
        )
    if not isinstance(action, PolicyGradient):
        return
    if target.support:
        raise ValueError(
            f"support {list(target.support)} is a hard constraint, and a policy gradient "
            "has no finite push for a candidate outside the support. Give the constraint a "
            "finite penalty (a tilt), or use weighted_regression"
        )
    mixed = isinstance(anchor, Mixture) and len(anchor.weights) > 1
    if mixed and action.reads_tokens_of_the_anchor:
        raise ValueError(
            f"the anchor mixes {', '.join(target.names)} arithmetically, which no sum over "
            "tokens expresses, and the action pulls token by token. Use a geometric anchor, "
            "or a residual by candidate"
        )
    if target.selectivity is not None and action.weighs_by_sharpness:
        raise ValueError(
            f"advantage {action.advantage.kind!r} with a KL pull weighs the pull by 1/η, and a "
            "selectivity has another η in every context. Use `group_mean`, or declare eta"
        )


def log_weights(target: Target, candidates: Candidates) -> Float[Array, " N"]:
    """The weights log w = log q̃*/μ, [N], nats. See `Target.log_weights`."""
    return target.target.log_weights(candidates)


def examine(procedure: Procedure, candidates: Candidates) -> Diagnostics:
    """The diagnostics D of a batch: everything that its recorded log-probs allow.

    The policy leg uses π before it saw these candidates: ``policy`` if recorded, else ``old``.

    Raises:
        MissingLogProbs: log q*/μ itself cannot be computed.
        DataError: A utility of the target is missing.
    """
    target = procedure.tilt
    policy = candidates.log_anchor.get("policy", candidates.log_anchor.get("old"))
    log_mu = candidates.log_mu
    tilted = bool(target.tilts or target.support or target.selectivity is not None)
    return measure(
        target.log_weights(candidates),
        target.tilt(candidates) if tilted else None,
        candidates.contexts,
        utility=utility_value(target, candidates) if tilted else None,
        log_r=None if policy is None or log_mu is None else policy - log_mu,
    )


def batch_of(
    target: Target,
    candidates: Candidates,
    log_policy: Float[Array, " M"],
    log_old: Float[Array, " M"],
    totals: Totals | None = None,
    critic: Float[Array, " M"] | None = None,
) -> Batch:
    """What an update rule sees of some whole contexts, as plain arrays without a graph.

    Args:
        target: q* in its general form.
        candidates: The contexts, with tokens.
        log_policy: log π_θ at the current parameters, [M].
        log_old: log π_θ when the batch was first used, [M].
        totals: Sizes of the whole optimiser step; of these candidates if None.
        critic: Value of the state before every token, [M], if there is a critic.

    Raises:
        DataError: The candidates carry no tokens.
    """
    if candidates.tokens is None:
        raise DataError("an update needs token log-probs, and these candidates carry no tokens.")
    tokens = candidates.tokens
    fresh = _with_old(candidates, detach(log_old))
    tilt, sampled = target.tilt(candidates), candidates.semantics == "sampled"
    return Batch(
        contexts=candidates.contexts,
        sequences=tokens.sequences,
        log_policy=detach(log_policy),
        log_old=detach(log_old),
        value=utility_value(target, candidates),
        tilt=tilt,
        sharpness=None if target.selectivity is not None else target.sharpness,
        totals=totals or Totals.of(tokens.sequences, candidates.contexts),
        log_w=_if_recorded(target.needs(candidates.semantics), fresh, target.log_weights),
        log_mu=candidates.log_mu if sampled else namespace(tilt).zeros_like(tilt),
        log_base=_if_recorded(frozenset(target.names), fresh, target.log_anchor),
        pulled=_pulled(target, candidates),
        log_mu_tokens=tokens.log_mu,
        log_base_tokens=_base_tokens(target, tokens, detach(log_old)),
        critic=None if critic is None else detach(critic),
        noise_scale=target.noise_scale,
    )


def totals_of(action: UpdateRule, batch: Batch) -> Totals:
    """Totals of a whole step, with every number of it that credit of a part reads.

    Ask it once a step on everything, and hand the answer to every part as ``totals``.
    """
    return action.totals(batch)


def pool_of(
    target: Target, candidates: Candidates, similarity: Float[Array, " P"] | None = None
) -> Pool:
    """What a selection rule sees of some candidates.

    Args:
        target: q* in its general form.
        candidates: With utilities, and answers among their labels for votes.
        similarity: G(y_i, y_j) row by row, K² values a context, for minimum risk.
    """
    needed = target.needs(candidates.semantics)
    return Pool(
        contexts=candidates.contexts,
        value=utility_value(target, candidates),
        log_w=_if_recorded(needed, candidates, target.log_weights),
        answers=candidates.labels.answer,
        similarity=similarity,
    )


def credit(
    procedure: Procedure,
    candidates: Candidates,
    log_policy: Float[Array, " M"],
    log_old: Float[Array, " M"],
    totals: Totals | None = None,
) -> Credit:
    """What the procedure's action gives every token: Σ credit·∇log π is its gradient."""
    batch = batch_of(procedure.tilt, candidates, log_policy, log_old, totals)
    return procedure.operator.update.credit(batch)


def utility_value(target: Target, candidates: Candidates) -> Float[Array, " N"]:
    """Σ_k η_k U_k / Σ_k |η_k|, [N]: the utility itself when there is one with η > 0; 0 at η = 0."""
    return target.target.value(candidates)


def pulled_names(target: Target) -> tuple[str, ...]:
    """Anchors that a KL pull draws to: all but π_old and μ, which the trust region minds."""
    if isinstance(target.anchor, Mixture):
        return ()
    return tuple(name for name in target.names if name not in ("old", "mu"))


def _with_old(candidates: Candidates, log_old: Any) -> Candidates:
    """The candidates with log π_old as it was at the batch's first use."""
    assert candidates.tokens is not None  # noqa: S101 - checked by the caller
    old = candidates.tokens.sequences.sum(log_old)
    return Candidates(
        contexts=candidates.contexts,
        utility=candidates.utility,
        log_mu=candidates.log_mu,
        log_anchor={**candidates.log_anchor, "old": old},
        semantics=candidates.semantics,
    )


def _if_recorded(needed: frozenset[str], candidates: Candidates, compute: Any) -> Any:
    return compute(candidates) if needed <= set(candidates.recorded) else None


def _pulled(target: Target, candidates: Candidates) -> Mapping[str, tuple[Any, float]]:
    tokens = candidates.tokens
    if tokens is None or isinstance(target.anchor, Mixture):
        return {}
    exponents = {str(name): rho for name, rho in target.anchor.items()}
    return {
        name: (tokens.log_anchor[name], exponents[name])
        for name in pulled_names(target)
        if name in tokens.log_anchor
    }


def _base_tokens(target: Target, tokens: Tokens, log_old: Any) -> Any:
    """Σ_j ρ_j log π_j of every token, with π_old as it was at first use; None if not recorded."""
    if isinstance(target.anchor, Mixture):
        return None
    known: dict[str, Any] = {**tokens.log_anchor, "old": log_old}
    if tokens.log_mu is not None:
        known["mu"] = tokens.log_mu
    if not target.names or not set(target.names) <= set(known):
        return None
    total: Any = 0.0
    for name, rho in target.anchor.items():
        total = total + rho * known[name] if rho != 0.0 else total
    return total
