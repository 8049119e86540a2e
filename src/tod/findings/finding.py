"""What a detector says of a run: a finding with its evidence, causes and remedies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["critical", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "note")
"""By what the person loses, worst first. Only the first two are faults."""
Certainty = Literal["fact", "likely", "possible"]
"""``fact`` only where the evidence excludes every other cause."""


@dataclass(frozen=True)
class Onset:
    """When it began, as a step with an interval.

    Attributes:
        step: First step that it holds of; None where it holds from the first step on.
        low: First step of the interval.
        high: Last step of it.
    """

    step: int | None
    low: int
    high: int

    @property
    def first(self) -> int:
        """The first step that it may hold of."""
        return self.low if self.step is None else self.step

    @property
    def before(self) -> int | None:
        """The last step before it; None where it holds from the first step on."""
        return None if self.step is None else self.step - 1

    @property
    def words(self) -> str:
        """``from step 9`` or ``from the first step``."""
        return "from the first step" if self.step is None else f"from step {self.step}"

    @property
    def interval(self) -> str:
        """``step 9 (8 to 10)``."""
        return "the first step" if self.step is None else f"{self.step} ({self.low} to {self.high})"


@dataclass(frozen=True)
class Cause:
    """Why it may have happened.

    Attributes:
        kind: Identity for programs, such as ``verifier_broken``.
        text: One clause in the person's words.
        certainty: How sure the evidence makes it.
        decide: The next measurement that would tell it from the others; "" for a fact.
    """

    kind: str
    text: str
    certainty: Certainty = "possible"
    decide: str = ""


@dataclass(frozen=True)
class Remedy:
    """What to do.

    Attributes:
        kind: Identity for programs, such as ``more_samples``.
        text: One instruction; the setting in the framework's own key where that is known.
        effect: What it brings, computed on these rows; "" where nothing can be computed.
        promise: The same as numbers, by figure.
    """

    kind: str
    text: str
    effect: str = ""
    promise: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, in a run.

    Attributes:
        kind: Identity for programs, such as ``all_fail``.
        severity: What the person loses by it.
        headline: One sentence that answers "is this run healthy, and if not, why?".
        onset: When it began; None where it has no beginning (a property of the whole run).
        evidence: Short name and value of what shows it, as text, in order of weight.
        numbers: The same as numbers, by name.
        causes: Why, most likely first.
        remedies: What to do, in order.
        best_step: Last good, or best, step; None where there is none.
        cost: What was lost since the onset, in the person's unit; "" where unknown.
        series: Names of the series that show it, for the page.
        consequences: Kinds of other findings that follow from it.
    """

    kind: str
    severity: Severity
    headline: str
    onset: Onset | None = None
    evidence: tuple[tuple[str, str], ...] = ()
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    best_step: int | None = None
    cost: str = ""
    series: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()

    @property
    def fault(self) -> bool:
        """Whether it is more than a note."""
        return self.severity != "note"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        onset = self.onset
        return {
            "kind": self.kind,
            "severity": self.severity,
            "headline": self.headline,
            "onset": None
            if onset is None
            else {"step": onset.step, "low": onset.low, "high": onset.high},
            "evidence": [{"name": name, "text": text} for name, text in self.evidence],
            "numbers": dict(self.numbers),
            "causes": [vars(cause).copy() for cause in self.causes],
            "remedies": [
                {**vars(remedy), "promise": dict(remedy.promise)} for remedy in self.remedies
            ],
            "best_step": self.best_step,
            "cost": self.cost,
            "series": list(self.series),
            "consequences": list(self.consequences),
        }
