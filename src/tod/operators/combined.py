"""Corrections made of corrections: several at once, and denominators that shrink with a mask."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from tod.base import Array, Groups, Named, Spec, SpecError, namespace, to_numpy
from tod.operators.aggregation import AggregationSpec, Totals
from tod.operators.batch import Batch
from tod.operators.corrections import (
    CorrectionSpec,
    GeometricRejection,
    SequenceMask,
    SequenceRejection,
    SequenceTruncation,
    StaleNegatives,
    TokenMask,
    TokenTruncation,
)


class Product(Spec):
    """Π_j of several corrections: token weights under a sequence mask; 0 where any of them is 0."""

    kind: Literal["product"] = "product"
    of: Annotated[tuple[CorrectionSpec, ...], Field(min_length=2)]
    """What is multiplied."""

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:
        """Weights [M]."""
        total: Any = None
        for correction in self.of:
            weight: Any = correction(batch, advantage)
            if total is None:
                total = weight
                continue
            xp = namespace(weight)
            none = (total == 0) | (weight == 0)
            total = xp.where(none, xp.zeros_like(total), total * weight)
        return total  # type: ignore[no-any-return]


Masking = Annotated[
    TokenMask | SequenceMask | SequenceRejection | GeometricRejection | Product,
    Field(discriminator="kind"),
    Named,
]


class Shrunk(Spec):
    """A mask whose denominators shrink to what is kept: M, L_b and B without what it drops.

    A token of weight 0 is no token of its sequence, and a sequence without a token none of the
    batch: what is left weighs as if the rest had never been drawn. Kept denominators have the
    unbiased scale of the whole step, shrunk ones hold the step's size; verl's aggregation of a
    masked response is this. A KL pull keeps the whole step's weights.
    """

    kind: Literal["shrunk"] = "shrunk"
    of: Masking
    """What drops tokens."""

    @model_validator(mode="after")
    def _still(self) -> Self:
        parts = self.of.of if isinstance(self.of, Product) else ()
        if any(isinstance(part, StaleNegatives) for part in parts):
            raise ValueError(
                "stale_negatives drops other sequences at every update, and a denominator that "
                "shrinks with it would need the whole step before its first part: leave it outside"
            )
        return self

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:
        """Weights [M]."""
        return self.of(batch, advantage)

    def totals(self, batch: Batch) -> Totals:
        """Sizes of what is kept; those of parts of a step add up."""
        kept = self._kept(batch)
        counts = np.add.reduceat(kept, batch.sequences.offsets[:-1])
        alive = np.add.reduceat(counts > 0, batch.contexts.offsets[:-1])
        return Totals(int(counts.sum()), int((counts > 0).sum()), int((alive > 0).sum()))

    def aggregated(self, aggregation: AggregationSpec, batch: Batch) -> Float[Array, " M"]:
        """Weights of the kept tokens in the loss, [M]; 0 for the others.

        Raises:
            SpecError: The batch is a part, and the totals do not say what the whole step keeps.
        """
        like: Any = batch.log_policy
        kept = self._kept(batch)
        if not kept.any():
            return namespace(like).zeros_like(like)  # type: ignore[no-any-return]
        counts = np.add.reduceat(kept, batch.sequences.offsets[:-1])
        left = Groups(counts[counts > 0])
        inner: Any = aggregation.weights(left, self._whole(batch), like[np.flatnonzero(kept)])
        spread = inner[np.maximum(np.cumsum(kept) - 1, 0)]
        xp = namespace(like)
        return xp.where(self.of(batch, like) > 0, spread, xp.zeros_like(spread))  # type: ignore[no-any-return]

    def _kept(self, batch: Batch) -> Any:
        """1 for a token that is kept, [M]; it depends on π_old and μ alone."""
        return to_numpy(self.of(batch, batch.log_policy) > 0).astype(np.int64)

    def _whole(self, batch: Batch) -> Totals:
        if batch.totals.kept is not None:
            return batch.totals.kept
        if batch.totals.candidates != len(batch.sequences):
            raise SpecError(
                f"these {len(batch.sequences)} sequences are a part of a step of "
                f"{batch.totals.candidates}, and how many of those are kept is not known. Ask "
                "`tod.procedure.totals_of` for the whole step first."
            )
        return self.totals(batch)


AnyCorrection = Annotated[
    TokenTruncation
    | SequenceTruncation
    | TokenMask
    | SequenceMask
    | SequenceRejection
    | GeometricRejection
    | StaleNegatives
    | Product
    | Shrunk,
    Field(discriminator="kind"),
    Named,
]
