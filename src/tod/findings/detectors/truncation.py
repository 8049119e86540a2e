"""Answers that are cut at the length limit."""

import numpy as np

from tod.base import Unknown
from tod.findings.change import SIGMAS, end_level, start_level, window_error
from tod.findings.dating import jump_onset
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Finding, Onset, Remedy, Severity
from tod.findings.rollout_series import length_limit
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, per_cent, thousands

SHARE = 0.15
"""Share of answers at the limit that is worth a warning."""
LIMIT = 0.05
"""Its lower confidence limit must exceed this."""
MOST = 0.5
"""Share from which it is critical."""


class TruncationDetector(Detector):
    """Share of answers at one greatest length, or cut by the files' own word, at the end."""

    kind = "truncation"
    checks = "truncation"
    order = 55

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        cut = run.get("truncated", 3)
        if cut is None:
            rollouts = run.rollouts
            if run.get("length") is not None and rollouts is not None:
                if rollouts.length_unit == "tokens":
                    return ()  # no atom at the greatest length: nothing is cut
                why = "lengths in characters only, where a limit of tokens does not show"
                return unreadable(self.kind, why, "lengths in tokens, or a log of the cut share")
            return unreadable(self.kind, "no lengths are recorded", "answers or their lengths")
        end = end_level(cut.values)
        error = window_error(cut.values, cut.error)
        if end < SHARE or end - SIGMAS * error <= LIMIT:
            return ()
        onset = _onset(cut, end)
        severity: Severity = "critical" if end >= MOST else "warning"
        limit = None if run.rollouts is None else length_limit(run.rollouts)
        evidence = [("share at the limit", f"{per_cent(end)} at the end")]
        if limit is not None and run.rollouts is not None:
            evidence.append(("the limit", f"{thousands(limit)} {run.rollouts.length_unit}"))
        mask = setting("mask_truncated", run.framework)
        longer = setting("longest_answer", run.framework)
        return (
            Finding(
                self.kind,
                severity,
                f"{per_cent(end)} of the answers are cut at the length limit, {onset.words}.",
                onset,
                tuple(evidence),
                {"share": end, "limit": None if limit is None else float(limit)},
                remedies=(
                    Remedy("longer", f"raise {longer}, or find out why answers grow"),
                    Remedy("mask", f"until then: {mask}"),
                ),
                best_step=onset.before,
                cost=cost_since(run, onset),
                series=("truncated", "length"),
            ),
        )


def _onset(cut: Series, end: float) -> Onset:
    """From the first step where the start is already like the end, else the jump."""
    if start_level(cut.values) >= 0.6 * end or not bool(np.ptp(cut.values) > 0):
        first = int(cut.steps[0])
        return Onset(None, first, first)
    return jump_onset(cut.steps, cut.values)
