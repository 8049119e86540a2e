"""Selection at test time: which candidate is put out, given weights and explicit uniforms.

Pure functions over flat candidates [N] in contexts [C]; they return rows into [N]. Randomness
comes in as uniforms in [0, 1), one a candidate, so that a selection can be repeated exactly.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Array, DataError, Groups, to_numpy
from tod.operators.pairs import Grid


@dataclass(frozen=True)
class Selection:
    """What was selected.

    Attributes:
        rows: Row of the selected candidate of every context, [C]; −1 where none was.
        accepted: Whether there is one, [C].
    """

    rows: Int[np.ndarray, " C"]
    accepted: Bool[np.ndarray, " C"]


def best(
    value: Float[Array, " N"], contexts: Groups, uniforms: Float[Array, " N"]
) -> Int[np.ndarray, " C"]:
    """Row of the largest value of every context, ties at random, [C].

    For draws from μ = b the best has law P(level ≤ u) = F(u)^K and KL to μ at most
    log K − (K−1)/K (2401.01879). No η of a tilt gives that law.
    """
    order = np.lexsort((to_numpy(uniforms), to_numpy(value), contexts.owner))
    last: Int[np.ndarray, " C"] = order[contexts.offsets[1:] - 1]
    return last


def resample(
    log_w: Float[Array, " N"], contexts: Groups, uniforms: Float[Array, " N"]
) -> Int[np.ndarray, " C"]:
    """One row a context, drawn from w̄ by the inverse CDF of its first uniform, [C].

    Sampling-importance-resampling; with b = μ soft best-of-K (2505.03156). Its law is E[w̄] over
    candidate sets, which tends to q* like 1/K. A weight of 0 is never drawn.

    Raises:
        DataError: A context has no candidate of positive weight.
    """
    weight = _weights(log_w, contexts)
    u = to_numpy(uniforms)[contexts.offsets[:-1]]
    rows = np.empty(len(contexts), dtype=np.int64)
    for c, (a, b) in enumerate(_spans(contexts)):
        cumulative = np.cumsum(weight[a:b])
        drawn = int(np.searchsorted(cumulative, u[c] * cumulative[-1], side="right"))
        rows[c] = a + min(drawn, int(np.flatnonzero(weight[a:b])[-1]))
    return rows


def resample_without_replacement(
    log_w: Float[Array, " N"], contexts: Groups, uniforms: Float[Array, " N"], count: int
) -> Int[np.ndarray, " R"]:
    """``count`` rows a context without replacement, context by context: Gumbel-top-k.

    Raises:
        DataError: A context has fewer than ``count`` candidates of positive weight.
    """
    log_w = to_numpy(log_w)
    # log(0) = −∞ is the legal Gumbel of a uniform of 0: never drawn before any other
    with np.errstate(divide="ignore"):
        keys = log_w - np.log(-np.log(to_numpy(uniforms)))
    keys = np.where(np.isneginf(log_w), -np.inf, keys)
    rows = []
    for c, (a, b) in enumerate(_spans(contexts)):
        possible = int((log_w[a:b] > -np.inf).sum())
        if possible < count:
            raise DataError(
                f"context {c} of {len(contexts)} has {possible} candidates of positive weight and "
                f"{count} are to be drawn without replacement. Draw fewer, or sample more."
            )
        rows.append(a + np.argsort(-keys[a:b], kind="stable")[:count])
    return np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)


def first_accepted(
    log_w: Float[Array, " N"],
    contexts: Groups,
    uniforms: Float[Array, " N"],
    log_bound: float | None,
) -> Selection:
    """The first candidate with u < e^{log w − log M}: exact draws from q* if M ≥ sup w.

    The acceptance rate is Z/M. A bound that is too small gives ∝ μ·min(w, M); None takes the
    largest weight of the context's own candidates (RSO, 2309.06657), which is such a bound.
    """
    values = to_numpy(log_w).astype(np.float64)
    top = to_numpy(contexts.max(values))
    own = np.where(np.isneginf(top), 0.0, top)
    limit = own if log_bound is None else np.full(len(contexts), log_bound)
    excess = np.minimum(values - contexts.spread(limit), 0.0)
    taken = to_numpy(uniforms) < np.exp(excess)
    rows = np.full(len(contexts), -1, dtype=np.int64)
    for c, (a, b) in enumerate(_spans(contexts)):
        hits = np.flatnonzero(taken[a:b])
        if hits.size:
            rows[c] = a + int(hits[0])
    return Selection(rows, rows >= 0)


def vote(
    log_w: Float[Array, " N"],
    answers: Int[Array, " N"],
    contexts: Groups,
    uniforms: Float[Array, " N"],
) -> Selection:
    """The first candidate with the answer of the largest summed w̄; ties at random.

    Equal weights are self-consistency (2203.11171). A negative code is no answer: it votes for
    nothing, and a context without any answer selects none. Duplicates all vote.
    """
    weight, codes, u = _weights(log_w, contexts), to_numpy(answers), to_numpy(uniforms)
    rows = np.full(len(contexts), -1, dtype=np.int64)
    for c, (a, b) in enumerate(_spans(contexts)):
        known = np.flatnonzero(codes[a:b] >= 0)
        if not known.size:
            continue
        names, first, place = np.unique(codes[a:b][known], return_index=True, return_inverse=True)
        score = np.bincount(place, weights=weight[a:b][known], minlength=len(names))
        # equal sums may differ by the order of their terms
        tied = np.flatnonzero(score >= score.max() * (1 - 1e-12))
        winner = tied[int(u[a] * len(tied))]
        rows[c] = a + known[first[winner]]
    return Selection(rows, rows >= 0)


def minimum_risk(
    log_w: Float[Array, " N"],
    similarity: Float[Array, " P"],
    contexts: Groups,
    uniforms: Float[Array, " N"],
) -> Int[np.ndarray, " C"]:
    """Row of argmax_i Σ_j w̄_j·G(y_i, y_j) in every context, ties at random, [C].

    ``similarity`` holds G row by row, K² values a context. With G = 1{same answer} it is the vote.
    """
    grid = Grid.of(contexts)
    weighed = _weights(log_w, contexts)[grid.second] * to_numpy(similarity)
    gain = to_numpy(grid.rows.sum(weighed))
    # equal sums may differ by the order of their terms
    return best(np.round(gain, 12), contexts, uniforms)


def _weights(log_w: Float[Array, " N"], contexts: Groups) -> Float[np.ndarray, " N"]:
    """w̄ in float64.

    Raises:
        DataError: A context has no candidate of positive weight.
    """
    values = to_numpy(log_w).astype(np.float64)
    empty = np.flatnonzero(np.isneginf(to_numpy(contexts.max(values))))
    if empty.size:
        raise DataError(
            f"context {int(empty[0])} of {len(contexts)} has no candidate inside the target's "
            f"support ({empty.size} such contexts): nothing can be selected. Sample more there, "
            "or drop it."
        )
    return to_numpy(contexts.softmax(values))


def _spans(contexts: Groups) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in pairwise(contexts.offsets)]
