"""What a batch adds to the pool that a run is judged by: counts and moments of its legs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from tod.base import Groups
from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population.certificate import range_bound, with_bound
from tod.population.fewest import FEWEST_GROUPS
from tod.population.jackknife import EssCounts, jackknife_counts
from tod.population.leg_bound import kl_bound_counts, with_kl_bound
from tod.population.moments import WeightMoments
from tod.population.pass_rates import pass_rate_ess_many
from tod.population.reward_counts import RewardCounts
from tod.population.reward_ess import pass_counts_of, reward_ess
from tod.population.weight_moments import weight_moment_ess
from tod.population.zero_variance import all_prompts_range

__all__ = ["GradedLeg", "LegStatistics", "leg_statistics", "pooled_statistics", "populations_of"]


@dataclass(frozen=True, eq=False)
class GradedLeg:
    """Log-weights of any kind: their moments, and ESS_rel of single groups.

    Attributes:
        moments: Of the log-weights.
        jackknife: ESS_rel of single groups, its first bias in K removed, at ``eta``.
        eta: The factor on the moments at which the jackknife was made; 1 where they are those of
            log w itself.
    """

    moments: WeightMoments
    jackknife: EssCounts | None
    eta: float = 1.0

    @classmethod
    def of(cls, log_w: Any, groups: Groups, *, constant: Any, eta: float = 1.0) -> "GradedLeg":
        """Of ω, or of U whose ηU is ω; ``constant`` as in `WeightMoments.of`."""
        unit = unit_of(log_w)
        scaled = log_w if unit == 1.0 else log_w / unit
        moments = WeightMoments.of(scaled, groups, constant=constant)
        moments = moments if unit == 1.0 else moments.scaled(unit)
        sharp = log_w if eta == 1.0 else log_w * eta
        return cls(moments, jackknife_counts(sharp, groups, constant=constant), eta)

    def __add__(self, other: "GradedLeg") -> "GradedLeg":
        """Of the groups of both; the jackknife is lost where it was made at two sharpnesses."""
        same = self.eta == other.eta and self.jackknife is not None
        jackknife = None
        if same and other.jackknife is not None:
            assert self.jackknife is not None  # noqa: S101 - by `same`
            jackknife = self.jackknife + other.jackknife
        return GradedLeg(self.moments + other.moments, jackknife, self.eta)

    def ess(self, eta: float = 1.0, jackknife: EssCounts | None = None) -> PopulationEss:
        """ESS_rel over the prompts at a factor on the moments, and the jackknife at that factor."""
        moments = self.moments if eta == 1.0 else self.moments.scaled(eta)
        if jackknife is None and eta == self.eta:
            jackknife = self.jackknife
        return weight_moment_ess(moments, jackknife)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        jackknife = None if self.jackknife is None else self.jackknife.to_dict()
        return {"moments": self.moments.to_dict(), "jackknife": jackknife, "eta": self.eta}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> "GradedLeg | None":
        """What ``to_dict`` made."""
        if data is None:
            return None
        made = data["jackknife"]
        jackknife = None if made is None else EssCounts.from_dict(made)
        return cls(WeightMoments.from_dict(data["moments"]), jackknife, float(data["eta"]))


LARGE = 2.0**64
"""Log-weights beyond it, or all within its inverse, are counted in another unit: eighth powers of
them are not numbers."""


def unit_of(x: Any) -> float:
    """1, or the power of two in which values are near 1 where they are too large or too small."""
    finite = np.abs(x[np.isfinite(x)])
    top = float(finite.max(initial=0.0))
    if top == 0.0 or 1 / LARGE <= top <= LARGE:
        return 1.0
    return float(2.0 ** math.floor(math.log2(top)))


@dataclass(frozen=True, eq=False)
class LegStatistics:
    """Sufficient statistics of the legs of a batch; those of two batches add up to those of both.

    Attributes:
        anchored: Whether the anchor is the proposal (b = μ): those of q*/μ are then of the utility
            at η = 1 and tell of any sharpness; else they are of log w at ``eta``.
        eta: Sharpness in force; None without one.
        rewards: Groups by their rewards at η = 1, where few values occur and b = μ; else None.
        weights: Of graded rewards, or of log w; None without a target, and where ``rewards`` are
            counted, of which it could be made.
        width: Declared range of the utility at η = 1; None where nobody declared one.
        policy: Of log π − log μ; None where they are not recorded.
        policy_kl: exp(−KL(π‖μ)) of single groups, which no ESS_rel of π/μ is above.
        log_ratio: Largest |log π − log μ| of a rollout; None where it is not recorded.
        target_policy: ESS_rel of q*/π of single groups, as the drawn rollouts show it.
    """

    anchored: bool = False
    eta: float | None = None
    rewards: RewardCounts | None = None
    weights: GradedLeg | None = None
    width: float | None = None
    policy: GradedLeg | None = None
    policy_kl: EssCounts | None = None
    log_ratio: float | None = None
    target_policy: EssCounts | None = None

    @property
    def aimed(self) -> bool:
        """Whether there is a target."""
        return self.weights is not None or self.rewards is not None

    def adds_to(self, other: "LegStatistics") -> bool:
        """Whether the two tell of one target: of another sharpness only where b = μ."""
        mine, theirs = self.weights, other.weights
        if self.anchored != other.anchored or self.aimed != other.aimed:
            return False
        if mine is not None and theirs is not None:
            apart = mine.moments.log_eta - theirs.moments.log_eta
            if abs(apart) > math.log(LARGE):  # rewards of another unit
                return False
        return self.anchored or self.eta == other.eta

    def __add__(self, other: "LegStatistics") -> "LegStatistics":
        """Of the groups of both, in force the sharpness of the second."""
        rewards = weights = None
        if self.rewards is not None and other.rewards is not None:
            rewards = self.rewards.joined(other.rewards)
        if rewards is None:
            weights = _sum(self.graded, other.graded)
        return LegStatistics(
            anchored=self.anchored,
            eta=other.eta,
            rewards=rewards,
            weights=weights,
            width=other.width if self.width == other.width else None,
            policy=_sum(self.policy, other.policy),
            policy_kl=_sum(self.policy_kl, other.policy_kl),
            log_ratio=_largest(self.log_ratio, other.log_ratio),
            target_policy=_sum(self.target_policy, other.target_policy),
        )

    @property
    def with_signal(self) -> int:
        """Groups whose rewards differ."""
        if self.rewards is not None:
            return self.rewards.with_signal
        return 0 if self.weights is None else self.weights.moments.groups

    @property
    def graded(self) -> GradedLeg | None:
        """Moments of the rewards, made of their counts where these were kept."""
        if self.weights is not None or self.rewards is None:
            return self.weights
        rewards, groups = self.rewards.rows()
        return GradedLeg.of(rewards, groups, constant="blind", eta=self.eta or 1.0)

    @property
    def passes_apart(self) -> float | None:
        """η·(U_pass − U_fail) in force, where the rewards have two levels at the most and b = μ."""
        counts = self.rewards
        if counts is None or not self.eta or len(counts.levels) not in (1, 2):
            return None
        return self.eta * (counts.levels[-1] - counts.levels[0])

    def population(
        self,
        eta: float | None = None,
        jackknife: EssCounts | None = None,
        *,
        everybody: bool = True,
        ess: PopulationEss | None = None,
    ) -> dict[str, PopulationEss]:
        """ESS_rel of every leg over the population of prompts.

        Args:
            eta: Another sharpness than the one in force; only where b = μ.
            jackknife: ESS_rel of single groups at that sharpness, its first bias removed; without
                it the interval of graded rewards is a little wider.
            everybody: Bound the median over all prompts, wherever some groups show no signal: a
                tenth of a second. Else only what holds of any 0/1 rewards is told.
            ess: What the counted rewards tell, where it was read before.
        """
        found: dict[str, PopulationEss] = {}
        target = self._target(self.eta if eta is None else eta, jackknife, ess)
        if target is not None and eta is None:
            target = self._with_everybody(target, everybody)
        if target is not None:
            found["target_proposal"] = target
        if self.policy is not None:
            policy = self.policy.ess()
            bound = self.policy_kl
            found["policy_proposal"] = policy if bound is None else with_kl_bound(policy, bound)
        if target is not None and self.log_ratio is not None and self.log_ratio <= NEAR:
            found["target_policy"] = widened(target, self.log_ratio)
        elif self.target_policy is not None and len(self.target_policy):
            found["target_policy"] = point_of(self.target_policy)
        return found

    def _target(
        self, eta: float | None, jackknife: EssCounts | None, ess: PopulationEss | None = None
    ) -> PopulationEss | None:
        """Of q*/μ; None without a target."""
        if not self.aimed:
            return None
        if self.anchored and eta == 0:
            one = Interval(1.0, 1.0, 1.0)
            return PopulationEss(one, one, self.with_signal, "range", bound=1.0)
        if self.weights is not None and (not self.anchored or eta is None):
            return self.weights.ess()
        if eta is None:
            return None
        if ess is None and self.rewards is not None:
            ess = reward_ess(self.rewards, eta)
        if ess is None:
            graded = self.graded
            assert graded is not None  # noqa: S101 - there is a target
            ess = graded.ess(eta, jackknife)
        return ess if self.width is None else with_bound(ess, eta * self.width)

    def _with_everybody(self, ess: PopulationEss, everybody: bool) -> PopulationEss:
        """The same with ends for the median over all prompts, those without a signal among them.

        Where most groups show none, half of the prompts may be at either end of what 0/1 rewards
        allow, sech²(η/2) and 1, and so may the median.
        """
        apart, passes = self.passes_apart, pass_counts_of(self.rewards)
        if apart is None or passes is None or ess.median is None or ess.method != "pass_rates":
            return ess
        if not everybody or not passes.without_signal:
            most = passes.without_signal > passes.with_signal
            return replace(ess, all_prompts=(range_bound(abs(apart)), 1.0)) if most else ess
        ends = all_prompts_range(passes, apart)
        low, high = ends.lowest.low, ends.highest.high
        assert low is not None and high is not None  # noqa: S101, PT018 - groups with a signal
        return replace(ess, all_prompts=(low, high))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the record of a step."""
        return {
            "anchored": self.anchored,
            "eta": self.eta,
            "rewards": None if self.rewards is None else self.rewards.to_dict(),
            "weights": None if self.weights is None else self.weights.to_dict(),
            "width": self.width,
            "policy": None if self.policy is None else self.policy.to_dict(),
            "policy_kl": None if self.policy_kl is None else self.policy_kl.to_dict(),
            "log_ratio": self.log_ratio,
            "target_policy": None if self.target_policy is None else self.target_policy.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LegStatistics":
        """What ``to_dict`` made."""
        rewards, both = data["rewards"], data["target_policy"]
        return cls(
            anchored=bool(data["anchored"]),
            eta=data["eta"],
            rewards=None if rewards is None else RewardCounts.from_dict(rewards),
            weights=GradedLeg.from_dict(data["weights"]),
            width=data["width"],
            policy=GradedLeg.from_dict(data["policy"]),
            policy_kl=None if data["policy_kl"] is None else EssCounts.from_dict(data["policy_kl"]),
            log_ratio=data["log_ratio"],
            target_policy=None if both is None else EssCounts.from_dict(both),
        )


def _sum(a: Any, b: Any) -> Any:
    """The sum of two that are known; of one, where the other batch has none; None without any."""
    return b if a is None else a if b is None else a + b


def _largest(a: float | None, b: float | None) -> float | None:
    """The larger of two; unknown where either is, for nothing bounds that batch."""
    return None if a is None or b is None else max(a, b)


def leg_statistics(
    groups: Groups,
    *,
    log_w: Float[np.ndarray, " N"] | None = None,
    anchored: bool = False,
    informative: Bool[np.ndarray, " C"] | None = None,
    eta: float | None = None,
    width: float | None = None,
    log_r: Float[np.ndarray, " N"] | None = None,
    target_policy: Float[np.ndarray, " C"] | None = None,
) -> LegStatistics:
    """The sufficient statistics of a batch.

    Args:
        groups: Rollouts of one prompt each.
        log_w: log w of every rollout, or, where ``anchored``, the utility at η = 1; None without a
            target.
        anchored: Whether the anchor is the proposal.
        informative: Groups that say something of the target, where that is not told by ``log_w``:
            those of them in which log w is constant have ESS_rel = 1. None where b = μ.
        eta: Sharpness in force.
        width: Declared range of the utility at η = 1.
        log_r: log π − log μ; None where it is not recorded.
        target_policy: ESS_rel of q*/π of the groups with a signal; None where it was not measured.
    """
    many = np.flatnonzero(groups.sizes > 1)
    several: Groups = groups
    rows: Any = slice(None)
    if len(many) < len(groups):
        several, rows = groups.take(many)
    weights = policy = policy_kl = rewards = None
    if log_w is not None and anchored:
        rewards = RewardCounts.of(log_w[rows], several)
        if rewards is None:
            weights = GradedLeg.of(log_w[rows], several, constant="blind", eta=eta or 1.0)
    elif log_w is not None:
        telling = many if informative is None else many[informative[many]]
        told: Groups = groups
        at: Any = slice(None)
        if len(telling) < len(groups):
            told, at = groups.take(telling)
        weights = GradedLeg.of(log_w[at], told, constant="one")
    if log_r is not None:
        policy = GradedLeg.of(log_r[rows], several, constant="one")
        policy_kl = kl_bound_counts(log_r[rows], several)
    return LegStatistics(
        anchored=anchored,
        eta=eta,
        rewards=rewards,
        weights=weights,
        width=width if anchored else None,
        policy=policy,
        policy_kl=policy_kl,
        log_ratio=None if log_r is None else _widest(log_r),
        target_policy=None if target_policy is None else EssCounts.of(target_policy),
    )


def pooled_statistics(steps: Sequence[LegStatistics]) -> tuple[LegStatistics, int]:
    """The last steps that tell of one target, added up, and the place of the first of them.

    A pool ends where the sharpness changed, unless b = μ, whose counts tell of any.
    """
    first = len(steps) - 1
    while first > 0 and steps[first - 1].adds_to(steps[-1]):
        first -= 1
    total = steps[first]
    for item in steps[first + 1 :]:
        total = total + item
    return total, first


def populations_of(steps: Sequence[LegStatistics]) -> list[dict[str, PopulationEss]]:
    """ESS_rel by leg and step, of its own groups; 0/1 rewards of all steps at once.

    Of several steps, rewards of more than two values are read by their moments: the laws of their
    values are fitted in a fifth of a second each.
    """
    counted: dict[float, list[int]] = {}
    known: dict[int, PopulationEss] = {}
    for place, item in enumerate(steps):
        apart = item.passes_apart
        if apart is not None:
            counted.setdefault(apart, []).append(place)
        elif item.rewards is not None and item.eta and len(steps) > 1:
            graded = item.graded
            assert graded is not None  # noqa: S101 - its rewards are known
            known[place] = graded.ess(item.eta)
    for apart, places in counted.items():
        tables = [pass_counts_of(steps[place].rewards) for place in places]
        read = pass_rate_ess_many([table for table in tables if table is not None], apart)
        known |= dict(zip(places, read, strict=True))
    return [
        item.population(everybody=False, ess=known.get(place)) for place, item in enumerate(steps)
    ]


def _widest(log_r: Any) -> float | None:
    """Largest |log π − log μ|; None where one is not finite."""
    top = float(np.abs(log_r).max(initial=0.0))
    return top if math.isfinite(top) else None


NEAR = 0.1
"""|log π − log μ| of every rollout up to which q*/π is read as q*/μ, widened."""


def widened(target: PopulationEss, log_ratio: float) -> PopulationEss:
    """q*/π from q*/μ where |log π − log μ| ≤ δ for every rollout: within a factor e^{±δ}.

    1 + χ²(q*‖π) = E_μ[(q*/μ)²/ρ] with ρ = π/μ in [e^{−δ}, e^{δ}]. It is q*/μ itself on-policy,
    where π and μ differ by rounding alone.

    Source: derived (equation near-policy)
    """

    def moved(interval: Interval | None) -> Interval | None:
        if interval is None:
            return None
        down, up = math.exp(-log_ratio), math.exp(log_ratio)
        low, value, high = interval.low, interval.value, interval.high
        return Interval(
            None if low is None else low * down,
            value,
            None if high is None else min(high * up, 1.0),
        )

    return replace(
        target, median=moved(target.median), q10=moved(target.q10), bound=None, all_prompts=None
    )


def point_of(values: EssCounts) -> PopulationEss:
    """What a sample statistic that reads too high is worth: a point, and an upper end.

    ESS_rel of q*/π on K rollouts is biased upward where the weights are heavy; so the upper end of
    its order-statistic interval is one of the population too, and it has no lower end.
    """
    n = len(values)
    if n < FEWEST_GROUPS:
        few = f"{n} prompts whose rewards differ: {FEWEST_GROUPS} are needed"
        return PopulationEss(None, None, n, None, few)
    return PopulationEss(
        Interval(None, values.quantile(0.5), values.interval(0.5)[1]),
        Interval(None, values.quantile(0.1), values.interval(0.1)[1]),
        n,
        "sample",
    )
