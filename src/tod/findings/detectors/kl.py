"""The policy leaves its reference: a KL that blows up, or that is too large to be meant."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import SIGMAS, change, end_level, moving_mean, window, window_error
from tod.findings.dating import ramp_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy, Severity
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.since import since
from tod.findings.words import cost_since, number, resume_before

LEAST = 12
"""Steps below which a blow-up cannot be told from the rise that every run begins with."""
FACTOR = 8.0
"""Growth within a fifth of the run, after its first fifth, that is a blow-up."""
LIMIT = 3.0
"""Its lower confidence limit must exceed this."""
MATTERS = 0.05
"""KL in nats below which no growth matters."""
HIGH = 2.0
"""KL in nats a token that is a warning: the reference has a seventh of the policy's chances."""
LARGE = 5.0
"""KL in nats, by token or of unknown unit, that is critical."""
FLOOR = 1e-4
"""Smaller values, and the negative ones of an unbiased estimate, count as this."""


class KLDetector(Detector):
    """Log KL that grows 8-fold within T/5 steps, or a KL above 2 nats a token."""

    kind = "kl"
    kinds = ("kl_blowup", "kl_large")
    checks = "KL to the reference"
    order = 20

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        kl = run.get("kl")
        if kl is None:
            return unreadable(
                self.kind,
                "no KL to the reference is recorded",
                "a log of it (with a reference loaded), or reference log-probs in the rollouts",
            )
        if len(kl) < LEAST:
            return unreadable(self.kind, counted(len(kl), "step"), f"{LEAST} steps", few=True)
        unit = unit_of(kl)
        length = run.get("length")
        end = end_level(kl.values)
        tokens = 1.0
        if unit == "sequence":  # over a whole answer it is tens of nats in a run that is well
            tokens = np.inf if length is None else max(end_level(length.values), 1.0)
        far = end / tokens > LARGE
        logs = np.log(np.maximum(kl.values, FLOOR))
        grown = _growth(logs)
        if grown is not None and end > MATTERS:
            onset = ramp_onset(kl.steps, logs)
            return (self._finding(run, "kl_blowup", kl, unit, onset, grown, far),)
        least = end - SIGMAS * window_error(kl.values, kl.error)
        if least / tokens > (HIGH if unit else LARGE):
            onset = since(kl, slow=True)
            return (self._finding(run, "kl_large", kl, unit, onset, None, far),)
        return ()

    def _finding(
        self,
        run: TrainingRun,
        kind: str,
        kl: Series,
        unit: str,
        onset: Onset,
        grown: float | None,
        far: bool,
    ) -> Finding:
        end = end_level(kl.values)
        severity: Severity = "critical" if far else "warning"
        if kind == "kl_large" and not unit:
            severity = "note"
        earlier = kl.values[kl.steps < onset.first]
        start = float(np.median(earlier)) if len(earlier) else float(kl.values[0])
        headline = f"KL to the reference blows up {onset.words}: {number(start)} to {number(end)}."
        if kind == "kl_large":
            headline = f"KL to the reference is {number(end)} nats, {onset.words}."
        words = f"nats a {unit}" if unit else "nats; the log does not say if by token or sequence"
        evidence = [("KL", f"{number(start)} to {number(end)} {words}")]
        if grown is not None:
            evidence.append(("fastest growth", f"{np.exp(grown):.0f}-fold in a fifth of the run"))
        return Finding(
            kind,
            severity,
            headline,
            onset,
            tuple(evidence),
            {"start": start, "end": end, "growth": None if grown is None else float(np.exp(grown))},
            causes=(
                Cause(
                    "step_too_large",
                    "updates are too large",
                    "possible",
                    "KL at half the learning rate, from the same checkpoint",
                ),
                Cause(
                    "no_anchor",
                    "nothing pulls to the reference while a reward is exploited",
                    "possible",
                    "read three answers with the highest reward",
                ),
            ),
            remedies=(
                *resume_before(run, onset),
                Remedy("kl", f"raise {setting('kl_coefficient', run.framework)}"),
                Remedy("learning_rate", f"or lower {setting('learning_rate', run.framework)}"),
            ),
            best_step=onset.before,
            cost=cost_since(run, onset),
            series=("kl", "reward"),
        )


def unit_of(kl: Series) -> str:
    """``token``, ``sequence``, or nothing where the log does not say, or says either."""
    named = [word for word in ("token", "sequence") if word in kl.unit]
    return named[0] if len(named) == 1 and "unknown" not in kl.unit else ""


def _growth(logs: np.ndarray) -> float | None:
    """Largest growth of a window's mean within T/5 steps, after the first fifth; None if small.

    It must hold to the end: the last window is at least half-way up (in logarithms).
    """
    size, width = len(logs), window(len(logs))
    means = moving_mean(logs, width)
    lag = max(size // 5, width)
    first = size // 5
    if len(means) <= first + lag:
        return None
    rises = means[first + lag :] - means[first:-lag]
    at = int(np.argmax(rises))
    grown = change(float(rises[at]), window_error(logs))
    if not grown.passes(float(np.log(FACTOR)), float(np.log(LIMIT))):
        return None
    return grown.effect if end_level(logs) > means[first + at] + grown.effect / 2 else None
