"""Sequential Monte Carlo over unfinished answers: weights of prefixes, resampling between them.

K particles of one prompt are K unfinished answers. The intermediate target after t tokens is
γ_t ∝ p₀(y_1:t)·ψ_t(y_1:t), with ψ_0 = 1 and, at the end, ψ_T = exp(ηU). A twist ψ_t says how much
of the target an unfinished answer promises; whatever positive ψ_t stand before the end, Ẑ is
unbiased and the law of the answer tends to q* as K grows. Functions are of the particles of one
prompt or of many, in nats and float64. Randomness comes in as uniforms in [0, 1).
"""

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError

__all__ = [
    "incremental_log_weight",
    "stratified_ancestors",
    "systematic_ancestors",
]

Rows = Float[np.ndarray, "C K"]


def incremental_log_weight(
    log_p: Rows, log_q: Rows, log_twist: Rows, log_twist_before: Rows
) -> Rows:
    """What some new tokens add to a particle's log-weight: log p₀ − log q + log ψ_t − log ψ_s.

    Tokens s+1 … t are one step: log-probabilities are their sums. A particle that has ended draws
    nothing: its log p₀ and log q are 0 and its ψ no longer changes. A twist of 0 (−∞) is a weight
    of 0; what was 0 before is 0 for ever, and not the difference of two −∞.

    Source: docs/equations.md A.21; 2306.03081, 2404.17546 (equation smc-increment)

    Args:
        log_p: log p₀ of the new tokens, [C, K], nats.
        log_q: log q of them as they were drawn, [C, K], nats, finite.
        log_twist: log ψ_t after them, [C, K], nats, < +∞.
        log_twist_before: log ψ_s before them, [C, K], nats, < +∞.

    Raises:
        DataError: A twist is +∞ or NaN.
    """
    for twist in (log_twist, log_twist_before):
        if np.isnan(twist).any() or np.isposinf(twist).any():
            raise DataError(
                "a twist is +inf or not a number: log psi of an unfinished answer must be a "
                "number, or -inf where nothing that begins so can be in the target."
            )
    dead = np.isneginf(log_twist) | np.isneginf(log_twist_before)
    change = np.where(dead, 0.0, log_twist) - np.where(dead, 0.0, log_twist_before)
    return np.where(dead, -np.inf, log_p - log_q + change)


def systematic_ancestors(
    weights: Rows, uniforms: Float[np.ndarray, "C K"]
) -> Int[np.ndarray, "C K"]:
    """Ancestors by K points (k + u)/K with the first uniform of every prompt, [C, K], ascending.

    A particle of normalised weight w̄ has ⌊Kw̄⌋ or ⌈Kw̄⌉ children, K·w̄ in expectation; one of weight
    0 has none.

    Source: docs/equations.md A.21; Kitagawa 1996; 2306.03081 (equation systematic-resampling)

    Raises:
        DataError: No particle of a prompt has positive weight.
    """
    return _ancestors(weights, np.broadcast_to(uniforms[:, :1], uniforms.shape))


def stratified_ancestors(
    weights: Rows, uniforms: Float[np.ndarray, "C K"]
) -> Int[np.ndarray, "C K"]:
    """Ancestors by K points (k + u_k)/K with a uniform each, [C, K], ascending.

    A particle of normalised weight w̄ has K·w̄ children in expectation, and fewer than two more or
    fewer; one of weight 0 has none.

    Source: docs/equations.md A.21; Kitagawa 1996; 2306.03081 (equation stratified-resampling)

    Raises:
        DataError: No particle of a prompt has positive weight.
    """
    return _ancestors(weights, uniforms)


def _ancestors(weights: Rows, uniforms: Rows) -> Int[np.ndarray, "C K"]:
    """The particle whose stretch of the cumulative weights holds each point."""
    total = weights.sum(axis=1)
    if not (total > 0).all():
        raise DataError(
            f"no particle of prompt {int(np.argmin(total > 0))} has positive weight: there is "
            "nothing to resample. Draw more particles, or use a twist that is positive."
        )
    size = weights.shape[1]
    cumulative = np.cumsum(weights, axis=1)
    points = (np.arange(size) + uniforms) / size * cumulative[:, -1:]
    last = size - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)  # rounding may not reach beyond it
    places = (cumulative[:, None, :] <= points[:, :, None]).sum(axis=-1)
    return np.asarray(np.minimum(places, last[:, None]))
