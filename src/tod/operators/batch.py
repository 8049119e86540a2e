"""What an update rule sees and what it returns, as plain arrays of whole contexts.

Operators know neither targets nor diagnostics. `tod.procedure` fills a Batch from a Target and
Candidates.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float

from tod.base import Array, Groups, Spec, SpecError, to_numpy

__all__ = ["Batch", "Credit", "Moments", "Totals", "UpdateRule"]


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations; moments of parts add up to those of the whole.

    Attributes:
        count: Number of values.
        mean: Their mean.
        squares: Σ (x − mean)²; exactly 0 where all are equal.
    """

    count: int
    mean: float
    squares: float

    @classmethod
    def of(cls, x: Float[Array, " N"]) -> "Moments":
        """Moments of some values, in float64."""
        values = to_numpy(x).astype("float64")
        if not values.size:
            return cls(0, 0.0, 0.0)
        if values.min() == values.max():
            return cls(values.size, float(values[0]), 0.0)
        mean = float(values.mean())
        return cls(values.size, mean, float(((values - mean) ** 2).sum()))

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both together.

        Source: Chan, Golub and LeVeque 1979
        """
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        step = other.mean - self.mean
        mean = self.mean + step * other.count / count
        between = step * step * self.count * other.count / count
        return Moments(count, mean, self.squares + other.squares + between)

    def variance(self, ddof: int) -> float:
        """Variance with divisor count − ddof; 0 where that is not positive."""
        return self.squares / (self.count - ddof) if self.count > ddof else 0.0


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


@dataclass(frozen=True)
class Batch:
    """M tokens in N candidates in C contexts, whole contexts only. Log-probs in nats, no graph.

    Attributes:
        contexts: Candidates in contexts.
        sequences: Tokens in candidates.
        log_policy: log π_θ of every token at the current parameters, [M].
        log_old: log π_old of every token: π_θ when this batch was first used, [M].
        value: Utility the advantage is made of, [N]: Σ_k η_k U_k / Σ_k |η_k|.
        tilt: Σ_k η_k U_k, [N], nats.
        sharpness: Σ_k |η_k|: what one unit of utility is worth in nats; None if that depends on
            the context.
        log_w: log q̃*/μ, [N], if its parts were recorded.
        log_mu: log μ, [N], if recorded; 0 for a fixed set, whose reference is uniform.
        log_base: log b with π_old as it was at first use, [N], if its parts were recorded.
        pulled: Anchors that a KL pull draws to, by name: (token log-probs [M], exponent in b).
        log_mu_tokens: log μ of every token as drawn, [M], if recorded.
        log_base_tokens: Σ_j ρ_j log π_j of every token, [M], adding up to log b, if recorded.
        critic: Value of the state before every token, [M], if there is a critic.
        noise_scale: s of choices P(y₁ ≻ y₂) = σ((U₁ − U₂)/s), in units of the utility.
        reference_point: z₀ of KTO, nats, if it was estimated.
        totals: Sizes of the whole optimiser step.
    """

    contexts: Groups
    sequences: Groups
    log_policy: Float[Array, " M"]
    log_old: Float[Array, " M"]
    value: Float[Array, " N"]
    tilt: Float[Array, " N"]
    sharpness: float | None
    totals: Totals
    log_w: Float[Array, " N"] | None = None
    log_mu: Float[Array, " N"] | None = None
    log_base: Float[Array, " N"] | None = None
    pulled: Mapping[str, tuple[Any, float]] | None = None
    log_mu_tokens: Float[Array, " M"] | None = None
    log_base_tokens: Float[Array, " M"] | None = None
    critic: Float[Array, " M"] | None = None
    noise_scale: float = 1.0
    reference_point: float | None = None

    def required(self, name: str, otherwise: str) -> Any:
        """One of the optional numbers.

        Args:
            name: Its field.
            otherwise: What needs it, and the way out.

        Raises:
            SpecError: It was not recorded.
        """
        values = getattr(self, name)
        if values is None:
            raise SpecError(otherwise)
        return values


@dataclass(frozen=True)
class Credit:
    """What every token is worth: the gradient of the update is Σ credit·∇log π_θ.

    Attributes:
        per_token: Credit, [M]. The engine's loss is −Σ credit·log π_θ.
        gate: Trust region's gate, [M]: 1 untouched, 0 switched off; None where none applies.
        log_rho: log π_θ/π_old at the level of the rule, [M]; None where none applies.
        advantage: Advantage of every candidate, [N]; the mean over its tokens if they differ.
        correction: Weight of the train-inference mismatch, [M]; None where none applies.
        token_advantage: Advantage of every token, [M], that the gate read; None where none applies.
    """

    per_token: Float[Array, " M"]
    gate: Float[Array, " M"] | None
    log_rho: Float[Array, " M"] | None
    advantage: Float[Array, " N"]
    correction: Float[Array, " M"] | None = None
    token_advantage: Float[Array, " M"] | None = None


class UpdateRule(Spec):
    """An action of training: it gives every token of a batch a credit."""

    kind: str

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return False

    @property
    def needs_critic(self) -> bool:
        """Whether credit reads a critic's values."""
        return False

    @property
    def reads_the_step(self) -> bool:
        """Whether credit of a part reads numbers of the whole optimiser step beside its sizes."""
        return False

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step, with every number of it that credit of its parts reads."""
        return batch.totals

    @abstractmethod
    def credit(self, batch: Batch) -> Credit:
        """Credit of every token. See the class for the equation."""
