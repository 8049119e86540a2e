"""What a regime is: a verdict, the reasons with a remedy each, and the plain phase point."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tod.diagnostics.summary import Summary
from tod.regimes.thresholds import Thresholds

__all__ = ["EtaInterval", "Regime"]

Verdict = Literal["swap_stable", "transition", "operator_dominated", "undetermined"]

ORDER: tuple[Verdict, ...] = ("swap_stable", "transition", "operator_dominated", "undetermined")
"""From harmless to silent: the verdict is the last of these that any reason asks for."""

ReasonKind = Literal[
    "few_contexts",
    "unequal_k",
    "zero_information",
    "few_candidates",
    "unknown_leg",
    "low_leg",
    "out_of_reach",
    "wide_interval",
    "low_tenth",
    "heavy_candidate",
    "heavy_tail",
    "trust_region",
    "missed_policy",
    "wrong_log_probs",
    "missed_mode",
    "low_reverse",
    "missing_mass",
    "left_stable",
    "assumed_target",
    "other",
]
"""Which bound was missed: what a program reads in the place of the sentence."""


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
        """``{"why", "remedy"}``, as in the diagnosis schema."""
        return {"why": self.why, "remedy": self.remedy}


@dataclass(frozen=True)
class EtaInterval:
    """A range of sharpness over which the verdict is the same."""

    eta: tuple[float, float]
    verdict: Verdict


@dataclass(frozen=True)
class PhasePoint:
    """A batch in the plain phase diagram: coverage to the right, tail severity upward.

    Attributes:
        coverage: Median or 10 % quantile of ESS_rel over informative contexts.
        tail: Median of the largest weight, or of the variance of log w (nats²).
        coverage_kind: Which statistic ``coverage`` is.
        tail_kind: Which statistic ``tail`` is.
    """

    coverage: float | None
    tail: float | None
    coverage_kind: Literal["median", "q10"] = "median"
    tail_kind: Literal["max_weight", "log_w_variance"] = "max_weight"

    def region(self, thresholds: Thresholds | None = None) -> Verdict:
        """The region of the plane: lower right stable, upper left dominated, between transition.

        It ignores the policy, missed modes and how much was measured: shown with the verdict,
        never instead of it. A missing coordinate gives ``undetermined``.
        """
        bounds = thresholds or Thresholds()
        if self.coverage is None or self.tail is None:
            return "undetermined"
        high = getattr(bounds, f"ess_{self.coverage_kind}_stable")
        low = getattr(bounds, f"ess_{self.coverage_kind}_dominated")
        mild = getattr(bounds, f"{self.tail_kind}_stable")
        heavy = bounds.max_weight_dominated if self.tail_kind == "max_weight" else float("inf")
        if self.coverage < low or self.tail > heavy:
            return "operator_dominated"
        return "swap_stable" if self.coverage >= high and self.tail <= mild else "transition"


def phase_point(
    summary: Summary,
    coverage: Literal["median", "q10"] = "median",
    tail: Literal["max_weight", "log_w_variance"] = "max_weight",
) -> PhasePoint:
    """The coordinates of a batch in the plain phase diagram.

    Source: TOD framework, section 5 (equation phase-point)
    """
    return PhasePoint(
        coverage=getattr(summary.ess_rel, coverage),
        tail=getattr(summary.tails, f"{tail}_median"),
        coverage_kind=coverage,
        tail_kind=tail,
    )


@dataclass(frozen=True)
class Regime:
    """A verdict with everything a person needs to act on it.

    Attributes:
        verdict: ``swap_stable``, ``transition``, ``operator_dominated`` or ``undetermined``.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the ``regime`` block of the diagnosis schema, and ``point``, ``missing``."""
        return {
            "verdict": self.verdict,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "missing": list(self.missing),
            "point": {**asdict(self.point), "region": self.point.region(self.thresholds)},
            "eta_intervals": [
                {"eta": list(part.eta), "verdict": part.verdict} for part in self.eta_intervals
            ],
            "thresholds": self.thresholds.model_dump(),
        }
