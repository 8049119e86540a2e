"""What no ESS_rel of two normalised laws is above: exp(−KL(π‖μ))."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, to_numpy
from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population.jackknife import EssCounts

__all__ = ["kl_bound_counts", "with_kl_bound"]


def kl_bound_counts(log_ratio: Float[Array, " N"], groups: Groups) -> EssCounts:
    """exp(−KL(π‖μ)) of groups of 4 or more, KL the mean of ρ·ln ρ − ρ + 1 ≥ 0 over rollouts.

    ESS_rel = 1/E_π ρ ≤ exp(−E_π ln ρ). The estimate is skewed to the right, so that its median lies
    below KL and the bound above the true one.

    Args:
        log_ratio: log π − log μ of whole rollouts, [N], nats; not up to a constant.
        groups: Rollouts of one prompt each.

    Source: Jensen's inequality; the estimate is k3 with its weight, Schulman's low-variance form
    """
    x = to_numpy(log_ratio).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rho = np.exp(x)
        term = np.where(np.isneginf(x), 1.0, rho * x - np.expm1(x))
    # log-ratios near 0 leave rounding, of either sign
    divergence = to_numpy(groups.mean(np.maximum(term, 0.0)))
    return EssCounts.of(np.exp(-divergence)[groups.sizes >= 4])


def with_kl_bound(ess: PopulationEss, bound: EssCounts) -> PopulationEss:
    """The same with its high ends no higher than the bound's.

    Args:
        ess: Of log π − log μ.
        bound: `kl_bound_counts` of the same groups.
    """
    return replace(
        ess,
        median=_capped(ess.median, bound, 0.5),
        q10=_capped(ess.q10, bound, 0.1),
    )


def _capped(interval: Interval | None, bound: EssCounts, share: float) -> Interval | None:
    """An interval with the upper end of a quantile of the bound as a cap."""
    if interval is None or interval.high is None or not len(bound):
        return interval
    high = max(min(interval.high, bound.interval(share)[1]), interval.low or 0.0)
    value = None if interval.value is None else min(interval.value, high)
    return Interval(interval.low, value, high)
