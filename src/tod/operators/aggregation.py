"""Aggregations: the weight of every token in the loss, with totals of the whole optimiser step.

Totals are computed once per step (all micro-batches, all ranks), so that splitting a batch into
micro-batches never changes the gradient. Sequences without a policy token are not counted.
"""
# ruff: noqa: ARG002 - one signature for all aggregations, and few read all of it

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jaxtyping import Float
from pydantic import Field

from tod.base import Array, Groups, Named, Spec, namespace, tagged
from tod.operators.batch import Totals

__all__ = [
    "AggregationSpec",
    "ConstantLength",
    "SequenceMeanTokenMean",
    "SequenceMeanTokenSum",
    "TokenMean",
]


class Aggregation(Spec):
    """How the losses of tokens are added up to the loss of a step."""

    kind: str

    @abstractmethod
    def weights(
        self, sequences: Groups, totals: Totals, like: Float[Array, " M"]
    ) -> Float[Array, " M"]:
        """The weight of every token, [M], ≥ 0.

        Args:
            sequences: The tokens of a part of the step, in sequences.
            totals: Sizes of the whole step.
            like: An array whose library, type and device the weights take.
        """


class TokenMean(Aggregation):
    """1/M: every token of the step counts the same; they add up to 1.

    Source: docs/equations.md 0, tok-mean; DAPO, 2503.14476 (equation token-mean)
    """

    kind: Literal["token_mean"] = "token_mean"

    def weights(self, sequences: Groups, totals: Totals, like: Any) -> Any:
        """[M], adding up to 1 over the step."""
        return namespace(like).full_like(like, 1.0 / totals.tokens)


class SequenceMeanTokenMean(Aggregation):
    """1/(B·L_b): every sequence counts the same; the weights add up to 1.

    Source: docs/equations.md 0, seq-mean-tok-mean; GRPO, 2402.03300
    (equation sequence-mean-token-mean)
    """

    kind: Literal["sequence_mean_token_mean"] = "sequence_mean_token_mean"

    def weights(self, sequences: Groups, totals: Totals, like: Any) -> Any:
        """[M], adding up to 1 over the step."""
        return sequences.spread(1.0 / (totals.candidates * sequences.sizes_like(like)))


class SequenceMeanTokenSum(Aggregation):
    """1/B: the log-prob of a sequence is a sum. REINFORCE, RLOO, FSPO, weighted regression.

    Source: docs/equations.md 0, seq-mean-tok-sum (equation sequence-mean-token-sum)
    """

    kind: Literal["sequence_mean_token_sum"] = "sequence_mean_token_sum"

    def weights(self, sequences: Groups, totals: Totals, like: Any) -> Any:
        """[M], each 1/B."""
        return namespace(like).full_like(like, 1.0 / totals.candidates)


class ConstantLength(Aggregation):
    """1/(B·L_max): the sum over a fixed length, without length bias.

    Source: docs/equations.md 0, const; Dr. GRPO, 2503.20783 (equation constant-length)
    """

    kind: Literal["constant"] = "constant"
    length: Annotated[int, Field(ge=1)]
    """L_max, usually ``max_new_tokens``."""

    def weights(self, sequences: Groups, totals: Totals, like: Any) -> Any:
        """[M], each 1/(B·L_max)."""
        return namespace(like).full_like(like, 1.0 / (totals.candidates * self.length))


if TYPE_CHECKING:
    AggregationSpec = Aggregation
else:
    AggregationSpec = Annotated[tagged(Aggregation), Named]
"""Any aggregation, by its ``kind``."""
