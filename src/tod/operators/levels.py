"""Levels: at which grain π_θ/π_old is compared. All log-ratios in nats."""

from typing import Literal

from jaxtyping import Float

from tod.base import Array, Groups, namespace

Level = Literal["token", "sequence_mean", "sequence_sum", "sequence_mean_of_clipped"]
"""``token``: ρ_t, each its own. ``sequence_mean``: s = exp(mean_t log ρ_t), the geometric mean
(GSPO; not an importance weight). ``sequence_sum``: exp(Σ_t log ρ_t), the true sequence weight
(FSPO). ``sequence_mean_of_clipped``: tokens are clipped in log space *before* the geometric mean
(GMPO)."""


def at_level(log_rho: Float[Array, " M"], sequences: Groups, level: Level) -> Float[Array, " M"]:
    """Token log-ratios as the level sees them, one value per token (equal within a sequence).

    ``sequence_mean_of_clipped`` needs the trust region and is handled by `mean_of_clipped`.
    """
    if level in ("token", "sequence_mean_of_clipped"):
        return log_rho
    reduced = sequences.mean if level == "sequence_mean" else sequences.sum
    return sequences.spread(reduced(log_rho))  # type: ignore[no-any-return]


def mean_of_clipped(
    log_rho: Float[Array, " M"],
    advantage: Float[Array, " M"],
    bounds: tuple[float, float],
    sequences: Groups,
) -> Float[Array, " M"]:
    """The mean log g = mean_t d_t with d_t = min(log ρ_t, hi) if A > 0, max(log ρ_t, lo) if A < 0.

    ``bounds`` are (lo, hi) in log space. Source: GMPO, arXiv 2507.20673.
    """
    xp = namespace(log_rho)
    low, high = (xp.full_like(log_rho, bound) for bound in bounds)
    capped = xp.where(advantage > 0, xp.minimum(log_rho, high), xp.maximum(log_rho, low))
    clipped = xp.where((advantage > 0) | (advantage < 0), capped, log_rho)
    return sequences.spread(sequences.mean(clipped))  # type: ignore[no-any-return]
