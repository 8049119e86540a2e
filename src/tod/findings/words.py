"""Numbers and causes in words that several detectors use."""

import numpy as np

from tod.base.text import counted, plainly
from tod.findings.finding import Onset, Remedy
from tod.findings.run import TrainingRun
from tod.findings.settings import setting


def thousands(count: float) -> str:
    """``2 816``: whole numbers with a thin group of three."""
    return f"{round(count):,}".replace(",", " ")


def times(factor: float) -> str:
    """``12-fold``, ``1.8-fold``."""
    return f"{factor:.0f}-fold" if factor >= 9.5 else f"{factor:.1f}-fold"


def per_cent(share: float) -> str:
    """``94 %``; never 100 % of a share below 1, never 0 % of one above 0."""
    value = 100 * share
    if 0 < value < 1:
        return "below 1 %"
    if 99 < value < 100:
        return "over 99 %"
    return f"{value:.0f} %"


def against_noise(sigmas: float) -> str:
    """``18 standard errors``; over 99 of them no further digit says more."""
    return f"{sigmas:.0f} standard errors" if sigmas < 99.5 else "over 99 standard errors"


def number(value: float | None) -> str:
    """Three digits, ``?`` where it is unknown."""
    return "?" if value is None or not np.isfinite(value) else plainly(value)


def steps_since(run: TrainingRun, onset: Onset) -> tuple[int, int]:
    """Steps from the onset on, and all steps of the run."""
    steps = run.steps
    first = onset.first
    return int((steps >= first).sum()), len(steps)


def answers_since(run: TrainingRun, onset: Onset) -> int | None:
    """Rollouts from the onset on; None without rollouts."""
    if run.rollouts is None:
        return None
    first = onset.first
    return int(run.rollouts.groups.sizes[run.rollouts.step >= first].sum())


def cost_since(run: TrainingRun, onset: Onset, what: str = "") -> str:
    """``11 of 20 steps, 2 816 answers without a gradient``; hours where the logs tell time."""
    since, total = steps_since(run, onset)
    text = f"{since} of {counted(total, 'step')}"
    answers = answers_since(run, onset)
    if answers is not None:
        text += f", {thousands(answers)} answers{what}"
    seconds = run.get("step_time")
    if seconds is not None:
        first = onset.first
        hours = float(seconds.from_step(first).values.sum()) / 3600
        text += f", {hours:.1f} hours" if hours >= 0.1 else ""
    return text


def resume(run: TrainingRun, step: int) -> Remedy:
    """Go back to the newest checkpoint that is not after a step."""
    checkpoint = run.checkpoint_before(step)
    if checkpoint is None:
        return Remedy("resume", f"go back to the newest checkpoint not after step {step}")
    path = checkpoint[1].as_posix()
    return Remedy(
        "resume", f"go back to step {checkpoint[0]}: " + setting("resume", run.framework, path=path)
    )


def resume_before(run: TrainingRun, onset: Onset) -> tuple[Remedy, ...]:
    """`resume` at the last step before an onset; nothing where it holds from the first step on."""
    return () if onset.before is None else (resume(run, onset.before),)
