"""Which contexts can say anything about the target: disjoint classes with names.

A context whose tilt Σ_k η_k U_k is the same for all candidates carries no evidence about q*,
whatever its ESS_rel reads (1 when b = μ, close to 1 with two anchors): it is blind, not healthy.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Array, Groups, to_numpy

__all__ = ["constant_within", "context_classes"]

CLASSES = ("informative", "zero_information", "singleton", "invalid")
"""Names of the class codes, in the order of the codes."""
INFORMATIVE, ZERO_INFORMATION, SINGLETON, INVALID = range(4)


def constant_within(x: Float[Array, " N"], contexts: Groups) -> Bool[np.ndarray, " C"]:
    """Whether x is the same for all elements of a context, up to the rounding of a short sum.

    Equal means max − min ≤ 8 ε max|x| with ε of x's own precision: Σ_k η_k U_k added in another
    order may differ by that much. All −∞ is constant; NaN is not.
    """
    return constant(*_range(x, contexts), precision(x))  # type: ignore[no-any-return]


def _range(x: Array, contexts: Groups) -> tuple[Any, Any]:
    low, high = to_numpy(contexts.min(x)), to_numpy(contexts.max(x))
    return low.astype(np.float64), high.astype(np.float64)


def precision(x: Array) -> float:
    """ε of the float type of x."""
    return float(np.finfo(to_numpy(x[:0]).dtype).eps)


def constant(low: Any, high: Any, eps: float) -> Any:
    """``constant_within`` from the smallest and largest of every context and ε."""
    finite = np.isfinite(high) & np.isfinite(low)
    with np.errstate(over="ignore"):
        spread = np.subtract(high, low, out=np.full(len(low), np.inf), where=finite)
    scale = np.where(finite, np.maximum(np.abs(high), np.abs(low)), 0.0)
    return (high == low) | (finite & (spread <= 8 * eps * scale))


def invalid_contexts(log_w: Float[Array, " N"], contexts: Groups) -> Bool[np.ndarray, " C"]:
    """Whether log_w is all −∞, or holds +∞ or NaN, in a context: no weight can be normalised."""
    return ~np.isfinite(to_numpy(contexts.max(log_w)))  # type: ignore[no-any-return]


def context_classes(
    log_w: Float[Array, " N"], tilt: Float[Array, " N"] | None, contexts: Groups
) -> Int[np.ndarray, " C"]:
    """Class code of every context: its position in ``CLASSES``.

    Invalid comes before singleton, and singleton before zero-information.

    Args:
        log_w: log q̃*/μ.
        tilt: Σ_k η_k U_k; None for a target without tilts (its anchors carry the information).
        contexts: Candidates in contexts.

    Source: TOD framework, section 3 (equation zero-information)
    """
    undefined = invalid_contexts(log_w, contexts)
    if tilt is None:
        return class_codes(undefined, contexts.sizes)
    return class_codes(undefined, contexts.sizes, *_range(tilt, contexts), precision(tilt))


def class_codes(
    undefined: Bool[np.ndarray, " C"],
    sizes: Int[np.ndarray, " C"],
    low: Float[np.ndarray, " C"] | None = None,
    high: Float[np.ndarray, " C"] | None = None,
    eps: float = 0.0,
) -> Int[np.ndarray, " C"]:
    """``context_classes`` from the extremes of the tilt in every context and its precision ε."""
    codes = np.full(len(sizes), INFORMATIVE, dtype=np.int8)
    if low is not None and high is not None:
        codes[constant(low, high, eps)] = ZERO_INFORMATION
        undefined = undefined | np.isnan(high)
    codes[sizes == 1] = SINGLETON
    codes[undefined] = INVALID
    return codes


def binary_levels(utility: Float[Array, " N"]) -> tuple[float, float] | None:
    """(fail, pass) when the utility takes only the values {0, 1} or only {−1, 1}; else None."""
    u = to_numpy(utility)
    passed = u == 1
    if not u.size or bool(passed.all()):
        return (0.0, 1.0) if u.size else None
    for fail in (0.0, -1.0):
        if bool((passed | (u == fail)).all()):
            return fail, 1.0
    return None


def all_pass_all_fail(
    utility: Float[Array, " N"], contexts: Groups
) -> tuple[Bool[np.ndarray, " C"], Bool[np.ndarray, " C"]] | None:
    """Contexts whose candidates all pass, and all fail; None unless the utility is binary."""
    levels = binary_levels(utility)
    if levels is None:
        return None
    low, high = _range(utility, contexts)
    return low == levels[1], high == levels[0]


def passes(utility: Float[Array, " N"]) -> Bool[np.ndarray, " N"] | None:
    """Whether each candidate passes; None unless the utility is binary."""
    levels = binary_levels(utility)
    return None if levels is None else to_numpy(utility) == levels[1]


def passing(utility: Float[Array, " N"], low: Any, high: Any) -> dict[str, Any]:
    """Contexts in which all, and no, candidates pass; None each unless the utility is binary.

    Args:
        utility: U, [N], of all these contexts.
        low: Its smallest value by context, [C].
        high: Its largest value by context, [C].
    """
    levels = binary_levels(utility)
    if levels is None:
        return {"all_pass": None, "all_fail": None}
    return {"all_pass": low == levels[1], "all_fail": high == levels[0]}
