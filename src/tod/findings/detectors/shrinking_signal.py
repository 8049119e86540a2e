"""The share of a batch that gives no gradient, and what another group size would leave of it."""

from collections.abc import Iterator

import numpy as np

from tod.base import Unknown
from tod.findings.change import end_level, start_level, window
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Finding, Remedy
from tod.findings.pass_rates import PassRates, fit_pass_rates
from tod.findings.rollout_series import passed
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import number, per_cent

SHARE = 0.5
"""Zero-variance share from which it is worth a note."""
HIGH = 0.7
"""Share from which, with a low pass rate, it is a warning."""
HARD = 0.15
"""Mean pass rate below which the prompts are too hard."""


class ShrinkingSignalDetector(Detector):
    """Zero-variance groups: their share at the end of the run and its price, 1/(1 − share)."""

    kind = "shrinking_signal"
    checks = "share of prompts without a gradient"
    order = 65

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        share = run.get("zero_variance", 3)
        if share is None:
            return unreadable(
                self.kind,
                "the share of zero-variance groups is not recorded",
                "rollouts in groups, or a log of that share",
            )
        width = window(len(share))
        end = float(share.values[-width:].mean())
        if end < SHARE or end > 0.995:
            return ()
        rollouts = run.rollouts
        law = None if rollouts is None else _law(rollouts, int(share.steps[-width]))
        reward = run.get("reward")
        rate = law.mean if law is not None else _logged_rate(run)
        # where the share grew other findings say why; from the start it is the prompts themselves
        hard = end >= HIGH and rate is not None and rate < HARD and _hard_at_first(run)
        evidence = [("no gradient from", f"{per_cent(end)} of the prompts (last {width} steps)")]
        for name, word in (("all_fail", "all answers fail"), ("all_pass", "all answers pass")):
            member = run.get(name)
            if member is not None:
                evidence.append((word, per_cent(float(member.values[-width:].mean()))))
        return (
            Finding(
                self.kind,
                "warning" if hard else "note",
                f"{per_cent(end)} of the prompts give no gradient: a useful sample costs "
                f"{1 / (1 - end):.1f} samples.",
                None,
                tuple(evidence),
                {
                    "share": end,
                    "cost": 1 / (1 - end),
                    "pass_rate": rate,
                    "reward": None if reward is None else float(reward.values[-width:].mean()),
                },
                remedies=_remedies(run, law, end),
                series=("zero_variance", "all_fail", "all_pass"),
            ),
        )


def _remedies(run: TrainingRun, law: PassRates | None, share: float) -> tuple[Remedy, ...]:
    """More samples where pass rates are known; no equal groups where their share is high."""
    remedies: tuple[Remedy, ...] = ()
    if law is not None and run.rollouts is not None:
        k = int(np.median(run.rollouts.groups.sizes))
        remedies = tuple(more_samples(run, law, k))
    if share >= HIGH:
        cost = 1 / (1 - share)
        remedies += (
            Remedy(
                "skip_equal_groups",
                setting("skip_equal_groups", run.framework),
                f"every prompt of a batch with a gradient, for {cost:.1f} times the samples",
                {"cost": cost},
            ),
        )
    return remedies


def _logged_rate(run: TrainingRun) -> float | None:
    """Last mean reward of a log for a pass rate, where all of them lie in [0, 1]; else None."""
    reward = run.get("reward", 3)
    if run.rollouts is not None or reward is None:
        return None
    inside = float(reward.values.min()) >= 0 and float(reward.values.max()) <= 1
    return end_level(reward.values) if inside else None


def _hard_at_first(run: TrainingRun) -> bool:
    """Whether hardly an answer passed in the first fifth of the run."""
    reward = run.get("reward", 3)
    if reward is None:
        return True
    low, high = (0.0, 1.0) if run.rollouts is None else run.rollouts.range
    return start_level(reward.values) - low < HARD * (high - low)


def _law(rollouts: RolloutTable, first: int) -> PassRates | None:
    """Pass rates over the prompts of the steps from ``first`` on; None without pass and fail."""
    if not rollouts.binary:
        return None
    recent = rollouts.step >= first
    count = rollouts.groups.sum(passed(rollouts))[recent]
    return fit_pass_rates(count, rollouts.groups.sizes[recent])


def more_samples(run: TrainingRun, law: PassRates, k: int) -> Iterator[Remedy]:
    """The group size with most informative groups per sample, where it brings 10 % and more.

    A group of one is never informative: there is no share to be so many times larger than.
    """
    best = law.best_size()
    now, then = law.informative(k), law.informative(best)
    if best == k or then / best < 1.1 * now / k:
        return
    times = number(then / best / (now / k)) if now else None
    yield Remedy(
        "group_size",
        f"{setting('samples_per_prompt', run.framework)} = {best}",
        f"{per_cent(1 - then)} of the prompts without a gradient instead of {per_cent(1 - now)}"
        + (f", {times} times the useful prompts a sample" if times else ""),
        {"samples": float(best), "zero_variance": 1 - then},
    )
