"""Exact laws over the subsets of a candidate set, where there is a closed form."""

import math

import numpy as np
from jaxtyping import Float, Int

from tod.engine.sampling.uniforms import row_keys, uniforms


def best_of_k_law(value: Float[np.ndarray, "C K"], k: int) -> Float[np.ndarray, "C K"]:
    """P(candidate i is the best of k drawn without replacement), ties at random, [C, K].

    With i candidates below it in order, C(i, k−1)/C(K, k); equal values share their sum. The mean
    over such draws is unbiased for best-of-k of μ: for U ∈ {0, 1} it is pass@k, 1 − C(K−c,k)/C(K,k)
    (2107.03374).

    Args:
        value: U, [C, K].
        k: Candidates drawn, 1 ≤ k ≤ K.
    """
    size = value.shape[1]
    total = math.comb(size, k)
    by_rank = np.array([math.comb(i, k - 1) / total for i in range(size)])
    law = np.empty(value.shape)
    for row, values in enumerate(value):
        _, level, count = np.unique(values, return_inverse=True, return_counts=True)
        mass = np.add.reduceat(by_rank, np.concatenate([[0], np.cumsum(count)[:-1]]))
        law[row] = (mass / count)[level]
    return law


def subsets(
    contexts: Int[np.ndarray, " C"], size: int, k: int, count: int, seed: int
) -> tuple[Int[np.ndarray, "C B k"], Float[np.ndarray, "C B k"]]:
    """At least ``count`` subsets of k of ``size`` candidates of every context, and uniforms.

    A permutation is cut into ⌊size/k⌋ disjoint subsets, so that every candidate is used equally
    often where k divides ``size``. Each is a function of (seed, context, k) alone.
    """
    n, blocks = len(contexts), size // k
    rounds = -(-count // blocks)
    owner, place = np.repeat(contexts, size), np.tile(np.arange(size), n)
    keys = row_keys(seed, k, owner, place)
    rows, draws = [], []
    for r in range(rounds):
        order = np.argsort(uniforms(keys, r).reshape(n, size), axis=1, kind="stable")
        order = order[:, : blocks * k]
        fresh = uniforms(keys, rounds + r).reshape(n, size)
        rows.append(order.reshape(n, blocks, k))
        draws.append(np.take_along_axis(fresh, order, axis=1).reshape(n, blocks, k))
    return np.concatenate(rows, axis=1), np.concatenate(draws, axis=1)
