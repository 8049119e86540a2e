"""Answers that grow: by how much, from when, and whether the reward grew with them."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import change, end_level, start_level, window_error
from tod.findings.dating import ramp_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy, Severity
from tod.findings.raised_limit import raised_limit
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, number, times

LEAST = 12
"""Steps below which growth cannot be told from noise."""
GROWTH = 1.7
"""Growth that is worth saying."""
LIMIT = 1.3
"""Its lower confidence limit must exceed this."""
HUGE = 8.0
"""Growth that no rise of the reward excuses."""
RISE = 0.05
"""Rise of the reward (of its range) with which growth is a note: long reasoning is learned so."""
GAP = (np.log(1.5), np.log(1.2))
"""Growth of the log gap between wrong and right answers, and its lower limit."""
RAISED = Cause(
    "limit_raised",
    "the limit of answers was raised, and they use it",
    "likely",
    "the limit that the configuration states at these steps",
)
DAMAGED = Cause(
    "policy_broken",
    "the policy was damaged by an update and repeats itself",
    "possible",
    "sample the checkpoints before and after by hand",
)


class LengthDetector(Detector):
    """End over start of the mean length of answers, in logarithms."""

    kind = "length"
    kinds = ("length_growth", "length_collapse")
    checks = "length"
    order = 50

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        length = run.get("length", 3)
        if length is None:
            return unreadable(self.kind, "no lengths are recorded", "answers or their lengths")
        if len(length) < LEAST:
            return unreadable(self.kind, counted(len(length), "step"), f"{LEAST} steps", few=True)
        logs = np.log(np.maximum(length.values, 1e-9))
        start, end = start_level(logs), end_level(logs)
        error = None if length.error is None else length.error / np.maximum(length.values, 1e-9)
        grown = change(abs(end - start), window_error(logs, error))
        if not grown.passes(float(np.log(GROWTH)), float(np.log(LIMIT))):
            return ()
        factor = float(np.exp(end - start))
        only = _only(run, end > start)
        onset = _onset(run, length, only)
        rise = _rise(run, onset)
        unit = length.unit or "tokens"
        a, b = float(np.exp(start)), float(np.exp(end))
        how = (
            f"{a:.0f} to {b:.0f} {unit}"
            if max(a, b) >= 10
            else f"{number(a)} to {number(b)} {unit}"
        )
        raised = ""
        if end < start:
            kind, severity = "length_collapse", _shrinks(rise)
            headline = f"Answers shrink {onset.words}: {how}."
        else:
            raised = raised_limit(run) if rise is None or rise > -RISE else ""
            kind, severity = "length_growth", "note" if raised else _grows(rise, factor)
            why = " as their limit is raised" if raised else ""
            headline = f"Answers grow {times(factor)} {onset.words}{why}: {how}."
        reward = "unknown" if rise is None else f"{rise:+.2f} of its range meanwhile"
        evidence = [("length", f"{how} ({times(max(factor, 1 / factor))})"), ("reward", reward)]
        if only:
            evidence.append(("which answers", only))
        if raised:
            evidence.append(("the limit", raised))
        return (
            Finding(
                kind,
                severity,
                headline,
                onset,
                tuple(evidence),
                {"factor": factor, "start": a, "end": b, "reward_rise": rise},
                causes=(RAISED,) if raised else _causes(kind, only, rise),
                remedies=() if raised else _remedies(run, kind),
                best_step=onset.before,
                cost=cost_since(run, onset),
                series=("length",),
            ),
        )


def _grows(rise: float | None, factor: float) -> Severity:
    return "note" if rise is not None and rise > RISE and factor < HUGE else "warning"


def _shrinks(rise: float | None) -> Severity:
    return "warning" if rise is not None and rise < -RISE else "note"


def _onset(run: TrainingRun, length: Series, only: str) -> Onset:
    """Onset in those answers that change alone: the mean of all follows them ever more closely."""
    which = {"wrong": "length_wrong", "right": "length_right"}.get(only.split(" ")[0])
    alone = None if which is None else run.get(which, LEAST)
    series = length if alone is None else alone
    return ramp_onset(series.steps, np.log(np.maximum(series.values, 1e-9)))


def _rise(run: TrainingRun, onset: Onset) -> float | None:
    """Rise of the reward since the onset as a share of its range, 0 within two errors of none.

    None without rewards.
    """
    reward = run.get("reward", 3)
    if reward is None:
        return None
    if run.rollouts is not None:
        low, high = run.rollouts.range
    else:
        low, high = min(0.0, float(reward.values.min())), max(1.0, float(reward.values.max()))
    before = start_level(reward.values)
    if onset.step is not None:
        earlier = reward.values[reward.steps < onset.step]
        before = end_level(earlier) if len(earlier) >= 3 else before
    rise = end_level(reward.values) - before
    if abs(rise) < 2 * np.sqrt(2) * window_error(reward.values, reward.error):
        return 0.0
    return rise / max(high - low, 1e-9)


def _only(run: TrainingRun, grows: bool) -> str:
    """Which answers change, where wrong and right ones part; else nothing."""
    wrong, right = run.get("length_wrong", 6), run.get("length_right", 6)
    if wrong is None or right is None:
        return ""
    steps, at, other = np.intersect1d(wrong.steps, right.steps, return_indices=True)
    if len(steps) < 6:
        return ""
    gap = Series(
        "gap",
        steps,
        np.log(np.maximum(wrong.values[at], 1e-9)) - np.log(np.maximum(right.values[other], 1e-9)),
    )
    moved = end_level(gap.values) - start_level(gap.values)
    parted = change(abs(moved), window_error(gap.values))
    if not parted.passes(*GAP):
        return ""
    who, others = ("wrong", "right") if (moved > 0) == grows else ("right", "wrong")
    return f"{who} answers {'grow' if grows else 'shrink'}, {others} ones less"


def _causes(kind: str, only: str, rise: float | None) -> tuple[Cause, ...]:
    """What can have changed the lengths; a reward that fell with it does not pay for length."""
    if kind == "length_collapse":
        return (
            Cause(
                "short_is_paid", "short answers get as much reward", "possible", "compare rewards"
            ),
        )
    decide = "correlation of length and reward within prompts, early and late"
    wrong = Cause(
        "no_price_of_length",
        "wrong answers lose less when they are long (a loss averaged by answer)",
        "likely" if only.startswith("wrong") else "possible",
        decide,
    )
    if rise is not None and rise < -RISE:
        return (wrong, DAMAGED)
    paid = Cause("length_is_paid", "the grader prefers long answers", "possible", decide)
    return (wrong, paid)


def _remedies(run: TrainingRun, kind: str) -> tuple[Remedy, ...]:
    if kind == "length_collapse":
        return ()
    return (
        Remedy("look_at_long", "read three of the longest answers: repetition, or reasoning?"),
        Remedy("cap", f"bound it meanwhile: {setting('longest_answer', run.framework)}"),
    )
