"""What a run is like where nothing is wrong: reward, lost batch, pass@K, in words and numbers."""

from dataclasses import dataclass

import numpy as np

from tod.base.text import counted
from tod.findings.change import end_level, start_level, window
from tod.findings.findings import Findings
from tod.findings.pass_rates import fit_pass_rates
from tod.findings.rollout_series import passed
from tod.findings.run import Series
from tod.findings.settings import setting
from tod.findings.words import number, per_cent

LONG = 40
"""Steps from which a reward without a trend is said to gain nothing."""
HIGH = 0.9
"""Mean reward, of rewards in [0, 1], from which little is left to gain."""


@dataclass(frozen=True)
class Slope:
    """Change of a series per step by least squares, with a 95 % interval.

    Attributes:
        value: Change per step.
        low: Lower end of the interval.
        high: Upper end of it.
    """

    value: float
    low: float
    high: float


def slope(series: Series) -> Slope | None:
    """Slope of a line through a series; its error allows for correlated steps.

    The residuals' variance is inflated by (1 + ρ)/(1 − ρ), ρ their lag-one correlation from 0 to
    0.8. None for fewer than five values.
    """
    if len(series) < 5:
        return None
    t = series.steps - series.steps.mean()
    spread = float((t * t).sum())
    value = float((t * series.values).sum()) / spread
    rest = series.values - series.values.mean() - value * t
    total = float((rest * rest).sum())
    rho = float((rest[1:] * rest[:-1]).sum()) / total if total > 0 else 0.0
    rho = min(max(rho, 0.0), 0.8)
    error = np.sqrt(total / (len(series) - 2) / spread * (1 + rho) / (1 - rho))
    return Slope(value, value - 1.96 * float(error), value + 1.96 * float(error))


def reward_sentence(findings: Findings) -> str:
    """``Reward rises from 0.35 to 0.75 (+0.02 a step, 0.017 to 0.023).``; empty without rewards.

    Both levels are means of a window of steps. Where they move against the trend, as of a reward
    that fell and recovered, no way is told.
    """
    reward = findings.run.get("reward", 2)
    if reward is None:
        return ""
    start, end = _first_level(reward), end_level(reward.values)
    trend = slope(reward)
    if trend is None:
        return f"Reward {number(start)} to {number(end)} in {counted(len(reward), 'step')}."
    rate = f"{trend.value:+.2g} a step, {trend.low:.2g} to {trend.high:.2g}".replace("-", "−")
    if trend.low > 0 and end > start:
        return f"Reward rises from {number(start)} to {number(end)} ({rate})."
    if trend.high < 0 and end < start:
        return f"Reward falls from {number(start)} to {number(end)} ({rate})."
    steady = "no trend" if trend.low <= 0 <= trend.high else "no steady trend"
    return f"Reward shows {steady}: {number(start)} to {number(end)} ({rate})."


def reward_falls(findings: Findings) -> bool:
    """Whether the reward evidently falls over the run: too little for a finding, or too unsure."""
    reward = findings.run.get("reward", 5)
    trend = None if reward is None else slope(reward)
    if reward is None or trend is None or trend.high >= 0:
        return False
    return end_level(reward.values) < _first_level(reward)


def reward_gains_nothing(findings: Findings) -> bool:
    """Whether the reward of 40 steps and more has no trend, and is not at the top of [0, 1]."""
    reward = findings.run.get("reward", LONG)
    trend = None if reward is None else slope(reward)
    if reward is None or trend is None or not trend.low <= 0 <= trend.high:
        return False
    end, values = end_level(reward.values), reward.values
    return end < HIGH or bool(values.min() < 0 or values.max() > 1)


def _first_level(reward: Series) -> float:
    """Mean of the first window."""
    return float(reward.values[: window(len(reward))].mean())


def figures(findings: Findings) -> list[tuple[str, str]]:
    """Lines on what a healthy run loses and gains."""
    return [*_lost_batch(findings), *_pass_at_k(findings), *_length(findings)]


def _lost_batch(findings: Findings) -> list[tuple[str, str]]:
    share = findings.run.get("zero_variance", 1)
    if share is None:
        return []
    width = window(len(share))
    now = float(share.values[-width:].mean())
    text = f"{per_cent(now)} of the prompts give no gradient"
    sides = []
    for name, word in (("all_pass", "all-pass"), ("all_fail", "all-fail")):
        side = findings.run.get(name)
        if side is not None:
            sides.append(f"{per_cent(float(side.values[-width:].mean()))} {word}")
    text += f" ({', '.join(sides)})" if sides else ""
    rollouts = findings.run.rollouts
    if rollouts is not None and rollouts.binary:
        recent = rollouts.step >= share.steps[-width:][0]
        count = np.asarray(rollouts.groups.sum(passed(rollouts)))[recent]
        law = fit_pass_rates(count, rollouts.groups.sizes[recent])
        k = int(np.median(rollouts.groups.sizes))
        if law is not None and now >= 0.15 and k < 64:
            key = setting("samples_per_prompt", findings.run.framework)
            left = per_cent(1 - law.informative(2 * k))
            text += f"; {key} = {2 * k} would leave {left}, at twice the samples"
    return [("lost batch", text)]


def _pass_at_k(findings: Findings) -> list[tuple[str, str]]:
    fail, reward = findings.run.get("all_fail", 6), findings.run.get("reward", 6)
    rollouts = findings.run.rollouts
    if fail is None or reward is None or rollouts is None or not rollouts.binary:
        return []
    k = rollouts.groups.uniform
    if k is None or k < 2:
        return []
    covered = 1 - fail.values
    first, last = start_level(covered), end_level(covered)
    rise = end_level(reward.values) - start_level(reward.values)
    told = ""
    if rise > 0.05:
        told = ": it learns, it does not only sharpen" if last > first + 0.02 else ": it sharpens"
    return [(f"pass@{k}", f"{first:.2f} to {last:.2f}{told}")]


def _length(findings: Findings) -> list[tuple[str, str]]:
    length = findings.run.get("length", 6)
    if length is None or any(f.kind.startswith("length") for f in findings.all):
        return []
    unit = length.unit or "tokens"
    return [
        ("length", f"{start_level(length.values):.0f} to {end_level(length.values):.0f} {unit}")
    ]
