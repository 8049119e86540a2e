"""The regime of a batch or a pool of steps: every bound that is missed is a reason with a remedy.

A run is one pool (`tod.regimes.pool`), judged as a batch is: its words do not depend on where a
step ends.
"""

from dataclasses import replace

from tod.diagnostics.summary import Summary
from tod.procedure import Examined, statistics_of
from tod.regimes import reasons
from tod.regimes.reasons import legs
from tod.regimes.regime import NO_WORD, EtaInterval, Reason, Regime, Verdict, phase_point
from tod.regimes.remedies import Advice
from tod.regimes.thresholds import Thresholds
from tod.regimes.words import leg_words

__all__ = ["classify"]

WORST_FIRST: tuple[Verdict, ...] = ("operator_dominated", "transition", "undetermined")
"""Order of reasons. A leg that is not known hides no leg that is surely low."""


def classify(
    batch: Summary | Examined,
    thresholds: Thresholds | None = None,
    *,
    assumed_target: bool = False,
    eta: float | None = None,
    eta_max: float | None = None,
    anchors: tuple[float, float] | None = None,
    eta_goal: float | None = None,
    k_needed: int | None = None,
    eta_intervals: tuple[EtaInterval, ...] = (),
    needs: str | None = None,
    budget: float | None = None,
    certain: bool = False,
) -> Regime:
    """The regime of a batch: does the choice of operator matter here?

    Every leg gets a word from the interval of its population median (`leg_words`). The verdict is
    ``operator_dominated`` if one is dominated, else ``transition`` if one is in between or a bound
    that no leg sees is missed, else ``undetermined`` if one is not read, else ``swap_stable``. An
    assumed target, and log-probs that cannot be the sampler's, leave it ``undetermined``.

    Args:
        batch: What was examined; or the summary of one batch, or of several steps pooled, with
            its ``population``.
        thresholds: Bounds; the provisional defaults if None.
        assumed_target: The target was neither declared nor located in a configuration.
        eta: Sharpness in force, for remedies.
        eta_max: Largest feasible sharpness, for remedies; ∞ where none is too much, 0 where none
            is small enough, None where it was not searched for.
        eta_goal: Median ESS_rel that ``eta_max`` keeps; None means the bound that is missed.
        anchors: τ and β of a two-anchor target, which has no eta to turn.
        k_needed: Candidates per context needed, for remedies.
        eta_intervals: The verdict as a function of eta, shown with an assumed target.
        needs: What would let the target be weighed, where it cannot be, for remedies.
        budget: KL budget that finds the sharpness, which remedies turn in the place of eta.
        certain: ``transition`` needs its whole interval between the bounds (`leg_words`).

    Returns:
        The regime; ``reasons`` worst first, empty exactly when ``swap_stable``.

    Source: TOD framework, section 5 (equation verdict)
    """
    bounds = thresholds or Thresholds()
    summary = batch
    if isinstance(summary, Examined):
        population = statistics_of(summary).population()
        summary = replace(summary.summary, population=population)
    k = summary.contexts.candidates_per_context.get("median")
    advice = Advice(eta, eta_max, k_needed, k, eta_goal, anchors, needs, budget)
    words = leg_words(summary, bounds, certain=certain)
    missed = [
        *reasons.overlap(words, summary, bounds, advice),
        *reasons.blind(words, summary, bounds),
        *reasons.trust_region(summary, bounds),
        *reasons.coverage(summary, bounds, advice),
        *reasons.target(assumed_target),
    ]
    missed.sort(key=_place)
    return Regime(
        verdict=missed[0].verdict if missed else "swap_stable",
        legs=words,
        reasons=tuple(missed),
        missing=missing_inputs(summary),
        point=phase_point(summary),
        eta_intervals=eta_intervals,
        thresholds=bounds,
    )


def _place(reason: Reason) -> int:
    return -1 if reason.kind in NO_WORD else WORST_FIRST.index(reason.verdict)


def missing_inputs(summary: Summary) -> tuple[str, ...]:
    """Names of the inputs of a verdict that the summary does not hold.

    Where the leg of policy and proposal does not apply no policy is trained: no gate is missing.
    """
    absent = [f"overlap.{name}" for name, value in legs(summary).items() if value is None]
    absent = [name for name in absent if name[8:] not in summary.overlap.not_applicable]
    optional = {
        "activation": summary.activation,
        "contexts.candidates_per_context": summary.overlap.k
        or summary.contexts.candidates_per_context.get("median"),
    }
    if "policy_proposal" in summary.overlap.not_applicable:
        del optional["activation"]
    absent += [name for name, value in optional.items() if value is None]
    seen = (summary.coverage.mean_rho, summary.coverage.reverse_ess, summary.coverage.missing_mass)
    return tuple(absent + (["coverage"] if all(value is None for value in seen) else []))
