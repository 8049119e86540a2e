"""What the action of a triple sees of candidates, and what it gives every token."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxtyping import Float

from tod.base import Array, DataError, detach, namespace
from tod.candidates import Candidates, Tokens
from tod.operators import (
    Batch,
    Credit,
    SelectionPool,
    Totals,
    UpdateRule,
)
from tod.procedure.procedure import Procedure, pulled_names
from tod.targets import Mixture, Target

__all__ = ["batch_of", "credit", "pool_of", "totals_of", "utility_value"]


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
        raise DataError("an update needs token log-probs, and these rollouts carry no tokens.")
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
) -> SelectionPool:
    """What a selection rule sees of some candidates.

    Args:
        target: q* in its general form.
        candidates: With utilities, and answers among their labels for votes.
        similarity: G(y_i, y_j) row by row, K² values a context, for minimum risk.
    """
    needed = target.needs(candidates.semantics)
    return SelectionPool(
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


def _with_old(candidates: Candidates, log_old: Any) -> Candidates:
    """The candidates with log π_old as it was at the batch's first use."""
    assert candidates.tokens is not None  # noqa: S101 - checked by the caller
    old = candidates.tokens.sequences.sum(log_old)
    return replace(candidates, tokens=None, log_anchor={**candidates.log_anchor, "old": old})


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
