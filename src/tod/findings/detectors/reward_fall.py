"""The reward falls from its best level, by more than harder prompts explain."""

import numpy as np
from jaxtyping import Float

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import (
    SIGMAS,
    change,
    end_level,
    moving_mean,
    window,
    window_error,
    without_outliers,
)
from tod.findings.codes import bounded, distinct
from tod.findings.dating import ramp_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Severity
from tod.findings.run import RolloutTable, Series, TrainingRun
from tod.findings.words import against_noise, cost_since, number, per_cent, resume

LEAST = 20
"""Steps below which a fall cannot be told from noise."""
FALL = 0.1
"""Fall that matters, as a share of the range of rewards."""
PART = 0.4
"""Fall that matters, as a share of the best level above the lowest reward."""
DEEP = 0.7
"""Share of the best level whose loss is critical."""
NEARLY = 3.0
"""Standard errors from which a fall that matters is not decided, and not said to be unseen."""
RISING = 1.5
"""Standard errors by which the reward must rise after a fall that harder prompts would explain."""
REPEATED = 0.5
"""Share of groups whose prompt must return for the prompts' difficulty to be taken out."""


class RewardFallDetector(Detector):
    """Best window less the last one, where it exceeds max(0.1, 0.4·best) and 4.5 errors."""

    kind = "reward_fall"
    checks = "fall of the reward"
    order = 80

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        reward = run.get("reward", 3)
        if reward is None:
            return unreadable(self.kind, "no reward is recorded", "a reward by step")
        if len(reward) < LEAST:
            return unreadable(self.kind, counted(len(reward), "step"), f"{LEAST} steps", few=True)
        low, high = _range(run, reward)
        if not low < high:
            return ()
        adjusted = None if run.rollouts is None else without_difficulty(run.rollouts)
        series = reward if adjusted is None else adjusted
        width = window(len(series))
        values = without_outliers(series.values)
        means = moving_mean(values, width)
        best_at = int(np.argmax(means))
        best, end = float(means[best_at]), end_level(values)
        fall = change(best - end, window_error(series.values, series.error))
        bound = max(FALL * (high - low), PART * (best - low))
        if best - end < bound or fall.sigmas < NEARLY:
            return ()
        if fall.sigmas < SIGMAS:
            why = f"{number(best)} to {number(end)} is {fall.sigmas:.1f} standard errors"
            return unreadable(self.kind, why, f"{SIGMAS}: more steps or answers", few=True)
        onset = ramp_onset(series.steps, values, (best_at, best))
        lost = min((best - end) / (best - low), 1.0)
        best, end = min(best, high), max(end, low)  # levels without difficulty may lie beyond
        harder = adjusted is None and _like_a_harder_stage(series, best_at + width, lost)
        best_step = int(series.steps[best_at + width // 2])
        severity: Severity = "note" if harder else "critical" if lost > DEEP else "warning"
        return (
            Finding(
                self.kind,
                severity,
                f"The reward falls {onset.words}: {number(best)} to {number(end)}, "
                f"{per_cent(lost)} of what was reached at step {best_step}.",
                onset,
                (
                    ("best level", f"{number(best)} around step {best_step}"),
                    ("last level", f"{number(end)} (mean of the last {width} steps)"),
                    ("against noise", against_noise(fall.sigmas)),
                    ("harder prompts", _difficulty_words(adjusted)),
                ),
                {"best": best, "end": end, "lost": lost, "sigmas": fall.sigmas},
                causes=_causes(harder, adjusted is not None),
                remedies=(resume(run, best_step),),
                best_step=best_step,
                cost=cost_since(run, onset),
                series=("reward",),
            ),
        )


def _range(run: TrainingRun, reward: Series) -> tuple[float, float]:
    """Smallest and largest reward: of the rollouts, else 0 and 1 if all means lie there."""
    if run.rollouts is not None:
        return run.rollouts.range
    low, high = float(reward.values.min()), float(reward.values.max())
    if low >= 0 and high <= 1:
        return 0.0, max(high, 0.5)
    return low, high


def without_difficulty(rollouts: RolloutTable) -> Series | None:
    """Mean reward by step with the prompts' difficulty taken out: r = α(prompt) + β(step).

    Fitted by turns on the group means; only groups whose prompt is seen in two steps or more count.

    Returns:
        β + mean α by step; None where fewer than half of the groups have a prompt that returns.
    """
    if rollouts.prompt is None:
        return None
    mean = rollouts.groups.mean(rollouts.reward)
    prompt = bounded(rollouts.prompt)
    step = np.repeat(np.arange(len(rollouts.steps)), rollouts.by_step.sizes)
    pairs = distinct(prompt * len(rollouts.steps) + step)
    often = np.bincount(pairs // len(rollouts.steps)) >= 2
    used = often[prompt]
    if used.mean() < REPEATED or len(np.unique(step[used])) < len(rollouts.steps):
        return None
    alpha, beta = _two_way(mean[used], prompt[used], step[used])
    rest = mean[used] - alpha[prompt[used]] - beta[step[used]]
    count = np.bincount(step[used])
    square = np.bincount(step[used], weights=rest * rest)
    error = np.sqrt(square / np.maximum(count - 1, 1) / count)
    return Series("reward", rollouts.steps, beta + float(alpha[prompt[used]].mean()), error)


def _two_way(
    values: Float[np.ndarray, " n"], prompt: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Effects of prompts and steps by least squares, in turns until they stand still."""
    of_prompt = np.maximum(np.bincount(prompt), 1)
    of_step = np.maximum(np.bincount(step), 1)
    alpha, beta = np.zeros(len(of_prompt)), np.zeros(len(of_step))
    for _ in range(200):
        before = beta
        alpha = np.bincount(prompt, weights=values - beta[step]) / of_prompt
        beta = np.bincount(step, weights=values - alpha[prompt]) / of_step
        if float(np.abs(beta - before).max()) < 1e-6:
            break
    return alpha, beta


def _like_a_harder_stage(series: Series, after: int, lost: float) -> bool:
    """Whether it fell in one step, by less than 60 %, and rises since: a harder stage would."""
    if lost >= 0.6:
        return False
    drops = np.diff(series.values[max(after - 2, 0) :])
    if len(drops) < 6:
        return False
    place = max(after - 2, 0) + int(np.argmin(drops))
    tail = series.values[place + 1 :]
    if len(tail) < 5:
        return False
    total = float(series.values[: place + 1].max() - tail.mean())
    return _slope_errors(tail) > RISING and float(-drops.min()) > 0.5 * total


def _slope_errors(values: Float[np.ndarray, " n"]) -> float:
    """Slope of the line through some values in standard errors of it; 0 of fewer than five."""
    size = len(values)
    if size < 5:
        return 0.0
    t = np.arange(size) - (size - 1) / 2
    slope = float(t @ values / (t @ t))
    rest = values - values.mean() - slope * t
    return slope / max(float(np.sqrt(rest @ rest / (size - 2) / (t @ t))), 1e-300)


def _difficulty_words(adjusted: Series | None) -> str:
    if adjusted is not None:
        return "no: the same prompts were compared"
    return "cannot be excluded: every step has new prompts"


def _causes(harder: bool, compared: bool) -> tuple[Cause, ...]:
    if compared:
        return ()
    decide = "score the checkpoints before and after on one fixed set of prompts"
    worse = Cause("worse_policy", "the policy got worse", "possible", decide)
    stage = Cause("harder_prompts", "the prompts got harder", "possible", decide)
    return (stage, worse) if harder else (worse, stage)
