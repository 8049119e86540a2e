"""Activation: the share of the gradient's weight that a trust region changes. Clip fractions.

A trust region multiplies the gradient of token t by its gate g_t ≥ 0: 0 or 1 for clips and masks,
sech² for soft gates, clip(ρ)/ρ for truncation, which may also be above 1. Of a token's weight
before, |A_t|, and after, g_t|A_t|, the share |1 − g_t|/max(1, g_t) of the larger one is changed:

    activation = Σ_t |A_t|·(1 − min(g_t, 1/g_t)) / Σ_t |A_t|

It lies in [0, 1] for every gate, is 0 where no gate acts, and for a clip at equal |A| the clip
fraction. ρ is left out of the weight: one ratio that overflows would hide all other tokens.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, to_numpy
from tod.diagnostics.quantiles import quantile

__all__ = ["activation_of_clip"]

LEVELS = (0.01, 0.05, 0.5, 0.95, 0.99)
"""Quantiles at which log ρ is reported."""


@dataclass(frozen=True)
class ClipFractions:
    """Share of tokens a clip acts on, over all tokens and over those with A ≠ 0.

    The second pair is None when every advantage is zero.
    """

    low: float
    high: float
    low_active: float | None
    high_active: float | None


def changed(gate: Float[Array, " M"]) -> Float[np.ndarray, " M"]:
    """Share of every token's weight that its gate changes, 1 − min(g, 1/g), in [0, 1].

    1 for a gate of 0 or +∞, 0 for a gate of 1.
    """
    g = to_numpy(gate).astype(np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        return 1.0 - np.minimum(g, 1.0 / g)  # type: ignore[no-any-return]


def activation_sums(gate: Float[Array, " M"], advantage: Float[Array, " M"]) -> tuple[float, float]:
    """Σ |A|·(1 − min(g, 1/g)) and Σ |A|: sums of parts of a step add up to those of the step."""
    weight = np.abs(to_numpy(advantage).astype(np.float64))
    return float((weight * changed(gate)).sum()), float(weight.sum())


def activation(gate: Float[Array, " M"], advantage: Float[Array, " M"]) -> float | None:
    """Σ |A|·(1 − min(g, 1/g)) / Σ |A|, in [0, 1]; None where every advantage is 0, or no token is.

    Source: design of TOD, one algebra for every update: activation is 1 − gate for clips and masks
    (equation activation)

    Args:
        gate: Gate of every token, ≥ 0.
        advantage: Advantage of every token.
    """
    weight = np.abs(to_numpy(advantage).astype(np.float64))
    largest = weight.max(initial=0.0)
    return share_of(*activation_sums(gate, weight / largest)) if largest > 0 else None


def share_of(part: float, whole: float) -> float | None:
    """The activation of two sums, in [0, 1]; None where there is no gradient to change."""
    return min(part / whole, 1.0) if whole > 0 else None


def activation_of_clip(fraction: float, active: float) -> float | None:
    """Activation from a logged clip fraction, exact where all advantages but 0 are of one size.

    Args:
        fraction: Share of all tokens that a clip stopped; it counts tokens with A = 0 as open.
        active: Share of all tokens that have A ≠ 0.
    """
    return share_of(fraction, active)


def clip_fractions(
    log_rho: Float[Array, " M"], advantage: Float[Array, " M"], low: float, high: float
) -> ClipFractions:
    """Sign-aware clip fractions: ρ < 1 − low with A < 0, and ρ > 1 + high with A > 0.

    A clip on the other side of the sign changes no gradient, so it is not counted. Compute before
    any cap on ρ. For a sequence level, give one log ρ and one advantage per sequence.

    Raises:
        DataError: There is no token, or a bound is negative.

    Source: Schulman et al. 2017 (equation clip-fraction)
    """
    x, a = to_numpy(log_rho), to_numpy(advantage)
    if not x.size or low < 0 or high < 0:
        raise DataError(f"clip fractions of {x.size} tokens at low={low}, high={high}.")
    floor = math.log1p(-low) if low < 1 else -math.inf
    below = int(((x < floor) & (a < 0)).sum())
    above = int(((x > math.log1p(high)) & (a > 0)).sum())
    active = int((a != 0).sum())
    return ClipFractions(
        low=below / x.size,
        high=above / x.size,
        low_active=below / active if active else None,
        high_active=above / active if active else None,
    )


def log_rho_quantiles(log_rho: Float[Array, " M"]) -> dict[str, float]:
    """Order statistics of log ρ at 1, 5, 50, 95 and 99 %, and its extremes, nats."""
    x = to_numpy(log_rho).astype(np.float64)
    named = {f"q{round(100 * p):02d}": quantile(x, p) for p in LEVELS}
    return {"min": float(x.min()), **named, "max": float(x.max())}


def gate_quantiles(gate: Float[Array, " M"]) -> dict[str, float]:
    """Order statistics of the gate at 1, 5, 50, 95 and 99 %."""
    x = to_numpy(gate).astype(np.float64)
    return {f"q{round(100 * p):02d}": quantile(x, p) for p in LEVELS}
