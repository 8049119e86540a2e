"""How much of the update the trust region takes away, in one measure for every operator.

Activation is 1 − gate, with the gate the factor by which a trust region multiplies a token's
gradient: 0 or 1 for clips and masks, sech² for soft gates. Clip fractions count the clip's events.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, to_numpy
from tod.diagnostics.quantiles import quantile

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


def activation(gate: Float[Array, " M"]) -> float | None:
    """1 − mean gate: 0 when nothing is attenuated, 1 when every gradient is; None without tokens.

    A gate above 1 (a truncated weight's lower bound) amplifies and counts against it.
    """
    values = to_numpy(gate)
    return float(1 - values.mean(dtype=np.float64)) if values.size else None


def clip_fractions(
    log_rho: Float[Array, " M"], advantage: Float[Array, " M"], low: float, high: float
) -> ClipFractions:
    """Sign-aware clip fractions: ρ < 1 − low with A < 0, and ρ > 1 + high with A > 0.

    A clip on the other side of the sign changes no gradient, so it is not counted. Compute before
    any cap on ρ. For a sequence level, give one log ρ and one advantage per sequence.

    Raises:
        DataError: There is no token, or a bound is negative.
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
