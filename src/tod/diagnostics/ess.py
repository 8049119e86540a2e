"""Effective sample size of log-weights within each context, its family and its identities.

Everything here reads log_w [N] = log q̃*/μ in nats, up to a constant per context, and answers per
context [C]. Entries of −∞ are candidates of zero weight and still count in K. A context that is
all −∞, or holds +∞ or NaN, is invalid and answers NaN, never 1.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, Groups, detach, namespace

__all__ = [
    "chi2",
    "ess",
    "ess_rel",
    "kl_proposal_target",
    "kl_target_proposal",
    "log_ess",
    "log_ess_alpha",
    "log_z",
    "renyi_divergence",
]


def centre(log_w: Float[Array, " N"], contexts: Groups) -> Any:
    """log_w minus the largest of its context, [N]: at most 0, and 0 at least once per context.

    The shift changes no self-normalised statistic and makes each of them exact to rounding, for
    log-weights of any magnitude. A context that is invalid (all −∞, any +∞ or NaN) becomes NaN
    throughout, so nothing downstream needs a mask.
    """
    xp = namespace(log_w)
    top = detach(contexts.max(log_w))
    shift = xp.where(xp.isfinite(top), top, xp.full_like(top, float("nan")))
    with np.errstate(over="ignore"):  # a spread beyond 1.8e308 is a weight of zero
        return log_w - contexts.spread(shift)


def weights(log_w: Float[Array, " N"], contexts: Groups) -> Any:
    """w̄ = softmax of log_w in every context, [N]; NaN throughout an invalid context."""
    e = namespace(log_w).exp(centre(log_w, contexts))
    return e / contexts.spread(contexts.sum(e))


def ess(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """Effective sample size (Σw)²/Σw², in [1, K] (Kong 1992).

    Computed on weights relative to the largest, so that neither sum can over- or underflow.
    A singleton context has ESS 1 and is uninformative. Critique of the rule: Elvira, Martino and
    Robert, arXiv 1809.04129.

    >>> ess(np.array([0.0, -0.5, -1.2, -3.0]), Groups.equal(1, 4)).round(10).tolist()
    [2.6226237449]
    """
    e = namespace(log_w).exp(centre(log_w, contexts))
    return ess_of_sums(contexts.sum(e), contexts.sum(e * e))  # type: ignore[no-any-return]


def ess_of_sums(total: Any, squares: Any) -> Any:
    """(Σw)²/Σw² from its two sums, for weights up to one common factor."""
    return total * total / squares


def log_ess(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """Logarithm of the ESS, 2 LSE(ω) − LSE(2ω), nats, in [0, log K].

    Source: TOD framework, section 3 (equation ess)
    """
    return namespace(log_w).log(ess(log_w, contexts))  # type: ignore[no-any-return]


def ess_rel(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """ESS/K, in [1/K, 1]. Biased upward at small K: compare only at equal K.

    Source: TOD framework, section 3 (equation ess-rel)
    """
    return ess(log_w, contexts) / contexts.sizes_like(log_w)  # type: ignore[no-any-return]


def log_z(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """Estimated log Ẑ = LSE(ω) − log K, nats: the normaliser of q̃*. Keeps the constant of log_w.

    Source: TOD framework, section 3 (equation log-z)
    """
    xp = namespace(log_w)
    top = contexts.max(log_w)
    valid = xp.where(xp.isfinite(top), top, xp.full_like(top, float("nan")))
    lse = contexts.logsumexp(log_w) - xp.log(contexts.sizes_like(log_w))
    return xp.where(xp.isnan(valid), valid, lse)  # type: ignore[no-any-return]


def log_weights_normalised(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:
    """Self-normalised log-weights log w̄ = ω − LSE(ω), nats, at most 0."""
    x = centre(log_w, contexts)
    return x - contexts.spread(contexts.logsumexp(x))  # type: ignore[no-any-return]


def entropy(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """H(w̄) = −Σ w̄ log w̄, nats, in [0, log K]; a weight of zero contributes zero."""
    xp = namespace(log_w)
    log_bar = log_weights_normalised(log_w, contexts)
    safe = xp.where(log_bar == -float("inf"), xp.zeros_like(log_bar), log_bar)  # type: ignore[comparison-overlap]
    return 0 - contexts.sum(xp.exp(log_bar) * safe)  # type: ignore[no-any-return]


def log_ess_alpha(log_w: Float[Array, " N"], contexts: Groups, alpha: float) -> Float[Array, " C"]:
    """Logarithm of the Hill number of order α, log Σ w̄^α / (1−α) = log K − D_α(w̄‖uniform).

    α=0 counts non-zero weights, ½ gives (Σ√w̄)², 1 the perplexity, 2 the usual ESS, ∞ 1/max w̄;
    non-increasing in α. Within 1e-4 of α = 1 the quotient loses four digits; use 1 itself.

    Raises:
        DataError: α is negative or NaN.
    """
    if not alpha >= 0:
        raise DataError(f"alpha={alpha}: Hill numbers have order 0 to infinity. Use 2 for ESS.")
    xp = namespace(log_w)
    log_bar = log_weights_normalised(log_w, contexts)
    if alpha == 0:
        zero = xp.zeros_like(log_bar)
        counted = xp.where(log_bar == -float("inf"), zero, zero + 1)  # type: ignore[comparison-overlap]
        counted = xp.where(xp.isnan(log_bar), log_bar, counted)
        return xp.log(contexts.sum(counted))  # type: ignore[no-any-return]
    if alpha == 1:
        return entropy(log_w, contexts)
    if alpha == float("inf"):
        return -contexts.max(log_bar)  # type: ignore[no-any-return]
    with np.errstate(over="ignore"):
        return contexts.logsumexp(alpha * log_bar) / (1 - alpha)  # type: ignore[no-any-return]


def ess_alpha(log_w: Float[Array, " N"], contexts: Groups, alpha: float) -> Float[Array, " C"]:
    """Hill number of order α of the weights, in [1, K]; see ``log_ess_alpha``.

    Source: Martino, Elvira and Louzada 2017, 1602.03572 (equation ess-alpha)
    """
    return namespace(log_w).exp(log_ess_alpha(log_w, contexts, alpha))  # type: ignore[no-any-return]


def renyi_divergence(
    log_w: Float[Array, " N"], contexts: Groups, alpha: float
) -> Float[Array, " C"]:
    """D_α(w̄‖uniform) = log K − log ESS_α, nats: estimates D_α(q*‖μ)."""
    return _log_k(log_w, contexts) - log_ess_alpha(log_w, contexts, alpha)  # type: ignore[no-any-return]


def kl_target_proposal(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """KL(q*‖μ) estimated by log K − H(w̄), nats, in [0, log K]: blind to more than log K.

    Source: identity of the normalised weights (equation kl-target-proposal)
    """
    return _log_k(log_w, contexts) - entropy(log_w, contexts)  # type: ignore[no-any-return]


def kl_proposal_target(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """−mean log(K w̄), nats: estimates KL(μ‖q*); +∞ where a candidate has weight zero."""
    log_bar = log_weights_normalised(log_w, contexts)
    return -contexts.mean(log_bar) - _log_k(log_w, contexts)  # type: ignore[no-any-return]


def chi2(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """χ²(q*‖μ) estimated by K Σ w̄² − 1 = K/ESS − 1, in [0, K − 1].

    Source: identity of the normalised weights (equation chi2)
    """
    return contexts.sizes_like(log_w) / ess(log_w, contexts) - 1  # type: ignore[no-any-return]


def _log_k(log_w: Any, contexts: Groups) -> Any:
    return namespace(log_w).log(contexts.sizes_like(log_w))


def d_log_ess(
    log_w: Float[Array, " N"], direction: Float[Array, " N"], contexts: Groups
) -> Float[Array, " C"]:
    """∂ log ESS/∂φ = 2 (E_w̄[∂ω/∂φ] − E_v̄[∂ω/∂φ]), v̄ = softmax(2ω), per context.

    For the sharpness of utility k the direction is U_k; for the ratio of two anchors it is
    log π_ref − log π_old. Candidates of weight zero do not count, whatever their direction.

    Source: derived (equation ess-derivative)
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
    counted = xp.where(e == 0, xp.zeros_like(e), x)
    return contexts.sum(e * counted) / contexts.sum(e)
