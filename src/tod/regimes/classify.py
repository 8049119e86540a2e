"""From a summary to a verdict: every bound that is missed becomes a reason with a remedy."""

from collections.abc import Sequence

from tod.diagnostics.summary import Summary
from tod.regimes import checks
from tod.regimes.checks import Band, legs
from tod.regimes.regime import ORDER, EtaInterval, Regime, phase_point
from tod.regimes.remedies import Advice
from tod.regimes.thresholds import Thresholds
from tod.regimes.trend import Crossing, still_out


def classify(
    summary: Summary,
    thresholds: Thresholds | None = None,
    *,
    assumed_target: bool = False,
    eta: float | None = None,
    eta_max: float | None = None,
    anchors: tuple[float, float] | None = None,
    eta_goal: float | None = None,
    k_needed: int | None = None,
    eta_intervals: tuple[EtaInterval, ...] = (),
    band: Band = "overlap",
    changes: Sequence[Crossing] = (),
    needs: str | None = None,
    budget: float | None = None,
) -> Regime:
    """The regime of a batch: does the choice of operator matter here?

    Every check that fails is a reason that caps the verdict, and the verdict is the lowest cap:
    evidence (informative contexts, blind contexts, K), the legs of overlap, tails, activation,
    coverage, and whether the target was declared. A leg that is unknown, neither declared nor
    inapplicable, caps at ``transition``; so does an assumed target. A low leg is evidence at any
    K, a high leg is evidence only from ``min_candidates`` on.

    Args:
        summary: Diagnostics of one batch (or of several, pooled).
        thresholds: Bounds; the provisional defaults if None.
        assumed_target: The target was neither declared nor located in a configuration.
        eta: Sharpness in force, for remedies.
        eta_max: Largest feasible sharpness on these candidates, for remedies; ∞ where none is
            too much, 0 where none is small enough, None where it was not searched for.
        eta_goal: Median ESS_rel that ``eta_max`` keeps; None means the bound that is missed.
        anchors: τ and β of a two-anchor target, which has no eta to turn.
        k_needed: Candidates per context needed, for remedies.
        eta_intervals: The verdict as a function of eta, shown with an assumed target.
        band: Which fitted band the legs are read with: ``overlap`` for the three legs of a batch,
            ``ess_two`` for the step-means of the first two legs of a run (see `classify_run`).
        changes: Crossings of a run's steps (`stable_crossings`): what left the stable region and
            is still out of it caps the verdict.
        needs: What would let the target be weighed, where it cannot be, for remedies.
        budget: KL budget that finds the sharpness, which remedies turn in the place of eta.

    Returns:
        The regime; ``reasons`` worst first, empty exactly when ``swap_stable``.
    """
    bounds = thresholds or Thresholds()
    k = summary.contexts.candidates_per_context.get("median")
    advice = Advice(eta, eta_max, k_needed, k, eta_goal, anchors, needs, budget)
    found = [
        *checks.evidence(summary, bounds),
        *checks.overlap(summary, bounds, advice, band),
        *checks.tails(summary, bounds, advice),
        *checks.coverage(summary, bounds, advice),
        *still_out(changes, bounds),
        *checks.target(assumed_target),
    ]
    found.sort(key=lambda reason: -ORDER.index(reason.verdict))
    return Regime(
        verdict=found[0].verdict if found else "swap_stable",
        reasons=tuple(found),
        missing=missing_inputs(summary),
        point=phase_point(summary),
        eta_intervals=eta_intervals,
        thresholds=bounds,
    )


def missing_inputs(summary: Summary) -> tuple[str, ...]:
    """Names of the inputs of a verdict that the summary does not hold.

    Where the leg of policy and proposal does not apply no policy is trained: no gate is missing.
    """
    absent = [f"overlap.{name}" for name, value in legs(summary).items() if value is None]
    absent = [name for name in absent if name[8:] not in summary.overlap.not_applicable]
    optional = {
        "tails.max_weight_median": summary.tails.max_weight_median,
        "tails.log_w_variance_median": summary.tails.log_w_variance_median,
        "activation": summary.activation,
        "contexts.candidates_per_context": summary.overlap.k
        or summary.contexts.candidates_per_context.get("median"),
    }
    if "policy_proposal" in summary.overlap.not_applicable:
        del optional["activation"]
    absent += [name for name, value in optional.items() if value is None]
    seen = (summary.coverage.mean_rho, summary.coverage.reverse_ess, summary.coverage.missing_mass)
    return tuple(absent + (["coverage"] if all(value is None for value in seen) else []))
