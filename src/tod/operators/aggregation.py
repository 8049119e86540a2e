"""Aggregations: the weight of every token in the loss, with totals of the whole optimiser step.

Totals are computed once per step (all micro-batches, all ranks), so that splitting a batch into
micro-batches never changes the gradient. Sequences without a policy token are not counted.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field

from tod.base import Array, Groups, Named, Spec, namespace
from tod.operators.moments import Moments


@dataclass(frozen=True)
class Totals:
    """What an optimiser step holds in all, over every micro-batch and process.

    Attributes:
        tokens: M.
        candidates: N, also called B.
        contexts: C.
        moments: Of what a batch-wide advantage scales by; None where none does.
        kept: Sizes of what a ``shrunk`` correction keeps; None where there is none.
        log_z: log Σ_i w_i of weights that are normalised over the step, nats; None where none are.
        eta: Sharpness that a KL budget of the step allows, nats per unit; None without a budget.
    """

    tokens: int
    candidates: int
    contexts: int
    moments: Moments | None = None
    kept: "Totals | None" = None
    log_z: float | None = None
    eta: float | None = None

    @classmethod
    def of(cls, sequences: Groups, contexts: Groups) -> "Totals":
        """The totals of one batch."""
        return cls(tokens=sequences.total, candidates=len(sequences), contexts=len(contexts))


class TokenMean(Spec):
    """1/M: every token of the step counts the same. DAPO, CISPO."""

    kind: Literal["token_mean"] = "token_mean"

    def weights(
        self,
        sequences: Groups,  # noqa: ARG002
        totals: Totals,
        like: Float[Array, " M"],
    ) -> Float[Array, " M"]:
        """[M], adding up to 1 over the step."""
        return namespace(like).full_like(like, 1.0 / totals.tokens)  # type: ignore[no-any-return]


class SequenceMeanTokenMean(Spec):
    """1/(B·L_b): every sequence counts the same. GRPO, GSPO, SAPO."""

    kind: Literal["sequence_mean_token_mean"] = "sequence_mean_token_mean"

    def weights(
        self, sequences: Groups, totals: Totals, like: Float[Array, " M"]
    ) -> Float[Array, " M"]:
        """[M], adding up to 1 over the step."""
        return sequences.spread(1.0 / (totals.candidates * sequences.sizes_like(like)))  # type: ignore[no-any-return]


class SequenceMeanTokenSum(Spec):
    """1/B: the log-prob of a sequence is a sum. REINFORCE, RLOO, FSPO, weighted regression."""

    kind: Literal["sequence_mean_token_sum"] = "sequence_mean_token_sum"

    def weights(
        self,
        sequences: Groups,  # noqa: ARG002
        totals: Totals,
        like: Float[Array, " M"],
    ) -> Float[Array, " M"]:
        """[M], each 1/B."""
        return namespace(like).full_like(like, 1.0 / totals.candidates)  # type: ignore[no-any-return]


class ConstantLength(Spec):
    """1/(B·L_max): the sum over a fixed length, without length bias. Dr. GRPO."""

    kind: Literal["constant"] = "constant"
    length: Annotated[int, Field(ge=1)]
    """L_max, usually ``max_new_tokens``."""

    def weights(
        self,
        sequences: Groups,  # noqa: ARG002
        totals: Totals,
        like: Float[Array, " M"],
    ) -> Float[Array, " M"]:
        """[M], each 1/(B·L_max)."""
        return namespace(like).full_like(like, 1.0 / (totals.candidates * self.length))  # type: ignore[no-any-return]


AggregationSpec = Annotated[
    TokenMean | SequenceMeanTokenMean | SequenceMeanTokenSum | ConstantLength,
    Field(discriminator="kind"),
    Named,
]
