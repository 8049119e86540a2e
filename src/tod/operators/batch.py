"""What an update rule sees, and what it says.

The theory of a recipe meets here as plain arrays: the wing of operators knows neither targets nor
diagnostics. `tod.procedure` fills a Batch from a Target and Candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float

from tod.base import Array, Groups
from tod.operators.aggregation import Totals


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
