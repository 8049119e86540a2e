"""The largest sharpness at which the population of prompts still keeps an ESS_rel."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from tod.base import SpecError
from tod.diagnostics.population_ess import Interval, Method
from tod.population.certificate import range_at_bound
from tod.population.fewest import FEWEST_GROUPS
from tod.population.leg_statistics import LegStatistics
from tod.population.moments import WeightMoments
from tod.population.pass_rates import pass_rate_posterior
from tod.population.reward_counts import RewardCounts
from tod.population.reward_ess import pass_counts_of, reward_ess
from tod.population.weight_moments import SAFE_Z, weight_moment_ess, weight_shape

__all__ = ["FeasibleEta", "feasible_eta"]

Attained = Literal["yes", "unbounded"]
LARGEST = 60.0
"""η times the range of the rewards, nats, from which a weight of e^−60 against 1 counts as none."""
HALVINGS = 16
"""Of that bracket for partial credit: .001 nats are left."""
QUANTILES = (0.5, 0.1)
"""Over prompts, that partial credit is read at."""


@dataclass(frozen=True)
class FeasibleEta:
    """The largest η at which a quantile over prompts of ESS_rel is at least a goal, for b = μ.

    Attributes:
        goal: ESS_rel to keep.
        share: The quantile over the prompts with a signal: 0.5 the median.
        eta: The point, per unit of the utility at η = 1; ∞ where no sharpness is too much, None
            where it is not readable.
        safe: A sharpness that keeps the goal in nine populations of ten or more that look like this
            pilot; ∞ and None as above.
        high: Upper end of what the largest η may be; ∞ and None as above.
        guaranteed: η at which no prompt is below the goal, whatever was drawn; None where no range
            of the reward is declared.
        limit: What the quantile of ESS_rel tends to for η → ∞: that of the pass rate, for rewards
            of two values; None for others.
        method: How it was read; None where nothing was.
        prompts: Groups with a signal behind it.
        unreadable: Why it could not be read, in words.
    """

    goal: float
    share: float
    eta: float | None = None
    safe: float | None = None
    high: float | None = None
    guaranteed: float | None = None
    limit: Interval | None = None
    method: Method | None = None
    prompts: int = 0
    unreadable: str | None = None

    @property
    def attained(self) -> Attained | None:
        """Whether there is a largest η; None where it is not readable. At η = 0 ESS_rel is 1."""
        if self.eta is None:
            return None
        return "unbounded" if self.eta == math.inf else "yes"

    @property
    def undecided(self) -> bool:
        """Whether the pilot cannot tell if there is a largest η at all: the limit is at the goal.

        A point, or its absence, is then a coin toss; the limit with its interval is what is known.
        """
        if self.limit is None or self.limit.low is None or self.limit.high is None:
            return False
        return self.limit.low < self.goal <= self.limit.high


def feasible_eta(statistics: LegStatistics, goal: float, share: float = 0.5) -> FeasibleEta:
    """The largest η of a batch or a pool on the population of its prompts.

    * Rewards of two values: every law of the pass rates has its own η; their 5, 50 and 95 % points.
    * Rewards of a few values: where the ends of the interval of ESS_rel cross the goal.
    * Graded rewards: that of a law with the pooled skewness and kurtosis and the scale of such a
      prompt. ``safe`` and ``high`` are a factor away whose logarithm is the root of the sum of the
      squared moves by: skewness and kurtosis together by 1.64 standard errors, the scale to its
      own 90 % end.
    * A declared range R guarantees η = 2·arcosh(1/√goal)/R of every prompt.

    With b ≠ μ the log-weights are not η times anything that was measured: not readable.

    Args:
        statistics: Counts and moments (`leg_statistics`).
        goal: ESS_rel to keep, in (0, 1).
        share: The quantile over prompts, in (0, 1).

    Raises:
        SpecError: The goal or the share is outside (0, 1).
    """
    if not 0 < goal < 1 or not 0 < share < 1:
        raise SpecError(f"goal = {goal}, share = {share}: both lie in (0, 1). 0.5 is usual.")
    empty = FeasibleEta(goal, share)
    if not statistics.aimed:
        return replace(empty, unreadable="no target")
    if not statistics.anchored:
        why = "the anchor is not the proposal: log-weights are known at one sharpness alone"
        return replace(empty, unreadable=why)
    if statistics.rewards is not None:
        read = _from_counts(statistics.rewards, goal, share)
    else:
        graded = statistics.graded
        assert graded is not None  # noqa: S101 - there is a target
        read = _from_moments(graded.moments, goal, share)
    return read if statistics.width is None else _guaranteed(read, statistics.width)


def _from_counts(counts: RewardCounts, goal: float, share: float) -> FeasibleEta:
    """Of rewards with few values."""
    passes = pass_counts_of(counts)
    if passes is None:
        return _from_values(counts, goal, share)
    found = FeasibleEta(goal, share, prompts=passes.with_signal)
    if passes.with_signal < FEWEST_GROUPS:
        few = f"{passes.with_signal} prompts whose rewards differ: {FEWEST_GROUPS} are needed"
        return replace(found, unreadable=few)
    posterior = pass_rate_posterior(passes)
    reach, apart = posterior.eta_at_ess(goal, share), counts.levels[1] - counts.levels[0]
    low, value, high = (
        None if x is None else x / apart for x in (reach.low, reach.value, reach.high)
    )
    return replace(
        found,
        eta=value,
        safe=low,
        high=high,
        limit=posterior.pass_rate(share),
        method="pass_rates",
    )


def _from_values(counts: RewardCounts, goal: float, share: float) -> FeasibleEta:
    """Of partial credit: where the ends of the interval of ESS_rel cross the goal."""
    if share not in QUANTILES:
        raise SpecError(f"share = {share}: partial credit is read at {QUANTILES}.")
    top = LARGEST / (counts.levels[-1] - counts.levels[0])
    first = reward_ess(counts, top)
    found = FeasibleEta(goal, share, prompts=first.prompts)
    if first.median is None:
        return replace(found, unreadable=first.unreadable)

    @cache
    def interval(eta: float) -> Interval:
        ess = reward_ess(counts, eta)
        read = ess.median if share == QUANTILES[0] else ess.q10
        return Interval(None, None, None) if read is None else read

    safe, eta, high = (
        _last_at(goal, top, lambda x: interval(x).low),
        _last_at(goal, top, lambda x: interval(x).value),
        _last_at(goal, top, lambda x: interval(x).high),
    )
    return replace(found, eta=eta, safe=safe, high=high, method=first.method)


def _last_at(goal: float, top: float, ess: Callable[[float], float | None]) -> float:
    """Where a falling ESS_rel leaves the goal, from 0 on; ∞ where it is still there at the top."""
    if (ess(top) or 0.0) >= goal:
        return math.inf
    low, high = 0.0, top
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (ess(middle) or 0.0) >= goal else (low, middle)
    return low


def _from_moments(moments: WeightMoments, goal: float, share: float) -> FeasibleEta:
    """Of any rewards, by the pooled shape of their law."""
    found = FeasibleEta(goal, share, prompts=moments.groups)
    shape = weight_shape(moments) if not moments.infinite else None
    if shape is None:
        why = weight_moment_ess(moments).unreadable or "too few prompts whose rewards differ"
        return replace(found, unreadable=why)
    safe, eta, high = (shape.eta_at_ess(goal, share=share, z=z) for z in (SAFE_Z, 0.0, -SAFE_Z))
    low_scale, scale, high_scale = shape.scales.quantile(1 - share)
    down = math.hypot(max(math.log(eta / safe), 0.0), math.log(high_scale / scale))
    up = math.hypot(max(math.log(high / eta), 0.0), math.log(scale / low_scale))
    return replace(
        found,
        eta=eta,
        safe=eta * math.exp(-down),
        high=eta * math.exp(up),
        method="weight_moments",
    )


def _guaranteed(read: FeasibleEta, width: float) -> FeasibleEta:
    """The same, and never less than what a declared range guarantees of every prompt."""
    bound = range_at_bound(read.goal) / width if width > 0 else math.inf
    if read.eta is None or read.safe is None or read.high is None:
        return replace(
            read, eta=bound, safe=bound, guaranteed=bound, method="range", unreadable=None
        )
    return replace(
        read,
        eta=max(read.eta, bound),
        safe=max(read.safe, bound),
        high=max(read.high, bound),
        guaranteed=bound,
    )
