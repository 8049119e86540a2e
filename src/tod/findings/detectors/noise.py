"""Rewards that are unrelated to the prompt: no prompt is easier than another."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.base import Groups, Unknown
from tod.findings.change import end_level, start_level, window_error
from tod.findings.dating import jump_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import RolloutTable, Series, TrainingRun
from tod.findings.words import cost_since, number, per_cent, thousands

PAIRS = 3000
"""Pairs of rollouts of one prompt from which coin flips are told in four of five runs."""
FEWEST = 1000
"""Pairs below which nothing is said: a handful of prompts may agree by their choice."""
CORRELATION = 0.06
"""Correlation of the rewards of one prompt below which prompts do not matter."""
QUANTILE = 2.054
"""Standard errors of a one-sided limit of 98 %."""
LEAST = 12
"""Steps below which no later beginning is looked for."""
LONE = 6.0
"""Standard errors by which the mean of one step may differ from the others."""
MIDDLE = (0.15, 0.85)
"""Mean rewards (of the range) between which the correlation is readable."""


@dataclass(frozen=True)
class Correlation:
    """How alike the rewards of one prompt are, beyond those of other prompts of its step.

    Attributes:
        value: Intraclass correlation: covariance of two rewards of one prompt over their variance.
        error: Its standard error, clustered by prompt, at least 0.8/√pairs.
        pairs: Pairs of rollouts behind it.
        mean: Mean reward as a share of the range.
        by_step: The same covariance of every step, over the variance of the run, [T]; NaN for a
            step without two groups of two.
    """

    value: float
    error: float
    pairs: int
    mean: float
    by_step: Float[np.ndarray, " T"]

    @property
    def upper(self) -> float:
        """One-sided upper limit of 98 %."""
        return self.value + QUANTILE * self.error

    @property
    def lower(self) -> float:
        """One-sided lower limit of 98 %."""
        return self.value - QUANTILE * self.error


def intraclass_correlation(rollouts: RolloutTable) -> Correlation | None:
    """(mean of r_i·r_j within prompts − the same across prompts of a step) / variance.

    Returns:
        None without two groups of two in one step, or where all rewards are equal.
    """
    low, high = rollouts.range
    if not low < high:
        return None
    groups = rollouts.groups
    reward = (rollouts.reward - low) / (high - low)
    size = groups.sizes.astype(float)
    total = np.asarray(groups.sum(reward))
    mean = total / size
    several = size > 1
    with np.errstate(invalid="ignore", divide="ignore"):
        within = (total**2 - np.asarray(groups.sum(reward**2))) / (size * (size - 1))
    step = rollouts.by_step
    count = step.sum(several)
    readable = step.spread(count) > 1
    used = several & readable
    if int(used.sum()) < 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        masked = np.where(used, mean, 0.0)
        sums, squares = np.asarray(step.sum(masked)), np.asarray(step.sum(masked**2))
        across = (sums**2 - squares) / (count * (count - 1))
        level = step.spread(sums / count)
    centre = float(reward.mean())
    variance = float(reward.var())
    influence = within[used] - 2 * level[used] * mean[used] + level[used] ** 2
    # the pairs' weights follow the number of groups of a step
    of_step = step.sum(np.where(used, within, 0.0)) - np.where(count > 1, count * across, 0.0)
    number_of_groups = int(used.sum())
    value = float(of_step.sum()) / number_of_groups / variance
    pairs = int((size[used] * (size[used] - 1) / 2).sum())
    error = float(influence.std(ddof=1)) / np.sqrt(number_of_groups) / variance
    with np.errstate(invalid="ignore", divide="ignore"):
        by_step = np.where(count > 1, of_step / count / variance, np.nan)
    return Correlation(value, max(error, 0.8 / np.sqrt(pairs)), pairs, centre, by_step)


class NoiseDetector(Detector):
    """The rewards of one prompt are no more alike than those of different prompts.

    Holds where the upper 98 % limit of the intraclass correlation is below 0.06, the mean lies in
    the middle, and the mean reward has no trend.
    """

    kind = "noise"
    checks = "rewards that are noise"
    order = 70

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        rollouts = run.rollouts
        if rollouts is None or not rollouts.grouped:
            return unreadable(self.kind, "no rollouts by prompt", "rollouts of every prompt")
        found = intraclass_correlation(rollouts)
        if found is None or found.pairs < 1:
            return unreadable(self.kind, "no prompt has several rollouts", "K >= 2")
        reward = run.get("reward")
        if reward is None:
            return unreadable(self.kind, "no step has a known reward", "finite rewards")
        unrelated = (
            found.pairs >= FEWEST
            and found.upper < CORRELATION
            and MIDDLE[0] < found.mean < MIDDLE[1]
            and _ranks_too(rollouts)
        )
        if unrelated and not _trend(reward):
            return (self._finding(run, rollouts, found, rollouts.steps[0], None),)
        later = _later(rollouts, found, reward)
        if later is not None:
            return (self._finding(run, rollouts, later[1], later[0].low, later[0]),)
        if found.pairs < PAIRS and found.lower < CORRELATION and not _trend(reward):
            return unreadable(
                self.kind,
                f"{thousands(found.pairs)} pairs of rollouts of one prompt",
                f"{thousands(PAIRS)} pairs",
                few=True,
            )
        return ()

    def _finding(
        self,
        run: TrainingRun,
        rollouts: RolloutTable,
        found: Correlation,
        first: int,
        later: Onset | None,
    ) -> Finding:
        onset = Onset(None, int(first), int(first)) if later is None else later
        coin = f"{per_cent(found.mean)} pass" if rollouts.binary else f"mean {number(found.mean)}"
        decide = "score the same answers again: noise gives other rewards"
        return Finding(
            self.kind,
            "warning",
            f"Rewards look like coin flips {onset.words} on: {coin}, whatever the prompt.",
            onset,
            (
                (
                    "alike within prompts",
                    f"{found.value:.3f} (below {found.upper:.3f}); 0 is a coin, 1 a fixed answer",
                ),
                ("read from", f"{thousands(found.pairs)} pairs of answers to one prompt"),
                ("trend of the reward", "none"),
            ),
            {"correlation": found.value, "upper": found.upper, "pairs": float(found.pairs)},
            causes=(
                Cause("random_reward", "the grader's answer is random", "likely", decide),
                Cause(
                    "equally_hard",
                    "all prompts are equally hard and nothing is learned",
                    "possible",
                    decide,
                ),
            ),
            remedies=(Remedy("score_twice", "score 50 answers a second time and compare"),),
            best_step=onset.before,
            cost=cost_since(run, onset),
            series=("reward",),
        )


def _ranks_too(rollouts: RolloutTable) -> bool:
    """Whether the ranks of the rewards are unrelated to the prompt as well.

    A few huge rewards make nearly all of a variance, and hide how alike all others are. Two values
    have the same correlation as their ranks.
    """
    if rollouts.binary:
        return True
    _, place, count = np.unique(rollouts.reward, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    found = intraclass_correlation(RolloutTable(rollouts.groups, rollouts.step, ranks))
    return found is not None and found.upper < CORRELATION


def _later(
    rollouts: RolloutTable, found: Correlation, reward: Series
) -> tuple[Onset, Correlation] | None:
    """Since when rewards are noise, where prompts mattered before; None if they are not.

    The best split of the correlation by step is tested as the whole run is; before it the
    correlation must be evident, so that prompts that were always equally hard are no change.
    """
    there = np.isfinite(found.by_step)
    steps = rollouts.steps[there]
    if len(steps) < LEAST:
        return None
    onset = jump_onset(steps, found.by_step[there])
    if onset.step is None or not steps[2] < onset.step <= steps[-3]:
        return None
    parts = _parted(rollouts, onset.step)
    before, after = map(intraclass_correlation, parts)
    if before is None or after is None or before.lower <= CORRELATION or after.pairs < PAIRS:
        return None
    unrelated = after.upper < CORRELATION and MIDDLE[0] < after.mean < MIDDLE[1]
    unrelated = unrelated and _ranks_too(parts[1])
    return (onset, after) if unrelated and not _trend(reward.from_step(onset.step)) else None


def _parted(rollouts: RolloutTable, step: int) -> tuple[RolloutTable, RolloutTable]:
    """Rewards before a step, and from it on."""
    group = int(np.searchsorted(rollouts.step, step))
    row = int(rollouts.groups.offsets[group])
    sizes = rollouts.groups.sizes
    return (
        RolloutTable(Groups(sizes[:group]), rollouts.step[:group], rollouts.reward[:row]),
        RolloutTable(Groups(sizes[group:]), rollouts.step[group:], rollouts.reward[row:]),
    )


def _trend(reward: Series) -> bool:
    """Whether the mean reward moves: rank correlation with the step, unlike ends, or a lone step.

    A coin knows no steps: one whose mean is six of its standard errors off shows that rewards
    follow something.
    """
    values = reward.values
    if len(values) < 3:
        return False
    if reward.error is not None and np.isfinite(reward.error).any():
        error = float(np.nanmedian(reward.error))
        if float(np.abs(values - np.median(values)).max()) > LONE * error > 0:
            return True
    ranks = np.argsort(np.argsort(values)).astype(float)
    r = float(np.corrcoef(np.arange(len(values)), ranks)[0, 1])
    t = abs(r) * np.sqrt((len(values) - 2) / max(1 - r * r, 1e-12))
    ends = abs(end_level(values) - start_level(values))
    noise = 2.3 * np.sqrt(2) * window_error(values, reward.error)
    return bool(t > 2.9 + 4 / len(values) or ends > max(0.05, noise))
