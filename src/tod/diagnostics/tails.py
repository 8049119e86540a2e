"""Tail indicators: how much of a context's weight sits on how few candidates.

Per context [C] from log_w [N] in nats. Invalid contexts (all −∞, any +∞ or NaN) answer NaN.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

from tod.base import Array, DataError, Groups, constant_like, is_numpy, namespace, to_numpy
from tod.diagnostics.ess import centre

__all__ = ["length_mean", "length_root", "max_weight"]


def log_w_variance(
    log_w: Float[Array, " N"], contexts: Groups, ddof: int = 1
) -> Float[Array, " C"]:
    """Variance of the finite log-weights, nats², divisor n − ddof.

    −ln ESS_rel ≈ variance (ddof 0) while both are small. −∞ entries are left out and counted by
    ``infinite_count``; NaN where no more than ddof finite entries remain; +∞ where the spread
    exceeds 1e154 and the square leaves the float range.

    Source: TOD framework, section 3 (equation log-weight-variance)
    """
    xp = namespace(log_w)
    x = centre(log_w, contexts)
    seen = x != -float("inf")
    x = xp.where(seen, x, xp.zeros_like(x))
    count = contexts.sum(xp.where(seen, xp.ones_like(x), xp.zeros_like(x)))
    deviation = x - contexts.spread(contexts.sum(x) / count)
    deviation = xp.where(seen, deviation, xp.zeros_like(x))
    with np.errstate(over="ignore"):
        squares = contexts.sum(deviation * deviation)
    freedom = count - ddof
    enough = freedom > 0
    value = squares / xp.where(enough, freedom, xp.ones_like(freedom))
    return xp.where(enough, value, xp.full_like(value, float("nan")))  # type: ignore[no-any-return]


def infinite_count(log_w: Float[Array, " N"], contexts: Groups) -> Int[np.ndarray, " C"]:
    """How many candidates of each context have weight exactly zero (log_w = −∞)."""
    lost = to_numpy(log_w) == -np.inf
    return contexts.sum(lost.astype(np.float64)).astype(np.int64)  # type: ignore[attr-defined, no-any-return]


def max_weight(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """Max w̄, in [1/K, 1]; its inverse is the Hill number of order ∞.

    Source: TOD framework, section 3 (equation max-weight)
    """
    return 1 / contexts.sum(namespace(log_w).exp(centre(log_w, contexts)))  # type: ignore[no-any-return]


def top_mass(log_w: Float[Array, " N"], contexts: Groups, m: int = 2) -> Float[Array, " C"]:
    """Sum of the m largest w̄, in [min(m,K)/K, 1]; 1 when K ≤ m.

    Raises:
        DataError: m < 1.

    Source: TOD framework, section 3 (equation top-mass)
    """
    if m < 1:
        raise DataError(f"m={m}: the mass of the m largest weights needs m ≥ 1.")
    xp = namespace(log_w)
    x = centre(log_w, contexts)
    x = taken(x, ascending(x, contexts))
    e = xp.exp(x)
    from_end = contexts.spread(contexts.sizes) - contexts.position
    heavy = constant_like(from_end <= m, log_w)
    return contexts.sum(xp.where(heavy, e, xp.zeros_like(e))) / contexts.sum(e)  # type: ignore[no-any-return]


def max_minus_median(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """Max ω − median ω, nats, ≥ 0; the median is the ⌈K/2⌉-th smallest, +∞ if that one is −∞."""
    x = centre(log_w, contexts)
    middle = contexts.offsets[:-1] + (contexts.sizes + 1) // 2 - 1
    return 0 - taken(x, ascending(x, contexts)[middle])  # type: ignore[no-any-return]


def gini(log_w: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
    """Gini coefficient of the weights, in [0, 1 − 1/K]; K(1 − Gini) is another proper ESS.

    G = Σ_i (2i − K − 1) w̄_(i) / K with w̄ sorted upwards (Martino et al., arXiv 1602.03572).
    """
    x = centre(log_w, contexts)
    e = namespace(log_w).exp(taken(x, ascending(x, contexts)))
    rank = 2.0 * contexts.position + 1 - contexts.spread(contexts.sizes)
    scale = contexts.sizes_like(log_w) * contexts.sum(e)
    return contexts.sum(constant_like(rank.astype(to_numpy(x).dtype), log_w) * e) / scale  # type: ignore[no-any-return]


def _lengths(log_w: Array, lengths: Num[np.ndarray, " N"]) -> Array:
    values = np.asarray(lengths)
    if values.shape != tuple(log_w.shape) or bool((values < 1).any()):
        raise DataError(
            f"lengths of shape {values.shape} for log-weights of shape {tuple(log_w.shape)}: one "
            "positive number of tokens per rollout."
        )
    return constant_like(values.astype(np.float64), log_w)  # type: ignore[no-any-return]


def length_mean(log_w: Float[Array, " N"], lengths: Num[np.ndarray, " N"]) -> Float[Array, " N"]:
    """ω/L, the geometric mean over tokens: tempering by 1/L, another exponent per length (GSPO).

    With equal lengths it is the point t = 1/L of the tempering path.

    Source: GSPO, 2507.18071 (equation length-mean)
    """
    return log_w / _lengths(log_w, lengths)  # type: ignore[no-any-return]


def length_root(log_w: Float[Array, " N"], lengths: Num[np.ndarray, " N"]) -> Float[Array, " N"]:
    """ω/√L, variance-stabilised: independent token gaps give it one scale at all lengths (FSPO).

    Source: FSPO, 2509.09177 (equation length-root)
    """
    return log_w / namespace(log_w).sqrt(_lengths(log_w, lengths))  # type: ignore[no-any-return]


def truncated(log_w: Float[Array, " N"], log_cap: float) -> Float[Array, " N"]:
    """min(ω, log C): biased, with the second moment of the weight bounded by C².

    Source: Ionides 2008 (equation truncated-weight)
    """
    xp = namespace(log_w)
    return xp.where(log_w < log_cap, log_w, xp.full_like(log_w, log_cap))  # type: ignore[no-any-return]


SURROGATES = {
    "length_mean": "log-weight divided by its length: tempers by 1/L",
    "length_root": "log-weight divided by the root of its length: one scale at all lengths",
    "truncated": "log-weight capped: biased, bounded",
    "tilt_only": "rewards alone, anchors dropped: exact only when b = μ",
}
"""Names under which a surrogate is reported, with what it is."""


def ascending(x: Float[Array, " N"], contexts: Groups) -> Int[np.ndarray, " N"]:
    """Indices that sort every context by value, smallest first, contexts staying in place."""
    values = to_numpy(x)
    if contexts.uniform is not None:
        rows = values.reshape(len(contexts), contexts.uniform)
        inside = np.argsort(rows, axis=1, kind="stable")
        return (inside + contexts.offsets[:-1, None]).reshape(-1)  # type: ignore[no-any-return]
    return np.lexsort((values, contexts.owner))


def taken(x: Array, index: Int[np.ndarray, " n"]) -> Any:
    """``x[index]`` for either library."""
    return x[index] if is_numpy(x) else x[constant_like(index, x)]
