"""The end of learning: from some step on nearly every group has rewards that are all equal."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import end_level, window
from tod.findings.dating import share_change, share_onset
from tod.findings.detector import Detector, of_other_runs, unreadable
from tod.findings.finding import Finding, Onset, Remedy, Severity
from tod.findings.rollout_series import group_classes
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import cost_since, number, per_cent, resume

SHARE = 0.9
"""Share of groups from which learning has ended."""
LIMIT = 0.8
"""Lower limit of that share, of a Beta(½, ½) posterior, that must be exceeded."""
ALL = 0.98
"""Share from which all-fail groups are critical."""
JUMP = 0.35
"""Rise in one step that tells all-pass groups from a task that was learned."""
JUMP_LIMIT = 0.15
"""What that rise must exceed by two of its standard errors: eight prompts jump by chance."""
LEAST = 3
"""Steps that it must last."""
MIDDLE = (0.1, 0.9)
"""Mean reward, of its range, between which groups of equal rewards are ties."""


@dataclass(frozen=True)
class _Ended:
    """Where nearly all groups have equal rewards: since when, and how many."""

    onset: Onset
    share: float
    before: float | None
    first_shares: tuple[float, ...]
    rise: float
    rise_error: float
    reward: float
    constant: bool


class LearningEndDetector(Detector):
    """Groups that all fail, all pass or all tie from some step on.

    The last segment of the exact binomial likelihood ratio holds a share of at least 0.9 of such
    groups, with a lower limit of 0.8, for three steps and to the end of the run.
    """

    kind = "learning_end"
    kinds = ("all_fail", "all_pass", "all_tie")
    checks = "end of learning"
    order = 60

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        if _teacher_only(run):
            why = "it learns from a teacher: no answer gets a reward"
            return of_other_runs(self.kind, why, "a reward")
        if run.rollouts is not None:
            if not run.rollouts.grouped or not (run.rollouts.groups.sizes > 1).any():
                return unreadable(
                    self.kind,
                    "no prompt has several rollouts",
                    "rollouts in groups, or ids that tell which share a prompt",
                )
            counts = _counts(run.rollouts)
        else:
            logged = _logged(run)
            if logged is None:
                return unreadable(
                    self.kind,
                    "neither rewards by prompt nor the share of zero-variance groups",
                    "rollouts, or a log of the share of groups whose rewards are all equal",
                )
            counts = logged
        steps, classes, total, reward = counts
        if len(steps) < LEAST:
            return unreadable(self.kind, counted(len(steps), "step"), f"{LEAST} steps", few=True)
        findings = []
        for kind, count in classes.items():
            ended = _ended(steps, count, total, reward)
            if ended is not None:
                findings.append(self._finding(run, kind, ended))
        return tuple(findings)

    def _finding(self, run: TrainingRun, kind: str, ended: _Ended) -> Finding:
        onset = ended.onset
        what = {
            "all_fail": "every answer to {} fails",
            "all_pass": "every answer to {} passes",
            "all_tie": "all answers to {} get the same reward",
        }[kind]
        whole = "every prompt" if ended.share >= ALL else f"{per_cent(ended.share)} of the prompts"
        fact = what.format(whole)
        severity = self._severity(kind, ended, run.rollouts is not None)
        if ended.constant and kind != "all_fail":
            headline = (
                f"Nothing can be learned: every answer of the run gets the reward "
                f"{number(ended.reward)}."
            )
        elif kind == "all_pass" and severity == "note":
            headline = f"The task is learned or too easy: {fact}, {onset.words}."
        elif onset.step is None:
            headline = f"Nothing is learned: from the first step on {fact}."
        else:
            headline = f"Learning stopped at step {onset.step}: {fact}."
        evidence = [("share of prompts", f"{per_cent(ended.share)} from {onset.interval}")]
        if ended.before is not None:
            evidence.append(("before", f"{per_cent(ended.before)} of the prompts"))
        evidence.append(("mean reward since", number(ended.reward)))
        best = onset.before
        return Finding(
            kind,
            severity,
            headline,
            onset,
            tuple(evidence),
            {"share": ended.share, "before": ended.before, "reward": ended.reward},
            remedies=_remedies(run, kind, best),
            best_step=best,
            cost=cost_since(run, onset, " without a gradient"),
            series=(kind, "reward"),
        )

    @staticmethod
    def _severity(kind: str, ended: _Ended, seen: bool) -> Severity:
        """What is lost; ties of a log that were not ``seen`` may be passes beside failures."""
        if kind == "all_fail" or (kind == "all_tie" and not seen):
            return "critical" if ended.share >= ALL else "warning"
        if kind == "all_tie":
            return "critical"
        if ended.constant:
            return "critical"
        evident = ended.rise - 2 * ended.rise_error > JUMP_LIMIT
        jumped = evident and ended.rise > JUMP and min(ended.first_shares) > LIMIT
        return "warning" if jumped and ended.onset.step is not None else "note"


def _teacher_only(run: TrainingRun) -> bool:
    """Whether a run is distilled from a teacher and its reward is 0 throughout: none is given."""
    reward = run.get("reward")
    taught = run.get("distillation_loss") is not None
    return taught and reward is not None and not reward.values.any()


def _counts(rollouts: RolloutTable) -> Any:
    """Steps, groups of each class by step, groups of several rollouts by step, mean reward."""
    several = rollouts.groups.sizes > 1
    by_step = rollouts.by_step
    total = by_step.sum(several)
    readable = total > 0
    classes = group_classes(rollouts)
    low, high = rollouts.range
    if not (rollouts.groups.sizes > 2).any() or not low < high:
        del classes["all_tie"]  # two graded answers tie often; one value is a pass or a failure
    del classes["zero_variance"]
    counts = {name: by_step.sum(member)[readable] for name, member in classes.items()}
    reward = by_step.mean(rollouts.groups.mean(rollouts.reward))[readable]
    scaled = (reward - low) / (high - low) if low < high else np.full_like(reward, np.nan)
    if "all_tie" in counts:
        middling = (scaled > MIDDLE[0]) & (scaled < MIDDLE[1])
        counts["all_tie"] = np.where(middling, counts["all_tie"], 0)
    return rollouts.steps[readable], counts, total[readable], reward


def inside(share: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Shares of a log; a figure outside [0, 1] counts as the nearer end."""
    bounded: np.ndarray = np.clip(share, 0.0, 1.0)
    return bounded


def _logged(run: TrainingRun) -> Any:
    """The same of a metric log: the share of zero-variance groups, told apart by the reward."""
    share, reward = run.get("zero_variance", LEAST), run.get("reward", LEAST)
    fail, good = run.get("all_fail", LEAST), run.get("all_pass", LEAST)
    groups = 8  # a batch has at least so many; the log does not say
    if fail is not None:
        level = np.full(len(fail), np.nan)
        if reward is not None:
            level = np.interp(fail.steps, reward.steps, reward.values)
        counts = {"all_fail": groups * inside(fail.values)}
        if good is not None and np.array_equal(good.steps, fail.steps):
            counts["all_pass"] = groups * inside(good.values)
        return fail.steps, counts, np.full(len(fail), groups), level
    if share is None or reward is None:
        return None
    level = np.interp(share.steps, reward.steps, reward.values)
    low, high = min(0.0, float(reward.values.min())), float(reward.values.max())
    equal, total = inside(share.values), np.full(len(share), groups)
    if high <= low:
        return share.steps, {"all_fail": groups * equal}, total, level
    scaled = (level - low) / ((1.0 if low == 0.0 and high <= 1.0 else high) - low)
    passing = all_passing(equal, scaled)
    ties = equal if MIDDLE[0] < end_level(scaled) < MIDDLE[1] else 0.0 * equal
    counts = {
        "all_fail": groups * (equal - passing),
        "all_pass": groups * passing,
        "all_tie": groups * ties,
    }
    return share.steps, counts, total, level


def all_passing(
    share: Float[np.ndarray, " T"], reward: Float[np.ndarray, " T"]
) -> Float[np.ndarray, " T"]:
    """Share of groups that all pass, of the zero-variance share and the mean reward, [T].

    With rewards from 0 to 1 and none but passes and failures in zero-variance groups, the share
    lies between ``reward − (1 − share)`` and ``reward``: the others have a mean from 0 to 1. The
    middle of the two is taken, which is off by (1 − share)/2 at most.

    Args:
        share: Zero-variance groups, in [0, 1], [T].
        reward: Mean reward, in [0, 1], [T].
    """
    middle: np.ndarray = np.clip(reward - (1 - share) / 2, 0.0, share)
    return middle


def _ended(steps: Any, count: Any, total: Any, reward: Any) -> _Ended | None:
    """The last segment, if nearly all of its groups are of the class and it lasts to the end."""
    at = share_change(count, total)
    if len(steps) - at < LEAST:
        return None
    k, n = int(count[at:].sum()), int(total[at:].sum())
    last = slice(-window(len(steps)), None)
    last = slice(max(at, len(steps) - window(len(steps))), None) if at else last
    if k / n < SHARE or count[last].sum() / total[last].sum() < SHARE or _lower(k, n) < LIMIT:
        return None
    shares = count / total
    before = None if at == 0 else float(count[:at].sum() / total[:at].sum())
    rise = 0.0 if at == 0 else float(shares[at] - shares[at - 1])
    return _Ended(
        share_onset(steps, count, total),
        k / n,
        before,
        tuple(shares[at : at + 3].tolist()),
        rise,
        _difference_error(count, total, at),
        float(reward[at:].mean()),
        at == 0 and k == n and bool(np.ptp(reward) == 0),
    )


def _difference_error(count: Any, total: Any, at: int) -> float:
    """Standard error of the difference of the shares of a step and the one before it."""
    if at == 0:
        return 0.0
    pair = slice(at - 1, at + 1)
    share = (count[pair] + 0.5) / (total[pair] + 1)
    return float(np.sqrt((share * (1 - share) / total[pair]).sum()))


def _lower(k: int, n: int) -> float:
    """Lower 97.5 % limit of a share, of Jeffreys' posterior (Wilson's, which is near it)."""
    z = 1.96
    centre = (k + z * z / 2) / (n + z * z)
    width = z / (n + z * z) * float(np.sqrt(k * (n - k) / n + z * z / 4))
    return centre - width


def _remedies(run: TrainingRun, kind: str, best: int | None) -> tuple[Remedy, ...]:
    """What to do when learning has ended."""
    look = {
        "all_fail": Remedy(
            "score_by_hand",
            "score one answer of the last good step and one of now by hand"
            if best is not None
            else "score one answer by hand: does a right answer get a reward?",
        ),
        "all_tie": Remedy(
            "grade",
            "look at two answers to one prompt: the grader gives both the same"
            if run.rollouts is not None
            else "look at two answers to one prompt: are their texts equal, or only their rewards?",
        ),
        "all_pass": Remedy("harder", "train on harder prompts; these teach nothing more"),
    }[kind]
    if kind == "all_pass" or best is None:
        return (look,)
    return (look, resume(run, best))
