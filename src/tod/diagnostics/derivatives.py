"""How the weight statistics move when a knob moves; exact on the sample."""

from typing import Any

from jaxtyping import Float

from tod.base import Array, Groups, namespace
from tod.diagnostics.ess import ess
from tod.diagnostics.shift import centre


def d_log_ess(
    log_w: Float[Array, " N"], direction: Float[Array, " N"], contexts: Groups
) -> Float[Array, " C"]:
    """∂ log ESS/∂φ = 2 (E_w̄[∂ω/∂φ] − E_v̄[∂ω/∂φ]), v̄ = softmax(2ω), per context.

    For the sharpness of utility k the direction is U_k; for the ratio of two anchors it is
    log π_ref − log π_old. Candidates of weight zero do not count, whatever their direction.
    """
    e = namespace(log_w).exp(centre(log_w, contexts))
    plain, squared = (_mean(w, direction, contexts) for w in (e, e * e))
    return 2 * (plain - squared)  # type: ignore[no-any-return]


def d_ess(
    log_w: Float[Array, " N"], direction: Float[Array, " N"], contexts: Groups
) -> Float[Array, " C"]:
    """∂ESS/∂φ = ESS · ∂ log ESS/∂φ."""
    return ess(log_w, contexts) * d_log_ess(log_w, direction, contexts)  # type: ignore[no-any-return]


def d_kl(
    log_w: Float[Array, " N"], direction: Float[Array, " N"], contexts: Groups, eta: float
) -> Float[Array, " C"]:
    """∂/∂η of log K − H(w̄) = η Var_w̄(U) ≥ 0, for ω = ηU + const (b = μ)."""
    e = namespace(log_w).exp(centre(log_w, contexts))
    mean = contexts.spread(_mean(e, direction, contexts))
    return eta * _mean(e, (direction - mean) ** 2, contexts)  # type: ignore[no-any-return]


def _mean(e: Any, x: Any, contexts: Groups) -> Any:
    """Mean of x under weights proportional to e; where e is 0, x may be infinite."""
    xp = namespace(e)
    kept = xp.where(e == 0, xp.zeros_like(e), x)
    return contexts.sum(e * kept) / contexts.sum(e)
