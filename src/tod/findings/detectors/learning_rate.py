"""A learning rate so high that the first steps leave the reference by nats."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.detector import Detector, unreadable
from tod.findings.detectors.kl import unit_of
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, number

LARGE = 5.0
"""KL in nats that no run reaches in its first steps, by token or of unknown unit."""
LARGE_SEQUENCE = 30.0
"""The same over a whole answer."""
FLAT = 1.5
"""Growth over the first steps below which a KL was there before any update."""
FIRST = 6
"""First steps that are looked at; T/20 where that is more."""


class LearningRateDetector(Detector):
    """KL above 5 nats in two of the first max(6, T/20) steps."""

    kind = "learning_rate"
    kinds = ("learning_rate", "other_reference")
    checks = "learning rate"
    order = 15

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        kl = run.get("kl")
        if kl is None:
            return unreadable(
                self.kind, "no KL to the reference is recorded", "a log of it by step"
            )
        if len(kl) < 3:
            return unreadable(self.kind, counted(len(kl), "step"), "3 steps", few=True)
        early = kl.values[: max(FIRST, len(kl) // 20)]
        unit = unit_of(kl)
        bound = LARGE_SEQUENCE if unit == "sequence" else LARGE
        above = early > bound
        if int(above.sum()) < 2:
            return ()
        words = f"nats a {unit}" if unit else "nats; the log does not say if by token or sequence"
        at = int(np.argmax(above))
        step = int(kl.steps[at])
        rate = run.get("learning_rate")
        used = None if rate is None else float(rate.values[: max(FIRST, len(rate) // 20)].max())
        evidence = [("KL of the first steps", ", ".join(map(number, early[:4])) + f" {words}")]
        if used is not None:
            evidence.append(("learning rate", number(used)))
        # the policy starts as its reference: a KL at once was not made by updates
        at_once = at == 0 and float(early.max()) < FLAT * float(early[0])
        kind, headline, cause, remedy = (
            _other_reference(early) if at_once else _too_high(run, kl, early, used)
        )
        onset = Onset(None, step, step) if at == 0 else Onset(step, int(kl.steps[at - 1]), step)
        return (
            Finding(
                kind,
                "critical",
                headline,
                onset,
                tuple(evidence),
                {"kl": float(early.max()), "learning_rate": used},
                causes=(cause,),
                remedies=(remedy,),
                cost=cost_since(run, onset),
                series=("kl", "learning_rate"),
            ),
        )


def _other_reference(early: np.ndarray) -> tuple[str, str, Cause, Remedy]:
    """Kind, headline, cause and remedy of a KL that is there before any update."""
    return (
        "other_reference",
        f"The policy is {number(early[0])} nats from its reference at its start.",
        Cause(
            "other_reference",
            "the reference is another model, or scores another text or template",
            "likely",
            "KL before the first update: 0 if policy and reference are one model",
        ),
        Remedy("reference", "start policy and reference from one checkpoint"),
    )


def _too_high(
    run: TrainingRun, kl: Series, early: np.ndarray, used: float | None
) -> tuple[str, str, Cause, Remedy]:
    """The same of a KL that the first updates made."""
    top = int(np.argmax(early))
    tenth = "a tenth of it" if used is None else number(used / 10)
    return (
        "learning_rate",
        f"The first updates are far too large: KL {number(early[top])} by step "
        f"{int(kl.steps[top])}.",
        Cause(
            "learning_rate",
            "the learning rate is too high",
            "likely",
            "KL of the first steps at a tenth of it",
        ),
        Remedy(
            "learning_rate",
            f"{setting('learning_rate', run.framework)} = {tenth}, from the start",
        ),
    )
