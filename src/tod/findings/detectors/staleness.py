"""Rollouts that are trained on versions after they were sampled."""

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import SIGMAS, end_level, start_level, window_error
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Remedy, Severity
from tod.findings.rollout_series import recorded
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import known_key, setting
from tod.findings.since import since
from tod.findings.words import cost_since, number

MANY = 4.0
"""Mean lag in versions that is a warning where it came about."""
LIMIT = 2.0
"""Its lower confidence limit must exceed this."""
GROWTH = 2.0
"""Growth from the start of the run that is no steady pipeline any more."""
ALWAYS = 8.0
"""Mean lag of a whole run that is a warning."""


class StalenessDetector(Detector):
    """Lag = trainer version − version that sampled, as recorded; never told from file order."""

    kind = "staleness"
    checks = "staleness"
    order = 12

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        lag = lag_series(run)
        if lag is None:
            return unreadable(
                self.kind,
                "the trainer's version, or the sampler's, is not recorded",
                "both versions of a rollout: the lag is their difference",
            )
        if len(lag) < 3:
            return unreadable(self.kind, counted(len(lag), "step"), "3 steps", few=True)
        allowed = run.expected.get("max_lag")
        if isinstance(allowed, int | float) and float(lag.values.max()) > allowed:
            return (_finding(run, lag, f"the configuration allows {number(float(allowed))}", True),)
        end, start = end_level(lag.values), start_level(lag.values)
        sure = end - SIGMAS * window_error(lag.values, lag.error)
        grew = end > MANY and sure > LIMIT and end > GROWTH * max(start, 1.0)
        if not grew and not (end > ALWAYS and sure > MANY):
            return ()
        return (_finding(run, lag, "", grew),)


def lag_series(run: TrainingRun) -> Series | None:
    """Mean lag by step, of the rollouts where they tell it, else as logged."""
    if run.rollouts is not None:
        told = [series for series in recorded(run.rollouts) if series.name == "staleness"]
        if told:
            return told[0]
    logged = run.get("staleness")
    counts = logged is not None and logged.unit and "version" not in logged.unit
    return None if counts else logged  # a count of stale rollouts is no lag


def _finding(run: TrainingRun, lag: Series, limit: str, grew: bool) -> Finding:
    end = end_level(lag.values)
    onset = since(lag, slow=True)
    most = float(lag.values.max())
    evidence = [("lag", f"{number(start_level(lag.values))} versions at first, {number(end)} now")]
    if limit:
        evidence.append(("largest mean", f"{number(most)} versions; {limit}"))
    clipped = run.get("clip_fraction", 3)
    if clipped is not None:
        evidence.append(("clipped tokens", f"{end_level(clipped.values):.0%} at the end"))
    severity: Severity = "warning"
    decide = "time of a sampling step against that of a training step"
    return Finding(
        "staleness",
        severity,
        f"Rollouts are {number(max(end, most if limit else end))} versions old when trained on, "
        f"{onset.words}.",
        onset,
        tuple(evidence),
        {"lag": end, "start": start_level(lag.values), "most": most},
        causes=(
            Cause(
                "slow_sampler",
                "the trainer outruns the sampler" if grew else "batches wait in a queue",
                "possible",
                decide,
            ),
            Cause(
                "lost_sync",
                "the sampler stopped taking new weights",
                "possible",
                "whether the sampler's version still grows",
            ),
        ),
        remedies=(_remedy(run),),
        best_step=onset.before,
        cost=cost_since(run, onset),
        series=("staleness", "clip_fraction"),
    )


def _remedy(run: TrainingRun) -> Remedy:
    """Bound the lag, by the framework's own setting where it is known."""
    if known_key("lag_limit", run.framework):
        return Remedy("bound_lag", f"lower {setting('lag_limit', run.framework)}")
    return Remedy("bound_lag", "bound how old a rollout may be, and drop older ones")
