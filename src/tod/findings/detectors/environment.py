"""Rollouts that say nothing of the policy: the environment failed, or the answer is empty."""

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import SIGMAS, end_level, window_error
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Remedy, Severity
from tod.findings.rollout_series import recorded
from tod.findings.run import RolloutTable, Series, TrainingRun
from tod.findings.since import since
from tod.findings.words import cost_since, number, per_cent

SHARE = 0.1
"""Share of rollouts at the end that is worth a warning."""
LIMIT = 0.03
"""Its lower confidence limit must exceed this."""
MOST = 0.5
"""Share from which it is critical."""


class EnvironmentDetector(Detector):
    """Share of failed environments, and of empty answers, at the end of the run."""

    kind = "environment"
    kinds = ("environment_errors", "empty_answers")
    checks = "environment errors and empty answers"
    order = 14

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        errors, empty = _errors(run), run.get("empty")
        if errors is None and empty is None:
            return unreadable(
                self.kind,
                "neither errors nor lengths of answers are recorded",
                "a mark of failed rollouts, or the answers",
            )
        known = [series for series in (errors, empty) if series is not None]
        if max(map(len, known)) < 3:
            return unreadable(self.kind, counted(len(known[0]), "step"), "3 steps", few=True)
        found = [_finding(run, series) for series in known if len(series) >= 3]
        return tuple(f for f in found if f is not None)


def _errors(run: TrainingRun) -> Series | None:
    """Share of failed rollouts by step, of the rollouts where they tell it, else as logged."""
    if run.rollouts is not None:
        told = [series for series in recorded(run.rollouts) if series.name == "environment_errors"]
        if told:
            return told[0]
    return run.get("environment_errors")


def _finding(run: TrainingRun, share: Series) -> Finding | None:
    end = end_level(share.values)
    if end <= SHARE or end - SIGMAS * window_error(share.values, share.error) <= LIMIT:
        return None
    onset = since(share)
    severity: Severity = "critical" if end >= MOST else "warning"
    errors = share.name == "environment_errors"
    evidence = [("share", f"{per_cent(end)} at the end")]
    evidence += _rewarded(run.rollouts, errors)
    what = "rollouts fail in the environment" if errors else "answers are empty"
    decide = "the log of one failed rollout" if errors else "the raw output of one empty answer"
    causes = (
        (
            Cause("environment", "a tool, sandbox or grader fails", "possible", decide),
            Cause("policy", "the policy's calls are not legal any more", "possible", decide),
        )
        if errors
        else (
            Cause("sampler", "the sampler returns nothing (stop token?)", "possible", decide),
            Cause("policy", "the policy ends at once", "possible", decide),
        )
    )  # fmt: skip
    mask = "leave failed rollouts out of the loss: their reward is not the policy's"
    return Finding(
        share.name if errors else "empty_answers",
        severity,
        f"{per_cent(end)} of the {what}, {onset.words}.",
        onset,
        tuple(evidence),
        {"share": end},
        causes=causes,
        remedies=(
            Remedy("read_one", f"read {decide}"),
            *((Remedy("mask_errors", mask),) if errors else ()),
        ),
        best_step=onset.before,
        cost=cost_since(run, onset),
        series=(share.name, "reward"),
    )


def _rewarded(rollouts: RolloutTable | None, errors: bool) -> list[tuple[str, str]]:
    """What such rollouts are rewarded with, against the others."""
    if rollouts is None:
        return []
    member = rollouts.error if errors else None
    if not errors and rollouts.length is not None:
        member = rollouts.length == 0
    if member is None or not member.any() or member.all():
        return []
    theirs, others = (float(rollouts.reward[m].mean()) for m in (member, ~member))
    return [("their reward", f"{number(theirs)}, that of the others {number(others)}")]
