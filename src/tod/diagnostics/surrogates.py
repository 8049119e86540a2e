"""Log-weights of long sequences made readable, each under its own name. None equals log q*/μ.

Independent token gaps of variance s² give the true sequence weight ESS_rel ≈ exp(−T s²), near 1/K
for any long answer. Report the true weight and, beside it, a surrogate by name.
"""

import numpy as np
from jaxtyping import Float, Num

from tod.base import Array, DataError, constant_like, namespace


def _lengths(log_w: Array, lengths: Num[np.ndarray, " N"]) -> Array:
    values = np.asarray(lengths)
    if values.shape != tuple(log_w.shape) or bool((values < 1).any()):
        raise DataError(
            f"lengths of shape {values.shape} for log-weights of shape {tuple(log_w.shape)}: one "
            "positive number of tokens per candidate."
        )
    return constant_like(values.astype(np.float64), log_w)  # type: ignore[no-any-return]


def length_mean(log_w: Float[Array, " N"], lengths: Num[np.ndarray, " N"]) -> Float[Array, " N"]:
    """ω/L, the geometric mean over tokens: tempering by 1/L, another exponent per length (GSPO).

    With equal lengths it is the point t = 1/L of the tempering path.
    """
    return log_w / _lengths(log_w, lengths)  # type: ignore[no-any-return]


def length_root(log_w: Float[Array, " N"], lengths: Num[np.ndarray, " N"]) -> Float[Array, " N"]:
    """ω/√L, variance-stabilised: independent token gaps give it one scale at all lengths (FSPO)."""
    return log_w / namespace(log_w).sqrt(_lengths(log_w, lengths))  # type: ignore[no-any-return]


def truncated(log_w: Float[Array, " N"], log_cap: float) -> Float[Array, " N"]:
    """min(ω, log C): biased, with the second moment of the weight bounded by C²."""
    xp = namespace(log_w)
    return xp.where(log_w < log_cap, log_w, xp.full_like(log_w, log_cap))  # type: ignore[no-any-return]


SURROGATES = {
    "length_mean": "log-weight divided by its length: tempers by 1/L",
    "length_root": "log-weight divided by the root of its length: one scale at all lengths",
    "truncated": "log-weight capped: biased, bounded",
    "tilt_only": "utilities alone, anchors dropped: exact only when b = μ",
}
"""Names under which a surrogate is reported, with what it is."""
