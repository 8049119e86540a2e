"""The best of k of n candidates, in closed form: order statistics without replacement."""

import numpy as np
from jaxtyping import Float, Int


def rank_chances(size: int, k: int) -> Float[np.ndarray, " n"]:
    """P(the candidate of rank i, from 0, is the best of k of n) = C(i, k−1)/C(n, k), [n].

    Without replacement, so that Σ_i P_i U_(i) is unbiased for E[best of k of μ] at every k ≤ n. By
    P_{n−1} = k/n and P_{i−1} = P_i·(i − k + 1)/i, which no size overflows.

    Args:
        size: Candidates n.
        k: Candidates drawn, 1 ≤ k ≤ n.

    Source: derived: order statistics without replacement (equation best-of-k-ranks)
    """
    i = np.arange(size - 1, 0, -1, dtype=np.float64)
    falling = np.cumprod(np.concatenate([[k / size], np.maximum(i - k + 1, 0.0) / i]))
    return falling[::-1]


def in_order(
    value: Float[np.ndarray, "C n"], other: Float[np.ndarray, "C n"]
) -> Float[np.ndarray, "C n"]:
    """``other`` in ascending order of ``value``, ties as their mean: they win as often, [C, n].

    Args:
        value: What the best is the largest of.
        other: What is read off the best; ``value`` itself may be.
    """
    if other is value:
        return np.sort(value, axis=1)
    order = np.argsort(value, axis=1, kind="stable")
    ordered = np.take_along_axis(value, order, axis=1)
    carried = np.take_along_axis(other, order, axis=1)
    run = runs(ordered)
    mean = np.bincount(run, weights=carried.ravel()) / np.bincount(run)
    shared: Float[np.ndarray, "C n"] = mean[run].reshape(value.shape)
    return shared


def runs(ordered: Float[np.ndarray, "C n"]) -> Int[np.ndarray, " N"]:
    """Number of the run of equal neighbours that every place of the rows lies in."""
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return np.cumsum(starts.ravel()) - 1


def best_of_k_law(value: Float[np.ndarray, "C n"], k: int) -> Float[np.ndarray, "C n"]:
    """P(candidate i is the best of k drawn without replacement), ties at random, [C, n].

    The mean over such draws is unbiased for best-of-k of μ: for U ∈ {0, 1} it is pass@k,
    1 − C(n−c, k)/C(n, k) (2107.03374).

    Args:
        value: U, [C, n].
        k: Candidates drawn, 1 ≤ k ≤ n.
    """
    order = np.argsort(value, axis=1, kind="stable")
    run = runs(np.take_along_axis(value, order, axis=1))
    by_rank = np.broadcast_to(rank_chances(value.shape[1], k), value.shape).ravel()
    shared = (np.bincount(run, weights=by_rank) / np.bincount(run))[run].reshape(value.shape)
    law = np.empty(value.shape)
    np.put_along_axis(law, order, shared, axis=1)
    return law
