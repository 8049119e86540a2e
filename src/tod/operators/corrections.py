"""Corrections of the train-inference mismatch: weights of tokens sampled by another engine.

ρ_t = π_old/μ of a token as drawn, always a constant; it multiplies the policy's credit and never a
KL pull. Denominators are kept: a dropped token still counts in M, B and C, unless the correction is
``shrunk``. With `old` taken as μ the trust region's ρ already holds it: use none of these. Bounds
are on ρ, not on 1/ρ.
"""

import math
from typing import Annotated, Any, Literal, Self

from jaxtyping import Float
from pydantic import Field, FiniteFloat, model_validator

from tod.base import Array, Named, Spec, SpecError, namespace
from tod.operators.batch import Batch

Positive = Annotated[FiniteFloat, Field(gt=0.0)]
Bound = Annotated[FiniteFloat, Field(ge=0.0)]


class TokenTruncation(Spec):
    """max(floor, min(ρ_t, cap)). TIS, Yao et al. 2025."""

    kind: Literal["token_truncation"] = "token_truncation"
    cap: Positive = 2.0
    """C: largest weight."""
    floor: Bound = 0.0
    """Smallest weight; 0 for none."""

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:  # noqa: ARG002
        """Weights [M]."""
        return _capped(log_gap(batch), self.floor, self.cap)  # type: ignore[no-any-return]


class SequenceTruncation(Spec):
    """max(floor, min(Π_t ρ_t, cap)), the same for every token of a sequence."""

    kind: Literal["sequence_truncation"] = "sequence_truncation"
    cap: Positive = 2.0
    """C: largest weight."""
    floor: Bound = 0.0
    """Smallest weight; 0 for none."""

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:  # noqa: ARG002
        """Weights [M]."""
        return _capped(_summed(batch), self.floor, self.cap)  # type: ignore[no-any-return]


class _Bounded(Spec):
    """Bounds on a ratio."""

    low: Bound = 0.5
    """Smallest ρ that is kept."""
    high: Positive = 5.0
    """Largest ρ that is kept."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: nothing would be kept")
        return self

    def kept(self, log_rho: Any) -> Any:
        """1 where low ≤ ρ ≤ high, else 0."""
        xp = namespace(log_rho)
        low = math.log(self.low) if self.low > 0 else -math.inf
        inside = (log_rho >= low) & (log_rho <= math.log(self.high))
        return xp.where(inside, xp.ones_like(log_rho), xp.zeros_like(log_rho))


class TokenMask(_Bounded):
    """ρ_t·1{low ≤ ρ_t ≤ high}. IcePop, Ling team 2025."""

    kind: Literal["token_mask"] = "token_mask"

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:  # noqa: ARG002
        """Weights [M]."""
        gap = log_gap(batch)
        return _masked(gap, self.kept(gap))  # type: ignore[no-any-return]


class SequenceMask(_Bounded):
    """ρ·1{low ≤ ρ ≤ high} of the whole sequence, ρ = Π_t ρ_t. MIS; TRL's default at high = 3."""

    kind: Literal["sequence_mask"] = "sequence_mask"
    low: Bound = 0.0
    """Smallest ρ that is kept; 0 for no bound."""
    high: Positive = 3.0
    """Largest ρ that is kept."""

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:  # noqa: ARG002
        """Weights [M]."""
        total = _summed(batch)
        return _masked(total, self.kept(total))  # type: ignore[no-any-return]


class SequenceRejection(_Bounded):
    """1{low ≤ Π_t ρ_t ≤ high}: sequences are dropped, none is weighed."""

    kind: Literal["sequence_rejection"] = "sequence_rejection"
    high: Positive = 2.0
    """Largest ρ that is kept."""

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:  # noqa: ARG002
        """Weights [M]."""
        return self.kept(_summed(batch))  # type: ignore[no-any-return]


class GeometricRejection(_Bounded):
    """1{low ≤ exp(mean_t log ρ_t) ≤ high}, times ρ_t if ``weighted`` (untruncated)."""

    kind: Literal["geometric_rejection"] = "geometric_rejection"
    low: Bound = 0.999
    """Smallest mean ρ that is kept."""
    high: Positive = 1.001
    """Largest mean ρ that is kept."""
    weighted: bool = False
    """Also weigh the tokens that are kept by ρ_t."""

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:  # noqa: ARG002
        """Weights [M]."""
        gap = log_gap(batch)
        kept = self.kept(batch.sequences.spread(batch.sequences.mean(gap)))
        return _masked(gap, kept) if self.weighted else kept  # type: ignore[no-any-return]


class StaleNegatives(Spec):
    """Drops a sequence with A < 0 and mean_t(log μ − log π_θ) > delta.

    The off-policy sequence mask of DeepSeek-V3.2, 2512.02556.
    """

    kind: Literal["stale_negatives"] = "stale_negatives"
    delta: Positive
    """δ, nats per token."""

    def __call__(self, batch: Batch, advantage: Float[Array, " M"]) -> Float[Array, " M"]:
        """Weights [M]."""
        xp = namespace(batch.log_policy)
        stale = batch.sequences.mean(_log_mu(batch) - batch.log_policy)
        dropped = (advantage < 0) & (batch.sequences.spread(stale) > self.delta)
        one = xp.ones_like(batch.log_policy)
        return xp.where(dropped, 0 * one, one)  # type: ignore[no-any-return]


CorrectionSpec = Annotated[
    TokenTruncation
    | SequenceTruncation
    | TokenMask
    | SequenceMask
    | SequenceRejection
    | GeometricRejection
    | StaleNegatives,
    Field(discriminator="kind"),
    Named,
]


def log_gap(batch: Batch) -> Float[Array, " M"]:
    """The gap log ρ_t = log π_old − log μ of every token, nats.

    Raises:
        SpecError: log μ of the tokens was not recorded.
    """
    return batch.log_old - _log_mu(batch)  # type: ignore[no-any-return]


def _log_mu(batch: Batch) -> Any:
    if batch.log_mu_tokens is None:
        raise SpecError(
            "a correction of the sampler needs log μ of every token as drawn and it was not "
            "recorded. Record it, or use `correction: null`."
        )
    return batch.log_mu_tokens


def _summed(batch: Batch) -> Any:
    return batch.sequences.spread(batch.sequences.sum(log_gap(batch)))


def _capped(log_rho: Any, floor: float, cap: float) -> Any:
    xp = namespace(log_rho)
    low = math.log(floor) if floor > 0 else -math.inf
    return xp.exp(xp.clip(log_rho, low, math.log(cap)))


def _masked(log_rho: Any, kept: Any) -> Any:
    """ρ where it is kept, 0 elsewhere even if ρ overflows there."""
    xp = namespace(log_rho)
    return kept * xp.exp(xp.where(kept > 0, log_rho, xp.zeros_like(log_rho)))
