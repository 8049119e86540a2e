"""Distillation whose gap to the teacher grows again, or never closes."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import SIGMAS, change, end_level, moving_mean, window, window_error
from tod.findings.dating import ramp_onset
from tod.findings.detector import Detector, of_other_runs, unreadable
from tod.findings.finding import Cause, Finding, Remedy, Severity
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, number, per_cent, resume

LEAST = 20
"""Steps below which nothing is said."""
RISE = (0.25, 0.1)
"""Rise from the smallest gap, as a share of the first one, and its lower limit."""
STANDS = (0.05, 0.1)
"""Closing over the second half, as a share of the first gap, below which it stands; and the upper
confidence limit that must be below the second. Half of the run is as much as a line needs: of two
windows of a dozen steps no such limit is ever sure."""
OPEN = 0.5
"""Share of the first gap that is worth a note where it stands."""
WIDE = 0.8
"""Share of it that is a warning."""


class DistillationDetector(Detector):
    """Distance to the teacher: its last window against its smallest and its first one."""

    kind = "distillation"
    kinds = ("distillation_rises", "distillation_stalls")
    checks = "gap to the teacher"
    order = 86

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        gap = run.get("distillation_loss")
        if gap is None:
            return of_other_runs(
                self.kind, "no distance to a teacher is recorded", "a log of it (distillation only)"
            )
        if len(gap) < LEAST:
            return unreadable(self.kind, counted(len(gap), "step"), f"{LEAST} steps", few=True)
        width, error = window(len(gap)), window_error(gap.values)
        first, end = float(gap.values[:width].mean()), end_level(gap.values)
        if first <= 0:
            return ()
        means = moving_mean(gap.values, width)
        least = int(np.argmin(means))
        rise = change(end - float(means[least]), error)
        if rise.passes(RISE[0] * first, RISE[1] * first):
            return (_rises(run, gap, float(means[least]), end, least, width),)
        late = gap.values[len(gap) // 2 :]
        closed = -float(np.polyfit(np.arange(len(late)), late, 1)[0]) * len(late)
        # of a line's slope times its length n: σ√(12/n), where σ/√w is the error of a window
        sure = closed + SIGMAS / 2 * 2**0.5 * error * float(np.sqrt(12 * width / len(late)))
        if end / first > OPEN and closed < STANDS[0] * first and sure < STANDS[1] * first:
            return (_stalls(run, first, end),)
        return ()


def _rises(run: TrainingRun, gap: Series, least: float, end: float, at: int, width: int) -> Finding:
    best = int(gap.steps[at + width // 2])
    began = max(0, at - 2 * width)  # noise may put the smallest window behind the bend
    onset = ramp_onset(gap.steps[began:], gap.values[began:])
    unit = gap.unit or "nats"
    return Finding(
        "distillation_rises",
        "warning",
        f"The gap to the teacher grows again {onset.words}: {number(least)} to {number(end)}.",
        onset,
        (
            ("smallest", f"{number(least)} {unit} around step {best}"),
            ("now", f"{number(end)} {unit}"),
        ),
        {"least": least, "end": end},
        causes=(
            Cause("learning_rate", "updates are too large", "possible", "the gradient norm"),
            Cause(
                "far_states",
                "the student's texts leave what the teacher can judge",
                "possible",
                "the teacher's own entropy on these texts",
            ),
        ),
        remedies=(
            resume(run, best),
            Remedy("learning_rate", f"then lower {setting('learning_rate', run.framework)}"),
        ),
        best_step=best,
        cost=cost_since(run, onset),
        series=("distillation_loss",),
    )


def _stalls(run: TrainingRun, first: float, end: float) -> Finding:
    left = end / first
    severity: Severity = "warning" if left > WIDE else "note"
    return Finding(
        "distillation_stalls",
        severity,
        f"The gap to the teacher stopped closing: {per_cent(left)} of it is left.",
        None,
        (("first", number(first)), ("now", number(end)), ("second half", "no further")),
        {"first": first, "end": end, "left": left},
        causes=(
            Cause(
                "small_student",
                "the student cannot say more of it",
                "possible",
                "the same loss with a larger student, or a few prompts alone",
            ),
            Cause(
                "other_text",
                "student and teacher score other text (template, tokens)",
                "possible",
                "the teacher's log-prob of its own answer, scored by the same code",
            ),
            Cause("learning_rate", "the learning rate is too low", "possible", "the gradient norm"),
        ),
        remedies=(
            Remedy("score_teacher", "score a teacher's own answer: its gap should be near 0"),
            Remedy("learning_rate", f"then raise {setting('learning_rate', run.framework)}"),
        ),
        cost=f"half of the {counted(len(run.steps), 'step')}",
        series=("distillation_loss",),
    )
