"""Corrections of the train-inference mismatch: weights of tokens sampled by another engine.

ρ_t = π_old/μ of a token as drawn, always a constant; it multiplies the policy's credit and never a
KL pull. Denominators are kept: a dropped token still counts in M, B and C, unless the correction is
``shrunk``. With `old` taken as μ the trust region's ρ already holds it: use none of these. Bounds
are on ρ, not on 1/ρ.
"""
# ruff: noqa: ARG002 - one signature for all corrections, and few read all of it

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat, model_validator

from tod.base import Array, Groups, Named, Spec, SpecError, namespace, tagged, to_numpy
from tod.operators.aggregation import AggregationSpec
from tod.operators.batch import Batch, Totals
from tod.operators.trust_regions import Kept

__all__ = [
    "CorrectionSpec",
    "GeometricRejection",
    "Product",
    "SequenceMask",
    "SequenceRejection",
    "SequenceTruncation",
    "Shrunk",
    "StaleNegatives",
    "TokenMask",
    "TokenTruncation",
]

Positive = Annotated[FiniteFloat, Field(gt=0.0)]
Bound = Annotated[FiniteFloat, Field(ge=0.0)]


class Correction(Spec):
    """A weight of every token for having been sampled by another engine, a constant."""

    kind: str

    @abstractmethod
    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:
        """The weight of every token, [M], ≥ 0.

        Raises:
            SpecError: log μ of the tokens was not recorded.
        """


class Truncating(Correction):
    """A correction that cuts ρ to [floor, cap]."""

    cap: Positive = 2.0
    """C: largest weight."""
    floor: Bound = 0.0
    """Smallest weight; 0 for none."""

    def cut(self, log_rho: Any) -> Any:
        """The weight max(floor, min(ρ, cap))."""
        xp = namespace(log_rho)
        low = math.log(self.floor) if self.floor > 0 else -math.inf
        return xp.exp(xp.clip(log_rho, low, math.log(self.cap)))


class TokenTruncation(Truncating):
    """max(floor, min(ρ_t, cap)), token by token.

    Source: docs/equations.md A.15; TIS, Yao et al. 2025 (equation truncated-importance)
    """

    kind: Literal["token_truncation"] = "token_truncation"

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        return self.cut(log_gap(batch))


class SequenceTruncation(Truncating):
    """max(floor, min(Π_t ρ_t, cap)), the same for every token of a sequence.

    Source: docs/equations.md A.15 (equation sequence-truncation)
    """

    kind: Literal["sequence_truncation"] = "sequence_truncation"

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        return self.cut(_summed(batch))


class Masking(Kept, Correction):
    """A correction that drops what has a ρ outside [low, high]."""


class TokenMask(Masking):
    """ρ_t·1{low ≤ ρ_t ≤ high}: tokens outside are dropped, the others weighed.

    Source: docs/equations.md A.15; IcePop, Ling team 2025 (equation importance-mask)
    """

    kind: Literal["token_mask"] = "token_mask"

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        gap = log_gap(batch)
        return _masked(gap, self.inside(gap))


class SequenceMask(Masking):
    """ρ·1{low ≤ ρ ≤ high} of the whole sequence, ρ = Π_t ρ_t; TRL's default at high = 3.

    Source: docs/equations.md A.15, MIS (equation sequence-mask)
    """

    kind: Literal["sequence_mask"] = "sequence_mask"
    low: Bound = 0.0
    """Smallest ρ that is kept; 0 for no bound."""
    high: Positive = 3.0
    """Largest ρ that is kept."""

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        total = _summed(batch)
        return _masked(total, self.inside(total))


class SequenceRejection(Masking):
    """1{low ≤ Π_t ρ_t ≤ high}: sequences are dropped, none is weighed.

    Source: docs/equations.md A.15 (equation sequence-rejection)
    """

    kind: Literal["sequence_rejection"] = "sequence_rejection"
    high: Positive = 2.0
    """Largest ρ that is kept."""

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        return self.inside(_summed(batch))


class GeometricRejection(Masking):
    """1{low ≤ exp(mean_t log ρ_t) ≤ high}, times ρ_t if ``weighted`` (untruncated).

    Source: docs/equations.md A.15 (equation geometric-rejection)
    """

    kind: Literal["geometric_rejection"] = "geometric_rejection"
    low: Bound = 0.999
    """Smallest mean ρ that is kept."""
    high: Positive = 1.001
    """Largest mean ρ that is kept."""
    weighted: bool = False
    """Also weigh the tokens that are kept by ρ_t."""

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        gap = log_gap(batch)
        keep = self.inside(batch.sequences.spread(batch.sequences.mean(gap)))
        return _masked(gap, keep) if self.weighted else keep


class StaleNegatives(Correction):
    """1, and 0 for a sequence with A < 0 and mean_t(log μ − log π_θ) > delta.

    Source: docs/equations.md A.15; DeepSeek-V3.2, 2512.02556 (equation off-policy-mask)
    """

    kind: Literal["stale_negatives"] = "stale_negatives"
    delta: Positive
    """δ, nats per token."""

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        xp = namespace(batch.log_policy)
        stale = batch.sequences.mean(_log_mu(batch) - batch.log_policy)
        dropped = (advantage < 0) & (batch.sequences.spread(stale) > self.delta)
        one = xp.ones_like(batch.log_policy)
        return xp.where(dropped, 0 * one, one)


if TYPE_CHECKING:
    CorrectionSpec = Correction
else:
    CorrectionSpec = Annotated[tagged(Correction), Named]
"""Any correction that is not made of others, by its ``kind``."""


class Product(Correction):
    """Π_j of several corrections: token weights under a sequence mask; 0 where any of them is 0.

    Source: docs/equations.md A.15, seq-mask-TIS
    """

    kind: Literal["product"] = "product"
    of: Annotated[tuple[CorrectionSpec, ...], Field(min_length=2)]
    """What is multiplied."""

    def __call__(self, batch: Batch, advantage: Any) -> Any:
        """Weights [M]."""
        total: Any = 1.0
        for correction in self.of:
            weight: Any = correction(batch, advantage)
            none = (total == 0) | (weight == 0)
            total = namespace(weight).where(none, 0 * (weight == 0), total * weight)
        return total


if TYPE_CHECKING:
    MaskingSpec = Masking | Product
else:
    MaskingSpec = Annotated[tagged(Masking, Product), Named]
"""Any correction that drops tokens, by its ``kind``."""


class Shrunk(Correction):
    """A mask whose denominators shrink to what is kept: M, L_b and B without what it drops.

    A token of weight 0 is no token of its sequence, and a sequence without a token none of the
    batch: what is left weighs as if the rest had never been drawn. Kept denominators have the
    unbiased scale of the whole step, shrunk ones hold the step's size; verl's aggregation of a
    masked response is this. A KL pull keeps the whole step's weights.

    Source: docs/equations.md A.15, pitfall ii
    """

    kind: Literal["shrunk"] = "shrunk"
    of: MaskingSpec
    """What drops tokens."""

    @model_validator(mode="after")
    def _still(self) -> Self:
        factors = self.of.of if isinstance(self.of, Product) else ()
        if any(isinstance(factor, StaleNegatives) for factor in factors):
            raise ValueError(
                "stale_negatives drops other sequences at every update, and a denominator that "
                "shrinks with it would need the whole step before its first part: leave it outside"
            )
        return self

    def __call__(self, batch: Batch, advantage: Any) -> Any:
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


if TYPE_CHECKING:
    AnyCorrection = Correction
else:
    AnyCorrection = Annotated[tagged(Correction), Named]
"""Any correction, by its ``kind``."""


def log_gap(batch: Batch) -> Float[Array, " M"]:
    """The gap log ρ_t = log π_old − log μ of every token, nats.

    Raises:
        SpecError: log μ of the tokens was not recorded.
    """
    return batch.log_old - _log_mu(batch)  # type: ignore[no-any-return]


def _log_mu(batch: Batch) -> Any:
    return batch.required(
        "log_mu_tokens",
        "a correction of the sampler needs log μ of every token as drawn and it was not recorded. "
        "Record it, or use `correction: null`.",
    )


def _summed(batch: Batch) -> Any:
    return batch.sequences.spread(batch.sequences.sum(log_gap(batch)))


def _masked(log_rho: Any, keep: Any) -> Any:
    """ρ where it is kept, 0 elsewhere even if ρ overflows there."""
    xp = namespace(log_rho)
    return keep * xp.exp(xp.where(keep > 0, log_rho, xp.zeros_like(log_rho)))
