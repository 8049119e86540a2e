"""Figures of a log that are NaN or infinite: often the first sign of a run that broke."""

from tod.base import Unknown
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import TrainingRun
from tod.findings.words import cost_since, resume

LEAST = 3
"""Steps to the end of the log that must be NaN before it is a fault."""
TRAINED = ("loss", "grad_norm", "kl", "policy_kl", "entropy", "reward")
"""Figures that every step of a sound run has, once it has them."""


class NotFiniteDetector(Detector):
    """A figure of training that was finite and is NaN or infinite from some step to the end."""

    kind = "not_finite"
    checks = "NaN and infinity"
    order = 18

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        if not any(run.series.get(name) is not None for name in TRAINED) and not run.not_finite:
            return unreadable(self.kind, "no figures of the training", "a metric log")
        since: dict[str, int] = {}
        for name in TRAINED:
            steps = run.not_finite.get(name)
            series = run.series.get(name)
            if steps is None or series is None or len(steps) < LEAST:
                continue
            finite = series.known.steps
            last = int(finite[-1]) if len(finite) else None
            tail = [int(step) for step in steps if last is None or step > last]
            if len(tail) >= LEAST:
                since[series.key or name] = tail[0]
        return (self._finding(run, since),) if since else ()

    def _finding(self, run: TrainingRun, since: dict[str, int]) -> Finding:
        first = min(since.values())
        began = first <= int(run.steps[0])
        onset = Onset(None if began else first, first, first)
        keys = sorted(since, key=lambda key: since[key])
        best = None if began else first - 1
        return Finding(
            self.kind,
            "critical",
            f"{keys[0]} is NaN or infinite {onset.words} on.",
            onset,
            tuple((key, f"NaN or infinite from step {since[key]} to the end") for key in keys[:4]),
            {key: float(step) for key, step in since.items()},
            causes=(
                Cause(
                    "diverged",
                    "an update made the weights NaN",
                    "possible",
                    "look for NaN in the weights of the checkpoints before and after",
                ),
                Cause(
                    "empty_batch",
                    "the figure divides by a batch without a usable token",
                    "possible",
                    "the number of tokens in the loss at that step",
                ),
            ),
            remedies=() if best is None else (Remedy(*_back(run, best)),),
            best_step=best,
            cost=cost_since(run, onset),
            series=tuple(name for name in TRAINED if name in run.not_finite),
        )


def _back(run: TrainingRun, best: int) -> tuple[str, str]:
    """Go back, and do not step on a gradient that is not finite."""
    return "resume", f"{resume(run, best).text}; skip updates whose gradient is not finite"
