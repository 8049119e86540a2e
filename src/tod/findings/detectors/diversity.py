"""Answers that become alike: within the rollouts of a prompt, or one text for all prompts."""

import numpy as np

from tod.base import Unknown
from tod.findings.change import end_level, start_level, window
from tod.findings.dating import abrupt, jump_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy, Severity
from tod.findings.run import Series, TrainingRun
from tod.findings.words import cost_since, per_cent, resume_before

DROP = 0.3
"""Fall of the share of distinct answers within prompts that matters."""
LEFT = 0.6
"""What is left of it, as a share of the start, at most."""
SAME = 0.5
"""Share of prompts that share their most frequent answer from which it is one text."""
BEFORE = 0.3
"""Share of them at the start below which that is new."""
RISE = 0.05
"""Rise of the reward with which fewer distinct answers are learning."""


class DiversityDetector(Detector):
    """Distinct answers within prompts, (u − 1)/(K − 1), and prompts that share one answer."""

    kind = "diversity"
    kinds = ("one_text", "same_answers")
    checks = "diversity of the answers"
    order = 45

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        unique, same = run.get("unique", 3), run.get("same_text", 3)
        if unique is None and same is None:
            return unreadable(self.kind, "no texts of answers", "rollouts with their texts")
        groups = 0 if run.rollouts is None else int(run.rollouts.by_step.sizes.min())
        if same is not None and groups >= 3:
            across = _one_text(run, same)
            if across is not None:
                return (across,)
        within = None if unique is None else _same_answers(run, unique)
        return () if within is None else (within,)


def _one_text(run: TrainingRun, same: Series) -> Finding | None:
    width = window(len(same))
    end, start = end_level(same.values), start_level(same.values)
    lasts = float(same.values[-min(width, 3) :].min()) >= SAME
    if end < SAME and not lasts:
        return None
    first = int(same.steps[0])
    if start >= BEFORE:
        if start < SAME or not _long_answers(run):
            return None  # short answers, such as a number, are often equal
        onset = Onset(None, first, first)
    else:
        onset = jump_onset(same.steps, same.values)
    share = float(same.from_step(onset.first).values.mean())
    return Finding(
        "one_text",
        "critical",
        _of_one_text(onset.step, share),
        onset,
        (
            ("share that text", f"{per_cent(share)} from {onset.interval}"),
            ("before", f"{per_cent(start)} shared their most frequent answer"),
        ),
        {"share": share, "before": start},
        causes=(
            Cause(
                "sampler",
                "the sampler or the prompt template broke",
                "possible",
                "compare one rendered prompt before and after",
            ),
            Cause(
                "collapse",
                "the policy collapsed to one answer",
                "possible",
                "sample the checkpoint of the last good step and of now by hand",
            ),
        ),
        remedies=(
            Remedy("compare_prompts", "compare one rendered prompt of before and after"),
            *resume_before(run, onset),
        ),
        best_step=onset.before,
        cost=cost_since(run, onset),
        series=("same_text", "unique"),
    )


def _of_one_text(step: int | None, share: float) -> str:
    """The headline of one text for a share of the prompts, from a step on."""
    who = "every prompt" if share > 0.98 else f"{per_cent(share)} of the prompts"
    if step is None:
        return f"{who[0].upper()}{who[1:]} gets the same answer from the first step on."
    if share > 0.98:
        return f"From step {step} every answer is the same text."
    return f"From step {step} one text is an answer to {who}."


def _long_answers(run: TrainingRun) -> bool:
    """Whether the median answer is long enough that two equal ones are no accident."""
    rollouts = run.rollouts
    if rollouts is None or rollouts.length is None:
        return False
    least = 8 if rollouts.length_unit == "tokens" else 24
    return float(np.median(rollouts.length)) >= least


def _same_answers(run: TrainingRun, unique: Series) -> Finding | None:
    end, start = end_level(unique.values), start_level(unique.values)
    last = float(unique.values[-3:].mean())
    end = min(end, last)
    if start - end < DROP or end > LEFT * start:
        return None
    onset = jump_onset(unique.steps, unique.values)
    reward = run.get("reward", 3)
    rise = None
    if reward is not None and run.rollouts is not None:
        low, high = run.rollouts.range
        rise = (end_level(reward.values) - start_level(reward.values)) / max(high - low, 1e-9)
    # learning makes answers alike by and by, with the reward; in one step it is a fault
    learned = rise is not None and rise > RISE and not abrupt(unique.values)
    severity: Severity = "note" if learned else "critical"
    change = f"{per_cent(start)} of the answers to a prompt were distinct, now {per_cent(end)}"
    return Finding(
        "same_answers",
        severity,
        f"Answers to one prompt become alike {onset.words}: {change}.",
        onset,
        (
            ("distinct answers", f"{per_cent(start)} to {per_cent(end)}"),
            ("reward", "unknown" if rise is None else f"{rise:+.2f} of its range meanwhile"),
        ),
        {"start": start, "end": end, "reward_rise": rise},
        causes=(
            Cause("sharpening", "the policy became sure of its answers", "possible", "pass@K"),
            Cause(
                "temperature",
                "the sampling temperature or its random seed changed",
                "possible",
                "compare the sampler's settings before and after",
            ),
        ),
        remedies=resume_before(run, onset),
        best_step=onset.before,
        cost=cost_since(run, onset),
        series=("unique",),
    )
