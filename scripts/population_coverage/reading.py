"""How a sample of a world is read, and the word that follows from it."""

import numpy as np

from population_coverage.world import Sample
from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population import (
    PassCounts,
    RewardCounts,
    WeightMoments,
    jackknife_counts,
    pass_rate_ess,
    reward_value_ess,
    weight_moment_ess,
)

__all__ = ["DOMINATED", "STABLE", "read", "word"]

STABLE, DOMINATED = 0.7, 0.3
"""Bounds of the words."""


def read(sample: Sample, *, legs: bool) -> PopulationEss:
    """By pass rates, by reward values or by moments of the log-weights, as the rewards allow.

    Args:
        sample: Rollouts of a step.
        legs: Whether log-weights are log π − log μ, whose constant groups are prompts of ESS 1.
    """
    few = None if sample.log_base is not None else RewardCounts.of(sample.utility, sample.groups)
    if few is not None and len(few.levels) <= 2:
        gap = few.levels[-1] - few.levels[0]
        return pass_rate_ess(PassCounts(few.passes()), sample.eta * gap)
    if few is not None:
        return reward_value_ess(few, sample.eta)
    constant = "one" if legs else "blind"
    # where b ≠ μ a weight varies without the rewards: those groups carry no signal
    varies = sample.groups.max(sample.utility) > sample.groups.min(sample.utility)
    keep = np.flatnonzero(varies) if not legs else np.arange(len(sample.groups))
    groups, rows = sample.groups.take(keep)
    log_weight = sample.log_weight[rows]
    return weight_moment_ess(
        WeightMoments.of(log_weight, groups, constant=constant),
        jackknife_counts(log_weight, groups, constant=constant),
    )


def word(interval: Interval | None) -> str:
    """Stable, dominated, or transition; "not readable" without an interval."""
    if interval is None:
        return "not readable"
    if interval.low is not None and interval.low >= STABLE:
        return "stable"
    if interval.high is not None and interval.high < DOMINATED:
        return "dominated"
    return "transition"
