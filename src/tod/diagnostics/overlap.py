"""Overlap of target, policy and proposal: three legs from the same K candidates of a context.

With ω = log q̃*/μ and r = log π/μ on candidates drawn from μ, w̄ and ρ̄ their softmax and u = 1/K,
each leg estimates 1/(1 + χ²) of its pair. Constants in ω or r cancel. Every leg is NaN (unknown)
for K = 1 and for invalid contexts. A low leg is evidence; a high leg at small K is not.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, constant_like, namespace
from tod.diagnostics.ess import centre, ess_rel

__all__ = ["harmonic_mean", "policy_proposal", "target_policy"]

LEGS = ("target_proposal", "policy_proposal", "target_policy")
SMALLEST_RHO = 1e-60
"""ρ relative to its largest down to which s = w²/ρ and s² stay far inside the float range; a w that
underflows then has an s below 1e-580, and Σs is at least 1."""


def target_proposal(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """ESS_rel(ω) = exp(−D₂(w̄‖u)), estimates 1/(1+χ²(q*‖μ)), in [1/K, 1].

    Source: derived: 1/(1+χ²(q*‖μ)) (equation leg-target-proposal)
    """
    return _unknown_alone(ess_rel(log_w, contexts), contexts)  # type: ignore[no-any-return]


def policy_proposal(log_r: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """ESS_rel(r) = exp(−D₂(ρ̄‖u)), estimates 1/(1+χ²(π‖μ)), in [1/K, 1].

    Source: derived: 1/(1+χ²(π‖μ)) (equation leg-policy-proposal)
    """
    return _unknown_alone(ess_rel(log_r, contexts), contexts)  # type: ignore[no-any-return]


def target_policy(
    log_w: Float[Array, " N"], log_r: Float[Array, " N"], contexts: Groups
) -> Float[Array, " C"]:
    """exp(2 LSE(ω) − LSE(r) − LSE(2ω−r)) = exp(−D₂(w̄‖ρ̄)), estimates 1/(1+χ²(q*‖π)), in [0, 1].

    It has no floor of 1/K. A candidate with ω = −∞ contributes nothing, even where r = −∞; a
    candidate with finite ω and r = −∞ makes the leg 0: the policy misses a point of the target.
    The reverse leg exp(−D₂(ρ̄‖w̄)) is ``target_policy(log_r, log_w, contexts)``.

    Source: derived: 1/(1+χ²(q*‖π)) (equation leg-target-policy)
    """
    xp = namespace(log_w, log_r)
    w, r = centre(log_w, contexts), centre(log_r, contexts)
    leg = xp.exp(
        2 * contexts.logsumexp(w)
        - contexts.logsumexp(r)
        - contexts.logsumexp(_log_carried(w, r, xp))
    )
    return _unknown_alone(leg, contexts)  # type: ignore[no-any-return]


def carried_by(
    log_w: Float[Array, " N"], log_r: Float[Array, " N"], contexts: Groups
) -> Float[Array, " C"]:
    """n_eff = (Σs)²/Σs² with s = w²/ρ: how many candidates carry ``target_policy``, in [1, K].

    Where the leg is 0 it counts the candidates that the policy misses.

    Source: derived (equation carried-by)
    """
    xp = namespace(log_w, log_r)
    log_s = _log_carried(centre(log_w, contexts), centre(log_r, contexts), xp)
    missed = log_s == float("inf")
    least = xp.full_like(log_s, -float("inf"))
    only_missed = xp.where(missed, xp.zeros_like(log_s), least)
    any_missed = contexts.spread(contexts.max(log_s)) == float("inf")
    log_s = xp.where(any_missed, only_missed, log_s)
    count = contexts.sizes_like(log_s)
    return _unknown_alone(ess_rel(log_s, contexts) * count, contexts)  # type: ignore[no-any-return]


def leg_of_sums(total_w: Any, total_r: Any, total_s: Any) -> Any:
    """``target_policy`` from Σw, Σρ and Σs with s = w²/ρ, w and ρ each up to one common factor."""
    return total_w * total_w / (total_r * total_s)


def harmonic_mean(leg: Float[np.ndarray, " C"]) -> float:
    """1/mean_c(1/Ê): the leg of contexts pooled with normalised weights; 0 if one leg is 0.

    Over an empty array it is NaN.
    """
    if not leg.size:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(1 / np.mean(1 / leg))


def _log_carried(w: Any, r: Any, xp: Any) -> Any:
    """2ω − r with the conventions for infinite entries; NaN of either side stays NaN."""
    outside = w == -float("inf")
    invalid = xp.isnan(w) | xp.isnan(r)
    zero = xp.zeros_like(w)
    with np.errstate(over="ignore"):
        value = 2 * xp.where(outside, zero, w) - xp.where(outside, zero, r)
    value = xp.where(outside, zero - float("inf"), value)
    return xp.where(invalid, zero + float("nan"), value)


def _unknown_alone(leg: Any, contexts: Groups) -> Any:
    alone = constant_like(contexts.sizes == 1, leg)
    return namespace(leg).where(alone, namespace(leg).full_like(leg, float("nan")), leg)
