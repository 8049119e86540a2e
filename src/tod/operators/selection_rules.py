"""Selection rules: actions of test time, which put out a candidate and change no parameter."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, FiniteFloat

from tod.base import Array, Groups, Spec, SpecError, to_numpy
from tod.operators.selection import (
    Selection,
    best,
    first_accepted,
    minimum_risk,
    resample,
    vote,
)


@dataclass(frozen=True)
class Pool:
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

    def known(self, name: str, kind: str, remedy: str) -> Any:
        """One of the optional parts.

        Raises:
            SpecError: It is not there.
        """
        part = getattr(self, name)
        if part is None:
            raise SpecError(f"selection {kind!r} needs {name} and there is none. {remedy}")
        return part


class _Rule(Spec):
    needs_anchors: ClassVar[bool] = True

    def _log_w(self, pool: Pool) -> Any:
        remedy = "Record log μ and the anchors, or anchor the target at `mu`."
        return pool.known("log_w", self.kind, remedy)  # type: ignore[attr-defined]


class BestOfK(_Rule):
    """argmax U, ties at random. Not a member of the tilt family at any η."""

    kind: Literal["best_of_k"] = "best_of_k"
    needs_anchors: ClassVar[bool] = False

    def select(self, pool: Pool, uniforms: Float[Array, " N"]) -> Selection:
        """The best of every context."""
        return _all(best(pool.value, pool.contexts, uniforms))


class Resample(_Rule):
    """Draw i ~ w̄: sampling-importance-resampling; with b = μ, soft best-of-K."""

    kind: Literal["resample"] = "resample"

    def select(self, pool: Pool, uniforms: Float[Array, " N"]) -> Selection:
        """One draw of every context."""
        return _all(resample(self._log_w(pool), pool.contexts, uniforms))


class Rejection(_Rule):
    """Accept with probability min(1, w/M), in order: exact draws from q* if M bounds w."""

    kind: Literal["rejection"] = "rejection"
    log_bound: FiniteFloat | None = None
    """log M, nats; ηU_max when b = μ. None: the largest weight of the context's candidates."""

    def select(self, pool: Pool, uniforms: Float[Array, " N"]) -> Selection:
        """The first accepted of every context; none where all are rejected."""
        return first_accepted(self._log_w(pool), pool.contexts, uniforms, self.log_bound)

    def beyond(self, log_w: Float[Array, " N"]) -> float | None:
        """Share of candidates with w > M, by more than rounding: draws are not of q* if any is.

        None without a declared bound: the context's own largest weight is never exceeded.
        """
        if self.log_bound is None:
            return None
        return float(np.mean(to_numpy(log_w) > self.log_bound + 1e-6))


class MajorityVote(_Rule):
    """The most frequent answer: self-consistency. Wang et al., 2203.11171."""

    kind: Literal["majority_vote"] = "majority_vote"
    needs_anchors: ClassVar[bool] = False

    def select(self, pool: Pool, uniforms: Float[Array, " N"]) -> Selection:
        """The first candidate with the winning answer."""
        answers = pool.known("answers", self.kind, "Extract answers, or use `best_of_k`.")
        return vote(np.zeros(pool.contexts.total), answers, pool.contexts, uniforms)


class WeightedVote(_Rule):
    """The answer of the largest summed weight w̄."""

    kind: Literal["weighted_vote"] = "weighted_vote"

    def select(self, pool: Pool, uniforms: Float[Array, " N"]) -> Selection:
        """The first candidate with the winning answer."""
        answers = pool.known("answers", self.kind, "Extract answers, or use `resample`.")
        return vote(self._log_w(pool), answers, pool.contexts, uniforms)


class MinimumBayesRisk(_Rule):
    """argmax_i Σ_j w̄_j·G(y_i, y_j), G a symmetric similarity."""

    kind: Literal["minimum_bayes_risk"] = "minimum_bayes_risk"

    def select(self, pool: Pool, uniforms: Float[Array, " N"]) -> Selection:
        """The candidate of least expected loss."""
        remedy = "Compute a similarity of every pair, or use `weighted_vote`."
        similarity = pool.known("similarity", self.kind, remedy)
        return _all(minimum_risk(self._log_w(pool), similarity, pool.contexts, uniforms))


AnySelectionRule = BestOfK | Resample | Rejection | MajorityVote | WeightedVote | MinimumBayesRisk
SelectionRule = Annotated[AnySelectionRule, Field(discriminator="kind")]


def _all(rows: Int[np.ndarray, " C"]) -> Selection:
    return Selection(rows, np.ones(len(rows), dtype=bool))
