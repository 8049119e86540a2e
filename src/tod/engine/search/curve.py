"""What a rule puts out of k candidates, for every k up to the K that were drawn."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Groups, to_numpy
from tod.engine.sampling.uniforms import row_keys, uniforms
from tod.engine.search.answers import Similarity, similarity
from tod.engine.search.selecting import Pairs, in_parts, select, select_by_pairs
from tod.operators import BestOfK, MinimumBayesRisk, Pool, Resample, SelectionRule


@dataclass(frozen=True)
class Table:
    """All candidates of a search, K a context.

    Attributes:
        value: What the target tilts by, Σ_k η_k U_k / Σ_k |η_k|, which rules maximise, [C, K].
        utility: Utility that is reported, [C, K].
        log_w: log q̃*/μ, nats, [C, K].
        answers: Answer codes, negative for none, [C, K].
        texts: Completions, C lists of K, for minimum Bayes risk only.
        alike: Which similarity that rule uses.
    """

    value: Float[np.ndarray, "C K"]
    utility: Float[np.ndarray, "C K"]
    log_w: Float[np.ndarray, "C K"]
    answers: Int[np.ndarray, "C K"]
    texts: tuple[tuple[str, ...], ...] = ()
    alike: Similarity = "token_f1"

    @property
    def passed(self) -> Bool[np.ndarray, "C K"] | None:
        """Full marks (1); None where the utility is not one within [0, 1]."""
        inside = bool(np.all((self.utility >= 0) & (self.utility <= 1)))
        return self.utility >= 1.0 if inside else None


@dataclass(frozen=True)
class Outcomes:
    """What is put out of k candidates, by context: means over the subsets of its K.

    Attributes:
        accepted: Share of the subsets of which anything is put out, [C].
        utility: Mean of U·1{accepted}, [C].
        passed: Share of the subsets of which a passing candidate is put out, [C], or None.
        exact: Whether this is a closed form and not subsampled.
    """

    accepted: Float[np.ndarray, " C"]
    utility: Float[np.ndarray, " C"]
    passed: Float[np.ndarray, " C"] | None
    exact: bool


def sizes(size: int) -> list[int]:
    """1, 2, 4, … and K."""
    doubled = [1 << i for i in range(size.bit_length())]
    return sorted({*(k for k in doubled if k < size), size})


def outcomes(rule: SelectionRule, table: Table, k: int, *, count: int, seed: int) -> Outcomes:
    """The rule on k candidates: exact for best-of-K, else over ``count`` subsets a context.

    ``resample`` is averaged over its own draw, E[U] = Σ w̄_i U_i on every subset.
    """
    passed = table.passed
    if isinstance(rule, BestOfK):
        law = best_of_k_law(table.value, k)
        return Outcomes(
            np.ones(len(law)),
            (law * table.utility).sum(axis=1),
            None if passed is None else (law * passed).sum(axis=1),
            True,
        )
    size = table.value.shape[1]
    each = max(count * k, size * (size if isinstance(rule, MinimumBayesRisk) else 1))
    held = np.full(len(table.value), each)
    parts = [_part(rule, table, rows, k, count, seed) for rows in in_parts(held)]
    accepted, utility, passing = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Outcomes(accepted, utility, None if passed is None else passing, False)


def _part(
    rule: SelectionRule,
    table: Table,
    contexts: Int[np.ndarray, " c"],
    k: int,
    count: int,
    seed: int,
) -> tuple[Float[np.ndarray, " c"], ...]:
    """Accepted, utility and passing shares of some contexts."""
    size = table.value.shape[1]
    rows, draws = subsets(contexts, size, k, count, seed)
    n, many = rows.shape[:2]

    def pick(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values[contexts][:, None, :], rows, axis=2)

    pool = Pool(
        contexts=Groups.equal(n * many, k),
        value=pick(table.value).ravel(),
        log_w=pick(table.log_w).ravel(),
        answers=pick(table.answers).ravel(),
    )
    pairs = _pairs(table, contexts, rows) if isinstance(rule, MinimumBayesRisk) else None
    utility = pick(table.utility).reshape(n * many, k)
    weight = _probabilities(rule, pool, draws.ravel(), pairs).reshape(n * many, k)
    shares = (weight, weight * utility, weight * (utility >= 1.0))
    return tuple(x.sum(axis=1).reshape(n, many).mean(axis=1) for x in shares)


def _probabilities(
    rule: SelectionRule, pool: Pool, draws: Float[np.ndarray, " N"], pairs: Pairs | None
) -> Float[np.ndarray, " N"]:
    """P(candidate is put out) given its set: w̄ for ``resample``, else 1 at what was selected."""
    if isinstance(rule, Resample):
        log_w = to_numpy(pool.log_w)
        possible = pool.contexts.spread(to_numpy(pool.contexts.max(log_w)) > -np.inf)
        # a set without any candidate in the support puts out nothing
        weights = to_numpy(pool.contexts.softmax(np.where(possible, log_w, 0.0)))
        return np.where(possible, weights, 0.0)
    chosen = (
        select(rule, pool, draws) if pairs is None else select_by_pairs(rule, pool, draws, pairs)
    )
    found = np.zeros(pool.contexts.total)
    found[chosen.rows[chosen.accepted]] = 1.0
    return found


def _pairs(table: Table, contexts: Int[np.ndarray, " c"], rows: Int[np.ndarray, "c B k"]) -> Pairs:
    """G of all pairs of some of the subsets; every context is compared once."""
    grids = np.stack([similarity(table.texts[int(c)], table.alike) for c in contexts])
    owner = np.repeat(np.arange(len(contexts)), rows.shape[1])
    sets = rows.reshape(len(owner), -1)

    def pairs(chosen: Int[np.ndarray, " s"]) -> Float[np.ndarray, " P"]:
        picked, whose = sets[chosen], owner[chosen][:, None, None]
        found: Float[np.ndarray, " P"] = grids[whose, picked[:, :, None], picked[:, None, :]]
        return found.ravel()

    return pairs


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
