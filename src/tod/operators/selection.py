"""Selection at test time: which candidate is put out; no parameter changes.

The equations are pure functions over flat candidates [N] in contexts [C], which return rows into
[N]; the rules are what a recipe declares. Randomness comes in as uniforms in [0, 1), one a
candidate, so that a selection can be repeated exactly.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import FiniteFloat

from tod.base import Array, DataError, Grid, Groups, Spec, SpecError, to_numpy

__all__ = [
    "BestOfK",
    "MajorityVote",
    "MinimumBayesRisk",
    "RejectionSampling",
    "Resample",
    "Selection",
    "SelectionPool",
    "SelectionRule",
    "WeightedVote",
]


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
    log K − (K−1)/K. No η of a tilt gives that law.

    Source: docs/equations.md A.20; 2401.01879
    """
    values = to_numpy(value)
    tied = values == contexts.spread(to_numpy(contexts.max(values)))
    drawn = np.where(tied, to_numpy(uniforms), -1.0)
    first = drawn == contexts.spread(to_numpy(contexts.max(drawn)))
    return to_numpy(contexts.max(np.where(first, np.arange(contexts.total), -1)))


def resample(
    log_w: Float[Array, " N"], contexts: Groups, uniforms: Float[Array, " N"]
) -> Int[np.ndarray, " C"]:
    """One row a context, drawn from w̄ by the inverse CDF of its first uniform, [C].

    Sampling-importance-resampling; with b = μ soft best-of-K. Its law is E[w̄] over candidate sets,
    which tends to q* like 1/K. A weight of 0 is never drawn.

    Source: docs/equations.md A.20; 2505.03156

    Raises:
        DataError: A context has no candidate of positive weight.
    """
    return _drawn(_weights(log_w, contexts), contexts, uniforms)


def _drawn(weight: Any, contexts: Groups, uniforms: Any) -> Int[np.ndarray, " C"]:
    """The same from w̄ themselves."""
    u = to_numpy(uniforms)[contexts.offsets[:-1]]
    rows = np.empty(len(contexts), dtype=np.int64)
    for where, places in contexts.by_size():
        inside = weight[places]
        cumulative = np.cumsum(inside, axis=1)
        drawn = (cumulative <= (u[where] * cumulative[:, -1])[:, None]).sum(axis=1)
        last = places.shape[1] - 1 - np.argmax(inside[:, ::-1] > 0, axis=1)
        rows[where] = places[:, 0] + np.minimum(drawn, last)
    return rows


def resample_without_replacement(
    log_w: Float[Array, " N"], contexts: Groups, uniforms: Float[Array, " N"], count: int
) -> Int[np.ndarray, " R"]:
    """``count`` rows a context without replacement, context by context: Gumbel-top-k.

    Source: docs/equations.md A.20 (equation gumbel-top-k)

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
                f"prompt {c} of {len(contexts)} has {possible} rollouts of positive weight and "
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
    largest weight of the context's own candidates, which is such a bound.

    Source: docs/equations.md A.20; RSO, 2309.06657
    """
    taken = to_numpy(uniforms) < _acceptance(log_w, contexts, log_bound)
    first = to_numpy(contexts.min(np.where(taken, np.arange(contexts.total), contexts.total)))
    accepted = first < contexts.total
    return Selection(np.where(accepted, first, -1), accepted)


def vote(
    log_w: Float[Array, " N"],
    answers: Int[Array, " N"],
    contexts: Groups,
    uniforms: Float[Array, " N"],
) -> Selection:
    """The first candidate with the answer of the largest summed w̄; ties at random.

    Equal weights are self-consistency. A negative code is no answer: it votes for nothing, and a
    context without any answer selects none. Duplicates all vote. Tied answers are numbered as they
    first appear, so that codes may be any.

    Source: docs/equations.md A.20; 2203.11171
    """
    return _voted(_weights(log_w, contexts), Ballots.of(to_numpy(answers), contexts), uniforms)


def _voted(weight: Any, ballots: "Ballots", uniforms: Any) -> Selection:
    """The same from w̄ themselves."""
    tied, contexts = ballots.winners(weight), ballots.contexts
    count = to_numpy(contexts.sum(tied))
    drawn = (to_numpy(uniforms)[contexts.offsets[:-1]] * count).astype(np.int64)
    before = np.cumsum(tied)
    place = before - contexts.spread((before - tied)[contexts.offsets[:-1]])
    rows = np.full(len(contexts), -1, dtype=np.int64)
    hits = np.flatnonzero(tied & (place == contexts.spread(drawn + 1)))
    rows[contexts.owner[hits]] = hits
    return Selection(rows, rows >= 0)


def minimum_risk(
    log_w: Float[Array, " N"],
    similarity: Float[Array, " P"],
    contexts: Groups,
    uniforms: Float[Array, " N"],
) -> Int[np.ndarray, " C"]:
    """Row of argmax_i Σ_j w̄_j·G(y_i, y_j) in every context, ties at random, [C].

    ``similarity`` holds G row by row, K² values a context. With G = 1{same answer} it is the vote.

    Source: docs/equations.md A.20
    """
    return best(_gain(log_w, similarity, contexts), contexts, uniforms)


def _acceptance(log_w: Any, contexts: Groups, log_bound: float | None) -> Float[np.ndarray, " N"]:
    """min(1, w/M), [N]; M is the context's own largest weight if there is no bound."""
    values = to_numpy(log_w).astype(np.float64)
    top = to_numpy(contexts.max(values))
    own = np.where(np.isneginf(top), 0.0, top)
    limit = own if log_bound is None else np.full(len(contexts), log_bound)
    return np.exp(np.minimum(values - contexts.spread(limit), 0.0))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Ballots:
    """Answers of candidates, numbered so that those of one context and one answer share a number.

    Attributes:
        contexts: Candidates in contexts.
        known: Whether a candidate has an answer, [N].
        number: Number of its context and answer, in [0, ``count``), [N].
        count: Numbers that there are, or may be.
    """

    contexts: Groups
    known: Bool[np.ndarray, " N"]
    number: Int[np.ndarray, " N"]
    count: int

    @classmethod
    def of(cls, codes: Int[np.ndarray, " N"], contexts: Groups) -> "Ballots":
        """Of answer codes, equal for equal answers, negative for none, [N]."""
        codes = np.maximum(codes, -1)
        width = int(codes.max(initial=-1)) + 2
        if width * len(contexts) <= 4 * contexts.total:  # small codes need no sort
            number = contexts.spread(np.arange(1, width * len(contexts) + 1, width)) + codes
            return cls(contexts, codes >= 0, number, width * len(contexts))
        number, count = np.empty(contexts.total, dtype=np.int64), 0
        for _, places in contexts.by_size():
            order = np.argsort(codes[places], axis=1, kind="stable")
            runs = np.cumsum(_starts(np.take_along_axis(codes[places], order, axis=1)).ravel())
            number[np.take_along_axis(places, order, axis=1).ravel()] = runs - 1 + count
            count += int(runs[-1])
        return cls(contexts, codes >= 0, number, count)

    def shares(self, weight: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Σ w̄_j over the candidates of a context with the same answer, [N]; 0 without one."""
        return np.where(self.known, np.bincount(self.number, weights=weight)[self.number], 0.0)

    @cached_property
    def first(self) -> Bool[np.ndarray, " N"]:
        """Candidates whose answer none before them in their context has, [N]."""
        place = np.empty(self.count, dtype=np.int64)
        rows = np.arange(len(self.number))
        place[self.number[::-1]] = rows[::-1]  # of equal numbers the last one written stays
        found: Bool[np.ndarray, " N"] = self.known & (place[self.number] == rows)
        return found

    def winners(self, weight: Float[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """The first candidate of every answer whose summed w̄ is the largest of its context, [N]."""
        share = self.shares(weight)
        # equal sums may differ by the order of their terms
        limit = to_numpy(self.contexts.max(share)) * (1 - 1e-12)
        tied: Bool[np.ndarray, " N"] = self.first & (share >= self.contexts.spread(limit))
        return tied


def _starts(ordered: Int[np.ndarray, "G k"]) -> Bool[np.ndarray, "G k"]:
    """Where a run of equal values starts in every row."""
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return starts


def _gain(log_w: Any, similarity: Any, contexts: Groups) -> Float[np.ndarray, " N"]:
    """Σ_j w̄_j·G(y_i, y_j), [N], rounded: equal sums may differ by the order of their terms."""
    grid = Grid.of(contexts)
    weighed = _weights(log_w, contexts)[grid.second] * to_numpy(similarity)
    return np.round(to_numpy(grid.rows.sum(weighed)), 12)


def _shared_by_best(value: Any, contexts: Groups) -> Float[np.ndarray, " N"]:
    """1/(number of ties) of the largest value of every context, else 0, [N]."""
    values = to_numpy(value)
    top = (values == contexts.spread(to_numpy(contexts.max(values)))).astype(np.float64)
    return top / contexts.spread(contexts.sum(top))  # type: ignore[no-any-return]


def _weights(log_w: Float[Array, " N"], contexts: Groups) -> Float[np.ndarray, " N"]:
    """w̄ in float64.

    Raises:
        DataError: A context has no candidate of positive weight.
    """
    values = to_numpy(log_w).astype(np.float64)
    empty = np.flatnonzero(np.isneginf(to_numpy(contexts.max(values))))
    if empty.size:
        raise DataError(
            f"prompt {int(empty[0])} of {len(contexts)} has no rollout inside the target's "
            f"support ({empty.size} such prompts): nothing can be selected. Sample more there, "
            "or drop it."
        )
    return to_numpy(contexts.softmax(values))


def _spans(contexts: Groups) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in pairwise(contexts.offsets)]


@dataclass(frozen=True)
class SelectionPool:
    """What a selection rule sees of some contexts.

    Attributes:
        contexts: Candidates in contexts.
        value: Utility, [N].
        log_w: log q̃*/μ, [N], nats, if its parts are known; up to a constant per context, which
            only ``rejection`` with a bound reads.
        answers: Answer codes, [N], equal codes = same answer, negative = none.
        similarity: G(y_i, y_j) row by row, K² values a context.
    """

    contexts: Groups
    value: Float[Array, " N"]
    log_w: Float[Array, " N"] | None = None
    answers: Int[Array, " N"] | None = None
    similarity: Float[Array, " P"] | None = None

    @cached_property
    def weights(self) -> Float[np.ndarray, " N"]:
        """w̄, which all rules that weigh share, [N]; a DataError where none is positive."""
        assert self.log_w is not None  # noqa: S101 - rules ask for it by `known` first
        return _weights(self.log_w, self.contexts)

    @cached_property
    def equal_weights(self) -> Float[np.ndarray, " N"]:
        """1/K, [N]."""
        return np.asarray(self.contexts.spread(1 / self.contexts.sizes))

    @cached_property
    def ballots(self) -> Ballots:
        """Answers, which all votes share."""
        return Ballots.of(to_numpy(self.answers), self.contexts)

    def known(self, name: str, kind: str, remedy: str) -> Any:
        """One of the optional arrays.

        Raises:
            SpecError: It is not there.
        """
        values = getattr(self, name)
        if values is None:
            raise SpecError(f"selection {kind!r} needs {name} and there is none. {remedy}")
        return values


class SelectionRule(Spec):
    """An action of test time: it puts out one candidate a context, or none, and trains nothing."""

    kind: str
    needs_anchors: ClassVar[bool] = True
    while_drawing: ClassVar[bool] = False
    """Whether it also acts while answers are drawn, so that no finished ones can be given to it."""

    @abstractmethod
    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """The candidate of every context.

        Args:
            pool: The candidates.
            uniforms: One number in [0, 1) a candidate: all the randomness there is.

        Raises:
            SpecError: The pool lacks what the rule reads.
            DataError: A context has no candidate that could be put out.
        """

    @abstractmethod
    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Probability over the uniforms that each candidate is put out, [N]; exact.

        At most 1 in a context: the rest is the chance that none is. Errors as in ``select``.
        """

    def strength(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """How much speaks for each candidate, [N], in [0, 1]; errors as in ``select``.

        The chance to be put out; of a vote the share of the answer, of minimum Bayes risk the gain.
        """
        return self.chances(pool)

    def _log_w(self, pool: SelectionPool) -> Any:
        remedy = "Record log μ and the anchors, or anchor the target at `mu`."
        return pool.known("log_w", self.kind, remedy)

    def _weights(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        self._log_w(pool)
        return pool.weights


class BestOfK(SelectionRule):
    """argmax U, ties at random. Not a member of the tilt family at any η.

    Source: docs/equations.md A.20; 2401.01879 (equation best-of-k)
    """

    kind: Literal["best_of_k"] = "best_of_k"
    needs_anchors: ClassVar[bool] = False

    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """The best of every context."""
        return _all(best(pool.value, pool.contexts, uniforms))

    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Equal shares of the ties."""
        return _shared_by_best(pool.value, pool.contexts)


class Resample(SelectionRule):
    """Draw i ~ w̄: sampling-importance-resampling; with b = μ, soft best-of-K.

    Source: docs/equations.md A.20; 2505.03156 (equation resample)
    """

    kind: Literal["resample"] = "resample"

    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """One draw of every context."""
        return resampled(self._weights(pool), pool.contexts, uniforms)

    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """The weights w̄."""
        return self._weights(pool)


class RejectionSampling(SelectionRule):
    """Accept with probability min(1, w/M), in order: exact draws from q* if M bounds w.

    Source: docs/equations.md A.20; RSO, 2309.06657 (equation rejection-sampling)
    """

    kind: Literal["rejection"] = "rejection"
    log_bound: FiniteFloat | None = None
    """log M, nats; ηU_max when b = μ. None: the largest weight of the context's candidates."""

    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """The first accepted of every context; none where all are rejected."""
        return first_accepted(self._log_w(pool), pool.contexts, uniforms, self.log_bound)

    def beyond(self, log_w: Float[Array, " N"]) -> float | None:
        """Share of candidates with w > M, by more than rounding: draws are not of q* if any is.

        None without a declared bound: the context's own largest weight is never exceeded.
        """
        if self.log_bound is None:
            return None
        return float(np.mean(to_numpy(log_w) > self.log_bound + 1e-6))

    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Accepted, and none before it."""
        accepted = _acceptance(self._log_w(pool), pool.contexts, self.log_bound)
        for _, places in pool.contexts.by_size():
            inside = accepted[places]
            inside[:, 1:] *= np.cumprod(1 - inside, axis=1)[:, :-1]
            accepted[places] = inside
        return accepted


class _Vote(SelectionRule):
    """The answer of the largest sum of weights."""

    @abstractmethod
    def _votes(self, pool: SelectionPool) -> tuple[Float[np.ndarray, " N"], Ballots]:
        """Weights and answers."""

    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """The first candidate with the winning answer."""
        return _voted(*self._votes(pool), uniforms)

    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Equal shares of the tied answers, on the first candidate of each."""
        weight, ballots = self._votes(pool)
        tied = ballots.winners(weight)
        count = to_numpy(pool.contexts.sum(tied))
        return np.asarray(tied / pool.contexts.spread(np.maximum(count, 1)))

    def strength(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Share of the votes that went to the candidate's answer."""
        weight, ballots = self._votes(pool)
        return ballots.shares(weight)


class WeightedVote(_Vote):
    """The answer of the largest summed weight w̄.

    Source: docs/equations.md A.20 (equation weighted-vote)
    """

    kind: Literal["weighted_vote"] = "weighted_vote"

    def _votes(self, pool: SelectionPool) -> tuple[Float[np.ndarray, " N"], Ballots]:
        pool.known("answers", self.kind, "Extract answers, or use `resample`.")
        return self._weights(pool), pool.ballots


class MajorityVote(_Vote):
    """The most frequent answer: self-consistency.

    Source: docs/equations.md A.20; Wang et al., 2203.11171
    """

    kind: Literal["majority_vote"] = "majority_vote"
    needs_anchors: ClassVar[bool] = False

    def _votes(self, pool: SelectionPool) -> tuple[Float[np.ndarray, " N"], Ballots]:
        pool.known("answers", self.kind, "Extract answers, or use `best_of_k`.")
        return pool.equal_weights, pool.ballots


class MinimumBayesRisk(SelectionRule):
    """argmax_i Σ_j w̄_j·G(y_i, y_j), G a symmetric similarity.

    Source: docs/equations.md A.20 (equation minimum-bayes-risk)
    """

    kind: Literal["minimum_bayes_risk"] = "minimum_bayes_risk"

    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """The candidate of least expected loss."""
        similarity = self._similarity(pool)
        return _all(minimum_risk(self._log_w(pool), similarity, pool.contexts, uniforms))

    def _similarity(self, pool: SelectionPool) -> Any:
        remedy = "Compute a similarity of every pair, or use `weighted_vote`."
        return pool.known("similarity", self.kind, remedy)

    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Equal shares of the ties."""
        return _shared_by_best(self.strength(pool), pool.contexts)

    def strength(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Σ_j w̄_j·G(y_i, y_j)."""
        return _gain(self._log_w(pool), self._similarity(pool), pool.contexts)


def resampled(
    weight: Float[np.ndarray, " N"], contexts: Groups, uniforms: Float[Array, " N"]
) -> Selection:
    """One draw a context from its weights w̄, [N]: always one."""
    return _all(_drawn(weight, contexts, uniforms))


def _all(rows: Int[np.ndarray, " C"]) -> Selection:
    return Selection(rows, np.ones(len(rows), dtype=bool))
