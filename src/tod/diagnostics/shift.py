"""Shifts and orders inside a context that every statistic of log-weights starts from."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, Groups, constant_like, detach, is_numpy, namespace, to_numpy


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


def ascending(x: Float[Array, " N"], contexts: Groups) -> Int[np.ndarray, " N"]:
    """Indices that sort every context by value, smallest first, contexts staying in place."""
    values = to_numpy(x)
    if contexts.uniform is not None:
        rows = values.reshape(len(contexts), contexts.uniform)
        inside = np.argsort(rows, axis=1, kind="stable")
        return (inside + contexts.offsets[:-1, None]).reshape(-1)  # type: ignore[no-any-return]
    return np.lexsort((values, contexts.owner))


def at(x: Array, index: Int[np.ndarray, " n"]) -> Any:
    """``x[index]`` for either library."""
    return x[index] if is_numpy(x) else x[constant_like(index, x)]
