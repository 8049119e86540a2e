"""What a leg of two normalised laws must satisfy: E π/μ = 1, and ESS_rel ≤ exp(−KL(π‖μ))."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, to_numpy
from tod.population.interval import Interval, PopulationEss
from tod.population.jackknife import EssCounts

__all__ = ["RatioCheck", "kl_bound_counts", "with_kl_bound"]


@dataclass(frozen=True)
class RatioCheck:
    """Sums for the mean of ρ = π/μ over prompts, which is 1 where log π and log μ are right.

    Attributes:
        groups: Prompts.
        total: Sum over prompts of a group's mean ρ.
        squares: Sum of their squares.
    """

    groups: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, log_ratio: Float[Array, " N"], groups: Groups) -> "RatioCheck":
        """Sums over groups; those with NaN or +∞ are left out.

        Args:
            log_ratio: log π − log μ of whole rollouts, [N], nats.
            groups: Rollouts of one prompt each.
        """
        x = to_numpy(log_ratio).astype(np.float64)
        mean = np.exp(to_numpy(groups.logsumexp(x))) / groups.sizes
        mean = mean[np.isfinite(mean)]
        return cls(len(mean), float(mean.sum()), float(mean @ mean))

    def __add__(self, other: "RatioCheck") -> "RatioCheck":
        """The sums of both."""
        return RatioCheck(
            self.groups + other.groups, self.total + other.total, self.squares + other.squares
        )

    @property
    def z(self) -> float | None:
        """(mean − 1) over its standard error over prompts; None where it has none.

        Far below −3 the proposal misses part of the policy; far above 3 the log-probs are wrong.
        """
        n = self.groups
        if n < 2:
            return None
        mean = self.total / n
        variance = (self.squares - n * mean**2) / (n - 1)
        return (mean - 1) / math.sqrt(variance / n) if variance > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RatioCheck":
        """What ``to_dict`` made."""
        return cls(**data)


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
