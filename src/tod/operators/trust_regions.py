"""Trust regions: how far π_θ may move from π_old before a token stops counting.

Each has a ``gate`` g(ρ, A), so that the credit is g·ρ·A, and the paper's ``surrogate`` f(ρ, A):
∂f/∂log ρ = g·ρ·A, which a test holds for every region. Activation reads g alone: see
`tod.diagnostics.activation`. A ``level`` says at which grain ρ = π_θ/π_old is compared. To add a
region, add a subclass of `TrustRegion` here; nothing else has to be edited.
"""
# ruff: noqa: ARG002 - one signature for all regions, and few read all of it

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from jaxtyping import Float
from pydantic import Field, FiniteFloat, model_validator

from tod.base import Array, Groups, Named, Spec, SpecError, detach, namespace, tagged

__all__ = [
    "Clip",
    "DualClip",
    "Level",
    "Mask",
    "MovedProbability",
    "RootLengthClip",
    "SoftGate",
    "Truncate",
    "TrustRegionSpec",
    "Unbounded",
    "at_level",
    "mean_of_clipped",
]

Width = Annotated[FiniteFloat, Field(ge=0.0)]
Positive = Annotated[FiniteFloat, Field(gt=0.0)]

Tokens = Float[Array, " M"]
"""A number of every token."""
Level = Literal["token", "sequence_mean", "sequence_sum", "sequence_mean_of_clipped"]
"""``token``: ρ_t, each its own. ``sequence_mean``: s = exp(mean_t log ρ_t), the geometric mean
(GSPO; not an importance weight). ``sequence_sum``: exp(Σ_t log ρ_t), the true sequence weight
(FSPO). ``sequence_mean_of_clipped``: tokens are clipped in log space *before* the geometric mean
(GMPO)."""


class TrustRegion(Spec):
    """A limit on how far π_θ may move from π_old, as a factor of every token's gradient.

    All methods take [M]: ``log_rho`` = log π_θ/π_old in nats at the level of the rule, the
    ``advantage`` A, and the ``length`` of the token's sequence in tokens, which one region reads
    (None: every token is a sequence of its own).
    """

    kind: str
    reads_old: ClassVar[bool] = False
    """Whether it reads π_old of a token beside ρ: its methods then take ``log_old`` [M], nats."""

    @abstractmethod
    def gate(self, log_rho: Tokens, advantage: Tokens, length: Tokens | None = None) -> Tokens:
        """The factor g ≥ 0 of the gradient g·ρ·A·∇log π: 1 changes nothing, 0 drops the token."""

    def weight(self, log_rho: Tokens, advantage: Tokens, length: Tokens | None = None) -> Tokens:
        """The product g·ρ, and 0 where g = 0 however large ρ is."""
        return gated(self.gate(log_rho, advantage, length), log_rho)

    @abstractmethod
    def surrogate(self, log_rho: Tokens, advantage: Tokens, length: Tokens | None = None) -> Tokens:
        """The paper's objective f, to be maximised, with ∂f/∂log ρ = g·ρ·A."""


class Unbounded(TrustRegion):
    """No trust region: g = 1, f = ρA.

    Source: docs/equations.md A.16
    """

    kind: Literal["unbounded"] = "unbounded"

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """Open: g = 1."""
        return namespace(log_rho).ones_like(log_rho)

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """The product f = ρA."""
        return namespace(log_rho).exp(log_rho) * advantage


class _Band(TrustRegion):
    """A hard band around ρ = 1; where A = 0 nothing is clipped (g = 1)."""

    kind: str
    low: Width = 0.2
    """ε_low: ρ may fall to 1 − ε_low (1 or more: no lower bound)."""
    high: Width = 0.2
    """ε_high: ρ may rise to 1 + ε_high."""

    @property
    def log_bounds(self) -> tuple[float, float]:
        """(log(1 − low), log(1 + high)), nats."""
        return (math.log1p(-self.low) if self.low < 1.0 else -math.inf, math.log1p(self.high))

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """1 inside, 0 where the step would go further out."""
        low, high = self.log_bounds
        return _inside(log_rho, advantage, low, high)

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """min(ρA, clip(ρ)A)."""
        xp = namespace(log_rho)
        rho = xp.exp(log_rho)
        return xp.minimum(rho * advantage, xp.clip(rho, 1 - self.low, 1 + self.high) * advantage)


class Clip(_Band):
    """The clip of PPO: g = 1 where (A > 0 and ρ ≤ 1 + high) or (A < 0 and ρ ≥ 1 − low), else 0.

    f = min(ρA, clip(ρ, 1 − low, 1 + high)·A). Where A = 0 nothing is clipped. Bounds may differ, as
    in DAPO, 2503.14476.

    >>> import numpy as np
    >>> log_rho, advantage = np.log([1.5, 1.5, 0.9]), np.array([2.0, -1.0, -1.0])
    >>> Clip(high=0.28).gate(log_rho, advantage)
    array([0., 1., 1.])
    >>> Clip(high=0.28).surrogate(log_rho, advantage)
    array([ 2.56, -1.5 , -0.9 ])

    Source: docs/equations.md A.6; Schulman et al. 2017, eq. 7 (equation ppo-clip)
    """

    kind: Literal["clip"] = "clip"


class DualClip(_Band):
    """Clip, and for A < 0 also a cap: f = max(clip surrogate, cap·A), g = 0 where ρ > cap.

    Source: docs/equations.md A.6; Ye et al. 2020, 1912.09729 (equation dual-clip)
    """

    kind: Literal["dual_clip"] = "dual_clip"
    cap: Annotated[FiniteFloat, Field(gt=1.0)] = 3.0
    """c > 1: the largest ρ that a negative advantage still pushes down."""

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """The clip's gate, and 0 where A < 0 and ρ > cap."""
        beyond = (advantage < 0) & (log_rho > math.log(self.cap))
        inside = super().gate(log_rho, advantage, length)
        return namespace(log_rho).where(beyond, 0 * inside, inside)

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """max(min(ρA, clip(ρ)A), cA) where A < 0."""
        xp = namespace(log_rho)
        value = super().surrogate(log_rho, advantage, length)
        return xp.where(advantage < 0, xp.maximum(value, self.cap * advantage), value)


class SoftGate(TrustRegion):
    """A smooth gate: g = sech²(τ(ρ − 1)/2), f = (4/τ)·σ(τ(ρ − 1))·A, τ by the sign of A.

    g(1) = 1 and g falls on both sides of 1 whatever the sign of A.

    Source: docs/equations.md A.11; SAPO, 2511.20347 (equation sapo-gate)
    """

    kind: Literal["soft_gate"] = "soft_gate"
    tau_pos: Positive = 1.0
    """Temperature τ where A > 0."""
    tau_neg: Positive = 1.05
    """Temperature τ where A ≤ 0."""

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """4p(1 − p), p = σ(τ(ρ − 1))."""
        p = _sigmoid(self._tau(log_rho, advantage) * _excess(log_rho))
        return 4.0 * p * (1.0 - p)

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """(4/τ)σ(τ(ρ − 1))A."""
        tau = self._tau(log_rho, advantage)
        return 4.0 / tau * _sigmoid(tau * _excess(log_rho)) * advantage

    def _tau(self, log_rho: Any, advantage: Any) -> Any:
        xp = namespace(log_rho)
        pos, neg = xp.full_like(log_rho, self.tau_pos), xp.full_like(log_rho, self.tau_neg)
        return xp.where(advantage > 0, pos, neg)


class Truncate(TrustRegion):
    """A bounded weight: g = clip(ρ, floor, cap)/ρ, so every token keeps clip(ρ)·A·∇log π.

    f = sg[clip(ρ)]·A·log ρ. There is no effective lower bound in the paper; the cap is absolute, as
    in ScaleRL, 2510.13786. With a floor g exceeds 1 below it.

    Source: docs/equations.md A.12; CISPO, 2506.13585 (equation cispo-weight)
    """

    kind: Literal["truncate"] = "truncate"
    cap: Positive = 5.0
    """Largest weight, absolute (not 1 + ε)."""
    floor: Positive | None = None
    """Smallest weight; None for no lower bound."""

    @model_validator(mode="after")
    def _ordered(self) -> "Truncate":
        if self.floor is not None and self.floor > self.cap:
            raise ValueError(f"floor {self.floor} is above cap {self.cap}")
        return self

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """clip(ρ)/ρ, computed in log space."""
        return namespace(log_rho).exp(self._clipped(log_rho) - log_rho)

    def weight(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """clip(ρ) itself: g·ρ would be 0·∞ where ρ overflows."""
        return namespace(log_rho).exp(self._clipped(log_rho))

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """sg[clip(ρ)]·A·log ρ."""
        return detach(namespace(log_rho).exp(self._clipped(log_rho))) * advantage * log_rho

    def _clipped(self, log_rho: Any) -> Any:
        low = -math.inf if self.floor is None else math.log(self.floor)
        return namespace(log_rho).clip(log_rho, low, math.log(self.cap))


class MovedProbability(TrustRegion):
    """A mask on how far the probability of a token moved: g = 1{within}·min(ρ, cap)/ρ.

    ``tv``: A > 0 is dropped where π − π_old > high, A < 0 where π_old − π > low. ``kl``: where the
    KL of the two-point laws (token, any other) of π_old to π exceeds the bound and the token moved
    the way A pushes. A rare token may thus move by a large ratio, a frequent one by a small one.
    f = sg[g·ρ]·A·log ρ. It reads π_old: without ``log_old`` it refuses. Level ``token`` only.

    Source: docs/equations.md A.15; DPPO, 2602.04879 (equation moved-probability)
    """

    kind: Literal["moved_probability"] = "moved_probability"
    reads_old: ClassVar[bool] = True
    measure: Literal["tv", "kl"] = "tv"
    """``tv``: |π − π_old| of the token. ``kl``: π_old·log(π_old/π) + the same of its complement."""
    low: Width = 0.2
    """Bound where A < 0: a probability, or nats."""
    high: Width = 0.2
    """Bound where A > 0."""
    cap: Positive = 20.0
    """Largest ρ that counts whole."""

    def gate(self, log_rho: Any, advantage: Any, length: Any = None, log_old: Any = None) -> Any:
        """The mask times min(ρ, cap)/ρ."""
        xp = namespace(log_rho)
        bounded = xp.exp(xp.clip(log_rho, -math.inf, math.log(self.cap)) - log_rho)
        return xp.where(self._within(log_rho, advantage, log_old), bounded, 0 * bounded)

    def weight(self, log_rho: Any, advantage: Any, length: Any = None, log_old: Any = None) -> Any:
        """The mask times min(ρ, cap)."""
        xp = namespace(log_rho)
        bounded = xp.exp(xp.clip(log_rho, -math.inf, math.log(self.cap)))
        return xp.where(self._within(log_rho, advantage, log_old), bounded, 0 * bounded)

    def surrogate(
        self, log_rho: Any, advantage: Any, length: Any = None, log_old: Any = None
    ) -> Any:
        """sg[g·ρ]·A·log ρ."""
        return detach(self.weight(log_rho, advantage, length, log_old)) * advantage * log_rho

    def _within(self, log_rho: Any, advantage: Any, log_old: Any) -> Any:
        if log_old is None:
            raise SpecError(
                "trust region moved_probability compares probabilities and pi_old of the tokens is "
                "not there: give log_old, or use a region of ratios such as clip."
            )
        xp = namespace(log_rho)
        # a log-prob that rounding has put above 0 is 0, and one of 0 leaves no other token
        old = xp.clip(log_old, -math.inf, 0.0)
        new = xp.clip(log_old + log_rho, -math.inf, 0.0)
        up = xp.exp(new) - xp.exp(old)
        if self.measure == "tv":
            return xp.where(advantage > 0, up <= self.high, -up <= self.low)
        rest_old, rest_new = -xp.expm1(old), -xp.expm1(new)
        tiny = xp.full_like(log_rho, 1e-8)
        other = rest_old * xp.log((rest_old + tiny) / (rest_new + tiny))
        moved = xp.exp(old) * (old - new) + other
        return xp.where(
            advantage > 0, (moved <= self.high) | (up <= 0), (moved <= self.low) | (up >= 0)
        )


class RootLengthClip(TrustRegion):
    """Clip of the summed log-ratio S to ±c√L: the band that a random walk of L tokens fills.

    f = min(e^S A, e^{clip(S, −low√L, high√L)} A); meant for level ``sequence_sum``. The drift
    centre is 0 as in the paper's later version.

    Source: docs/equations.md A.13; FSPO, 2509.09177 (equation fspo-band)
    """

    kind: Literal["root_length_clip"] = "root_length_clip"
    low: Positive = 0.03
    """c_low, in nats per √token."""
    high: Positive = 0.03
    """c_high, in nats per √token."""

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """1 inside the band, 0 where the step would go further out."""
        low, high = self._band(log_rho, length)
        return _inside(log_rho, advantage, low, high)

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """min(e^S A, e^{clip(S)} A)."""
        xp = namespace(log_rho)
        low, high = self._band(log_rho, length)
        clipped = xp.minimum(xp.maximum(log_rho, low), high)
        return xp.minimum(xp.exp(log_rho) * advantage, xp.exp(clipped) * advantage)

    def _band(self, log_rho: Any, length: Any) -> tuple[Any, Any]:
        """Least and largest S, [M], nats."""
        root = namespace(log_rho).ones_like(log_rho) if length is None else length**0.5
        return -self.low * root, self.high * root


class Kept(Spec):
    """The range of ρ outside of which something is dropped, whatever drops it."""

    low: Width = 0.5
    """Smallest ρ that is kept."""
    high: Positive = 5.0
    """Largest ρ that is kept."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: nothing would be kept")
        return self

    def inside(self, log_rho: Any) -> Any:
        """1 where low ≤ ρ ≤ high, else 0."""
        xp = namespace(log_rho)
        low = math.log(self.low) if self.low > 0 else -math.inf
        keep = (log_rho >= low) & (log_rho <= math.log(self.high))
        return xp.where(keep, xp.ones_like(log_rho), xp.zeros_like(log_rho))


class Mask(Kept, TrustRegion):
    """A two-sided mask: g = 1{low ≤ ρ ≤ high} for either sign of A; what is outside is dropped.

    f = sg[g]·ρ·A.

    Source: docs/equations.md A.15; IcePop, Ling team 2025
    """

    kind: Literal["mask"] = "mask"

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """The indicator."""
        return self.inside(log_rho)

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """sg[g]·ρ·A."""
        gate = detach(self.gate(log_rho, advantage, length))
        return gate * namespace(log_rho).exp(log_rho) * advantage


def gated(gate: Tokens, log_rho: Tokens) -> Tokens:
    """The product g·ρ, and 0 where g = 0 however large ρ is."""
    xp = namespace(gate)
    off = ~(xp.abs(gate) > 0)
    safe = xp.where(off, xp.zeros_like(log_rho), log_rho)
    return gate * xp.exp(safe)  # type: ignore[no-any-return]


if TYPE_CHECKING:
    TrustRegionSpec = TrustRegion
else:
    TrustRegionSpec = Annotated[tagged(TrustRegion), Named]
"""Any trust region, by its ``kind``."""


def at_level(log_rho: Tokens, sequences: Groups, level: Level) -> Tokens:
    """Token log-ratios at a level, [M], nats, one value per token (equal within a sequence).

    Source: docs/equations.md A.10, A.13 (equations token-ratio, gspo-ratio)

    ``sequence_mean_of_clipped`` needs the trust region and is handled by `mean_of_clipped`.
    """
    if level in ("token", "sequence_mean_of_clipped"):
        return log_rho
    reduced = sequences.mean if level == "sequence_mean" else sequences.sum
    return sequences.spread(reduced(log_rho))  # type: ignore[no-any-return]


def mean_of_clipped(
    log_rho: Tokens, advantage: Tokens, bounds: tuple[float, float], sequences: Groups
) -> Tokens:
    """The mean log g = mean_t d_t with d_t = min(log ρ_t, hi) if A > 0, max(log ρ_t, lo) if A < 0.

    ``bounds`` are (lo, hi) in log space. [M] in nats, equal within a sequence.

    Source: docs/equations.md A.14; GMPO, 2507.20673 (equation gmpo-clip)
    """
    xp = namespace(log_rho)
    low, high = (xp.full_like(log_rho, bound) for bound in bounds)
    capped = xp.where(advantage > 0, xp.minimum(log_rho, high), xp.maximum(log_rho, low))
    clipped = xp.where((advantage > 0) | (advantage < 0), capped, log_rho)
    return sequences.spread(sequences.mean(clipped))  # type: ignore[no-any-return]


def _inside(log_rho: Any, advantage: Any, low: Any, high: Any) -> Any:
    xp = namespace(log_rho)
    out = ((advantage > 0) & (log_rho > high)) | ((advantage < 0) & (log_rho < low))
    return xp.where(out, xp.zeros_like(log_rho), xp.ones_like(log_rho))


def _excess(log_rho: Any) -> Any:
    """ρ − 1, at most e^80: beyond it every sigmoid here is 1 and float32 would overflow."""
    xp = namespace(log_rho)
    return xp.expm1(xp.minimum(log_rho, xp.full_like(log_rho, 80.0)))


def _sigmoid(x: Any) -> Any:
    xp = namespace(x)
    return 0.5 * (1.0 + xp.tanh(0.5 * x))
