"""What a regime is: a verdict, the reasons with a remedy each, and the plain phase point."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tod.base.brief import first_lines
from tod.diagnostics.population_ess import Interval
from tod.diagnostics.summary import Summary
from tod.regimes.thresholds import Thresholds
from tod.regimes.words import LegWord, Word

__all__ = ["EtaInterval", "Regime"]

Verdict = Literal["swap_stable", "transition", "operator_dominated", "undetermined"]

WORST_LAST: tuple[Verdict, ...] = (
    "swap_stable",
    "undetermined",
    "transition",
    "operator_dominated",
)
"""What is known to be low comes after what is not known."""

ReasonKind = Literal[
    "zero_information",
    "unreadable_leg",
    "unknown_leg",
    "no_interval",
    "low_leg",
    "out_of_reach",
    "low_tenth",
    "trust_region",
    "missed_policy",
    "wrong_log_probs",
    "missed_mode",
    "low_reverse",
    "missing_mass",
    "assumed_target",
    "other",
]
"""Which bound was missed: what a program reads in the place of the sentence."""

NO_WORD: tuple[ReasonKind, ...] = ("assumed_target", "wrong_log_probs")
"""Reasons under which no word is said, whatever the legs read."""


@dataclass(frozen=True)
class Reason:
    """Why the verdict is not better, and what to turn.

    Attributes:
        why: The fact, with its value and the threshold it missed.
        remedy: The next knob and its expected effect, with numbers where they are known.
        verdict: The best verdict this reason leaves possible.
        kind: Which bound was missed.
    """

    why: str
    remedy: str
    verdict: Verdict = "transition"
    kind: ReasonKind = "other"

    def to_dict(self) -> dict[str, str]:
        """``{"why", "remedy", "kind"}``, as in the diagnosis schema."""
        return {"why": self.why, "remedy": self.remedy, "kind": self.kind}


@dataclass(frozen=True)
class EtaInterval:
    """A range of sharpness over which the verdict and the word of target/proposal are the same."""

    eta: tuple[float, float]
    verdict: Verdict
    word: Word | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"eta": list(self.eta), "verdict": self.verdict, "target_proposal": self.word}


@dataclass(frozen=True)
class PhasePoint:
    """A batch in the plain phase diagram: coverage to the right, tail severity upward.

    Attributes:
        coverage: Population median of ESS_rel of target/proposal, over prompts with a signal; the
            sample's own median where a record holds no more.
        interval: Its 90 % interval; None where it was not measured.
        tail: Median over prompts of the largest normalised weight, at the drawn K.
    """

    coverage: float | None
    tail: float | None
    interval: Interval | None = None

    def region(self, thresholds: Thresholds | None = None) -> Verdict:
        """Left, middle or right of the plane; ``transition`` where the interval crosses a bound.

        It ignores the policy and missed modes: shown with the verdict, never instead of it. A
        missing interval gives ``undetermined``.
        """
        bounds = thresholds or Thresholds()
        if self.interval is None:
            return "undetermined"
        low, high = self.interval.low, self.interval.high
        if high is not None and high < bounds.overlap_dominated:
            return "operator_dominated"
        return "swap_stable" if (low or 0.0) >= bounds.overlap_stable else "transition"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the names of the two statistics."""
        return {
            "coverage": self.coverage,
            "tail": self.tail,
            "interval": None if self.interval is None else self.interval.to_dict(),
            "coverage_kind": "median",
            "tail_kind": "max_weight",
        }


def phase_point(summary: Summary) -> PhasePoint:
    """The coordinates of a batch in the plain phase diagram.

    Source: TOD framework, section 5 (equation phase-point)
    """
    ess = (summary.population or {}).get("target_proposal")
    interval = None if ess is None else ess.median
    value = summary.ess_rel.median
    if interval is not None:
        value = interval.high if interval.value is None else interval.value
    return PhasePoint(value, summary.tails.max_weight_median, interval)


@dataclass(frozen=True)
class Regime:
    """A verdict with everything a person needs to act on it.

    Attributes:
        verdict: ``swap_stable``, ``transition``, ``operator_dominated`` or ``undetermined``.
        legs: The word of every leg, with its interval.
        reasons: Why it is not better, worst first; empty exactly when ``swap_stable``.
        missing: Names of inputs that were not there, as in the diagnosis schema.
        point: The same batch in the plain phase diagram.
        eta_intervals: The verdict as a function of sharpness, for an assumed target.
        thresholds: The bounds that were used.
    """

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    missing: tuple[str, ...] = ()
    point: PhasePoint = PhasePoint(None, None)
    eta_intervals: tuple[EtaInterval, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    legs: tuple[LegWord, ...] = ()

    @property
    def spoken(self) -> str:
        """The legs in words: ``target/proposal: stable; staleness not recorded``.

        With π = μ declared the first leg tells of all three; what does not apply is not told.
        """
        told = [item for item in self.legs if item.word != "not_applicable"]
        if any(item.word == "declared" for item in told):
            told = [item for item in told if item.leg != "target_policy"]
        return "; ".join(item.spoken for item in told)

    def __repr__(self) -> str:
        """The verdict, the legs in words, and why it is not better."""
        said = f"Regime: {self.verdict.replace('_', '-')}. {self.spoken}".rstrip()
        reasons = [f"  {reason.why}" for reason in self.reasons]
        return "\n".join(first_lines([said, *reasons]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the ``regime`` block of the diagnosis schema, and ``point``, ``missing``."""
        return {
            "verdict": self.verdict,
            "in_words": self.spoken,
            "legs": [item.to_dict() for item in self.legs],
            "reasons": [reason.to_dict() for reason in self.reasons],
            "missing": list(self.missing),
            "point": {**self.point.to_dict(), "region": self.point.region(self.thresholds)},
            "eta_intervals": [part.to_dict() for part in self.eta_intervals],
            "thresholds": self.thresholds.model_dump(),
        }
