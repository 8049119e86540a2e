"""The regime of a batch and of a run: every bound that is missed is a reason with a remedy.

A run is read from its steps together, with the bands that were fitted to step-means.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from tod.base import DataError
from tod.diagnostics.summary import ContextCounts, EssRel, Summary, mean_of_known
from tod.regimes import reasons
from tod.regimes.crossings import Crossing, stable_crossings, still_out
from tod.regimes.reasons import Band, legs
from tod.regimes.regime import ORDER, EtaInterval, Regime, phase_point
from tod.regimes.remedies import Advice
from tod.regimes.thresholds import Thresholds

__all__ = ["classify", "classify_run", "ess_two"]

_TWO = ("target_proposal", "policy_proposal")
"""Legs whose step-means tell most of a run."""


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

    Source: TOD framework, section 5 (equation verdict)
    """
    bounds = thresholds or Thresholds()
    k = summary.contexts.candidates_per_context.get("median")
    advice = Advice(eta, eta_max, k_needed, k, eta_goal, anchors, needs, budget)
    missed = [
        *reasons.evidence(summary, bounds),
        *reasons.overlap(summary, bounds, advice, band),
        *reasons.tails(summary, bounds, advice),
        *reasons.coverage(summary, bounds, advice),
        *still_out(changes, bounds),
        *reasons.target(assumed_target),
    ]
    missed.sort(key=lambda reason: -ORDER.index(reason.verdict))
    return Regime(
        verdict=missed[0].verdict if missed else "swap_stable",
        reasons=tuple(missed),
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


def ess_two(summaries: Sequence[Summary]) -> float | None:
    """Smaller of the step-means of the target/proposal and the policy/proposal leg, in [1/K, 1].

    A declared policy/proposal leg is 1. None if either leg was known at no step; steps that lack
    a leg are left out of its mean. The best loggable predictor of operator disagreement found so
    far on exact worlds (rank correlation 0.87 to 0.90); missed modes remain its blind spot.
    """
    means = [mean_of_known([legs(s)[name] for s in summaries]) for name in _TWO]
    known = [value for value in means if value is not None]
    return min(known) if len(known) == len(_TWO) else None


def pooled(summaries: Sequence[Summary]) -> Summary:
    """Several batches as one record: counts added, every other number averaged where known.

    Intervals are dropped (batches of one policy are not independent). Legs that are declared or
    not applicable in every batch stay so.

    Raises:
        DataError: There is no summary.
    """
    if not summaries:
        raise DataError("no summaries to pool: a run needs at least one diagnosed step.")
    merged = _merge(list(summaries))
    ess_rel = EssRel(
        median=mean_of_known([s.ess_rel.median for s in summaries]),
        q10=mean_of_known([s.ess_rel.q10 for s in summaries]),
        mean=mean_of_known([s.ess_rel.mean for s in summaries]),
    )
    known = [s.overlap.contexts for s in summaries if s.overlap.contexts is not None]
    overlap = replace(
        merged.overlap,
        contexts=sum(known) if known else None,
        declared=_always([s.overlap.declared for s in summaries]),
        not_applicable=_always([s.overlap.not_applicable for s in summaries]),
    )
    counts = _counts([s.contexts for s in summaries])
    return replace(merged, contexts=counts, ess_rel=ess_rel, overlap=overlap)  # type: ignore[no-any-return]


def classify_run(
    summaries: Sequence[Summary],
    thresholds: Thresholds | None = None,
    *,
    steps: Sequence[int] | None = None,
    **advice: Any,
) -> Regime:
    """The regime of a run from its steps: `ess_two` on its own bands, the rest pooled.

    A run that left the stable region and ends outside it is judged by its end (`still_out`).

    Args:
        summaries: One summary per step.
        thresholds: Bounds; the provisional defaults if None.
        steps: The number of every step, increasing; counted from 1 if None.
        **advice: ``assumed_target``, ``eta``, ``eta_max``, ``k_needed`` of `classify`.

    Raises:
        DataError: There is no summary.
    """
    whole = pooled(summaries)
    first, second = (mean_of_known([legs(s)[name] for s in summaries]) for name in _TWO)
    overlap = replace(whole.overlap, target_proposal=first, policy_proposal=second)
    numbers = range(1, len(summaries) + 1) if steps is None else steps
    changes = stable_crossings(numbers, summaries, thresholds)
    judged = replace(whole, overlap=overlap)
    return classify(judged, thresholds, band="ess_two", changes=changes, **advice)


def _always(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name in names[0] if all(name in other for other in names))


def _counts(records: Sequence[ContextCounts]) -> ContextCounts:
    totals: dict[str, Any] = {}
    for item in fields(ContextCounts):
        if item.name != "candidates_per_context":
            known = [getattr(record, item.name) for record in records]
            known = [value for value in known if value is not None]
            totals[item.name] = sum(known) if known else None
    sizes = [record.candidates_per_context for record in records if record.candidates_per_context]
    pick = {"min": min, "median": mean_of_known, "max": max}
    totals["candidates_per_context"] = {
        name: choose([size[name] for size in sizes if name in size])  # type: ignore[operator]
        for name, choose in pick.items()
        if any(name in size for size in sizes)
    }
    return ContextCounts(**totals)


def _merge(records: list[Any]) -> Any:
    """Average every float of equal dataclasses; None where nothing is known."""
    known = [record for record in records if record is not None]
    if not known:
        return None
    merged: dict[str, Any] = {}
    for item in fields(known[0]):
        values = [getattr(record, item.name) for record in known]
        if any(is_dataclass(value) for value in values):
            merged[item.name] = _merge(values)
        elif all(value is None or isinstance(value, int | float) for value in values):
            merged[item.name] = mean_of_known(values)
        else:
            merged[item.name] = values[-1]
    return replace(known[0], **merged)
