"""ESS_rel over prompts from counted rewards: pass rates for two levels, compositions for more."""

from tod.diagnostics.population_ess import PopulationEss
from tod.population.pass_counts import PassCounts
from tod.population.pass_rates import pass_rate_ess
from tod.population.reward_counts import RewardCounts
from tod.population.reward_values import reward_value_ess

__all__ = ["pass_counts_of", "reward_ess"]


def pass_counts_of(counts: RewardCounts | None) -> PassCounts | None:
    """Groups by passes, of rewards with two levels at the most; None for more, and without any."""
    if counts is None or len(counts.levels) > 2:
        return None
    return PassCounts(counts.passes())


def reward_ess(counts: RewardCounts, eta: float) -> PopulationEss:
    """Median and 10 % quantile of ESS_rel over the prompts with a signal, for b = μ.

    Args:
        counts: Groups by their rewards at η = 1.
        eta: Sharpness.
    """
    passes = pass_counts_of(counts)
    if passes is None:
        return reward_value_ess(counts, eta)
    apart = counts.levels[-1] - counts.levels[0] if counts.levels else 0.0
    return pass_rate_ess(passes, eta * apart)
