"""The checks behind a verdict: each gives a reason for every bound that is missed."""

from collections.abc import Iterator
from typing import Literal

from tod.diagnostics.overlap import LEGS
from tod.diagnostics.summary import Summary
from tod.regimes import remedies
from tod.regimes.regime import Reason, ReasonKind
from tod.regimes.remedies import Advice
from tod.regimes.thresholds import Thresholds

Band = Literal["overlap", "ess_two"]
SAME = 1e-9
"""How far from 1 the ESS_rel of equal weights may read."""


def legs(summary: Summary) -> dict[str, float | None]:
    """The three legs as measured or declared; None is unknown (or not applicable).

    With π = μ declared, the policy/proposal leg is 1 and the target/policy leg equals the
    target/proposal leg, exactly and for any K.
    """
    overlap = summary.overlap
    values = {name: getattr(overlap, name) for name in LEGS}
    if values["target_proposal"] is None:
        values["target_proposal"] = summary.ess_rel.median
    if "policy_proposal" in overlap.declared:
        values["policy_proposal"] = 1.0
        if values["target_policy"] is None:
            values["target_policy"] = values["target_proposal"]
    return values


def contexts_read(summary: Summary) -> int:
    """Informative contexts behind the quantiles: those of the most common K, where known."""
    informative, at_k = summary.contexts.informative or 0, summary.overlap.contexts
    return informative if at_k is None else min(informative, at_k)


def evidence(summary: Summary, bounds: Thresholds) -> Iterator[Reason]:
    """Enough informative contexts, not mostly blind ones, and enough candidates in each."""
    yield from _few_contexts(summary, bounds)
    counts = summary.contexts
    blind = counts.zero_information or 0
    seen = (counts.informative or 0) + blind
    if blind > bounds.zero_information_share * seen:
        yield Reason(
            f"{blind} of {seen} prompts are zero-variance groups (all rollouts have the same "
            "reward): the typical prompt tells nothing whatever its ESS_rel reads",
            remedies.more_sight(summary),
            kind="zero_information",
        )
    k = summary.overlap.k or counts.candidates_per_context.get("median")
    if k is None or k < bounds.min_candidates:
        floor = "not known" if k is None else f"{k:g}, so ESS_rel cannot read below {1 / k:.3g}"
        yield Reason(
            f"K is {floor}: a high ESS_rel at fewer than {bounds.min_candidates} rollouts is not "
            "evidence of overlap",
            f"raise K to {bounds.min_candidates}, or pool what several steps drew for the same "
            "prompt; expect ESS_rel to fall as K grows",
            kind="few_candidates",
        )


def _few_contexts(summary: Summary, bounds: Thresholds) -> Iterator[Reason]:
    """Too few informative contexts, or too few of them at one K."""
    counts, n, at_k = summary.contexts, contexts_read(summary), ""
    informative, blind = counts.informative or 0, counts.zero_information or 0
    if counts.informative is None:
        yield Reason(
            f"nothing tells which of {counts.total} prompts are informative",
            remedies.more_sight(summary),
            "undetermined",
        )
        return
    if n < informative:
        at_k = f" at the most common K, {summary.overlap.k}: {informative} at any K"
    if n < bounds.min_informative:
        yield Reason(
            f"{n} informative prompts{at_k} of {counts.total} ({blind} zero-variance, "
            f"{counts.singleton} of one rollout), fewer than {bounds.min_informative}",
            remedies.more_evidence(summary, n, bounds.min_informative),
            "undetermined",
            kind="few_contexts",
        )
    elif n < bounds.min_informative_stable:
        yield Reason(
            f"{n} informative prompts{at_k}, fewer than the {bounds.min_informative_stable} that "
            "bound the worst tenth from below",
            remedies.more_evidence(summary, n, bounds.min_informative_stable),
            kind="few_contexts",
        )
    if bounds.min_informative <= n < bounds.share_at_one_k * informative:
        left = informative - n
        yield Reason(
            f"{left} of {informative} informative prompts have another K than "
            f"{summary.overlap.k}: no median reads them",
            "draw the same K everywhere, or subsample every prompt to one K and diagnose again; "
            "--per-context holds their own ESS_rel",
            kind="unequal_k",
        )


def overlap(summary: Summary, bounds: Thresholds, advice: Advice, band: Band) -> Iterator[Reason]:
    """The legs: low ones, unknown ones, and a median whose interval does not clear the bound."""
    stable = getattr(bounds, f"{band}_stable")
    dominated = getattr(bounds, f"{band}_dominated")
    values = legs(summary)
    read = LEGS if band == "overlap" else LEGS[:2]
    measured = [n for n in read if values[n] is not None and n not in summary.overlap.declared]
    if not measured:
        yield Reason(
            "no leg of overlap could be measured",
            remedies.more_sight(summary)
            if _nothing_to_read(summary, policy_only=False)
            else advice.needs
            or "record rewards and the log-probs of mu and of the anchor, and declare the target",
            "undetermined",
            kind="unknown_leg",
        )
    for name in read:
        value = values[name]
        if value is not None and value < stable:
            bands = (stable, dominated)
            yield _low_leg(name, value, bands, summary, advice, batch=band == "overlap")
        elif name == "target_policy" and value and summary.overlap.q10.get(name) == 0:
            yield Reason(
                f"the target/policy leg of overlap is 0 for a tenth of prompts: {_OUT_OF_REACH}",
                remedies.wider_policy(),
                kind="out_of_reach",
            )
        elif value is None and name not in summary.overlap.not_applicable:
            yield _unknown_leg(name, summary, advice)
    yield from _unresolved(summary, stable)


_OUT_OF_REACH = "the policy gives probability 0 to rollouts that the target wants"


def _low_leg(
    name: str,
    value: float,
    bands: tuple[float, float],
    summary: Summary,
    advice: Advice,
    *,
    batch: bool,
) -> Reason:
    """A leg under its bound; ``batch`` says that it is a median, not a mean over steps."""
    stable, dominated = bands
    low = value < dominated
    where = f"below {dominated:g}" if low else f"between {dominated:g} and {stable:g}"
    of = "" if batch else " (mean over steps)"
    why = f"the {name.replace('_', '/')} leg of overlap is {value:.2f}{of}, {where}"
    if name == "target_proposal" or "policy_proposal" in summary.overlap.declared:
        remedy = remedies.nearer_target(stable, advice, batch=batch)
    elif name == "policy_proposal":
        remedy = remedies.closer_proposal(value, summary)
    elif value == 0:
        why += f": {_OUT_OF_REACH}"
        remedy = remedies.wider_policy()
    else:
        read = legs(summary)
        to_proposal, policy = read["target_proposal"], read["policy_proposal"]
        remedy = remedies.closer_policy(to_proposal, policy, stable, summary, advice)
    kind: ReasonKind = "low_leg" if value else "out_of_reach"
    return Reason(why, remedy, "operator_dominated" if low else "transition", kind)


def _unknown_leg(name: str, summary: Summary, advice: Advice) -> Reason:
    """A leg without a value: for want of contexts that say something, else of log-probs."""
    if _nothing_to_read(summary, policy_only=name == "policy_proposal"):
        remedy = remedies.more_sight(summary)
    elif name == "target_proposal" or (
        name == "target_policy" and legs(summary)["target_proposal"] is None
    ):
        remedy = advice.needs or (
            "record rewards and the log-probs of mu and of the target's anchor"
        )
    elif summary.overlap.unknown:
        remedy = (
            "score the policy's log-probs again: they are recorded and not usable for "
            f"{summary.overlap.unknown} prompts"
        )
    else:
        remedy = "record log_policy before the update, or declare the batch on-policy"
    why = f"the {name.replace('_', '/')} leg of overlap is not known"
    return Reason(why, remedy, kind="unknown_leg")


def _nothing_to_read(summary: Summary, *, policy_only: bool) -> bool:
    """Whether a leg is unknown for want of contexts that tell, whatever log-probs are recorded.

    The policy/proposal leg reads every context of two candidates, the others informative ones.
    """
    counts = summary.contexts
    alone = counts.total > 0 and counts.singleton == counts.total
    return alone or (counts.total > 0 and not counts.informative and not policy_only)


def _unresolved(summary: Summary, stable: float) -> Iterator[Reason]:
    """The median is above the bound, its interval is not."""
    value, interval = summary.ess_rel.median, summary.ess_rel.median_ci90
    low = None if interval is None else interval[0]
    if value is None or low is None or not low < stable < value:
        return
    yield Reason(
        f"median ESS_rel is {value:.2f} but its 90 % interval starts at {low:.2f}, "
        f"below {stable:g}",
        remedies.more_contexts(contexts_read(summary), value, low, stable),
        kind="wide_interval",
    )


def tails(summary: Summary, bounds: Thresholds, advice: Advice) -> Iterator[Reason]:
    """The fragile tenth, the heaviest candidate, the variance and shape of the tail, the gates."""
    tails, q10 = summary.tails, summary.ess_rel.q10
    if q10 is not None and q10 < bounds.ess_q10_dominated:
        yield Reason(
            f"a tenth of the prompts has ESS_rel at most {q10:.2f}, "
            f"below {bounds.ess_q10_dominated:g}",
            f"{remedies.less_sharp(advice)}; look at the worst prompts first",
            kind="low_tenth",
        )
    weight = tails.max_weight_median
    stable, dominated = _weight_limits(summary, bounds)
    if weight is not None and weight > stable:
        heavy = weight > dominated
        limit = dominated if heavy else stable
        yield Reason(
            f"one rollout carries {weight:.0%} of a typical prompt's weight, over {limit:.0%}",
            remedies.less_sharp(advice),
            "operator_dominated" if heavy else "transition",
            "heavy_candidate",
        )
    for what, value, limit in (
        ("the median variance of log w", tails.log_w_variance_median, bounds.log_w_variance_stable),
        ("the pooled Pareto k-hat", tails.pareto_k_pooled, bounds.pareto_k_stable),
    ):
        if value is not None and value > limit:
            yield Reason(
                f"{what} is {value:.2f}, over {limit:g}: the tail of the weights is heavy",
                remedies.less_sharp(advice),
                kind="heavy_tail",
            )
    if summary.activation is not None and summary.activation > bounds.activation_stable:
        yield Reason(
            f"the trust region changes {summary.activation:.0%} of the gradient's weight, over "
            f"{bounds.activation_stable:.0%}: the operator, not the target, shapes the update",
            "take fewer updates per batch or a lower learning rate, or widen the trust region",
            kind="trust_region",
        )


def _weight_limits(summary: Summary, bounds: Thresholds) -> tuple[float, float]:
    """Bounds of the largest weight; below ``min_candidates`` no tighter than K itself allows.

    A context at ESS_rel e can have a largest weight of 1/√(e K), and has 1/K at the least: at K = 4
    even weights carry 25 % each, which is no matter of eta.
    """
    limits = bounds.max_weight_stable, bounds.max_weight_dominated
    k = summary.overlap.k
    if k is None or k >= bounds.min_candidates:
        return limits
    at_k = ((e * k) ** -0.5 for e in (bounds.overlap_stable, bounds.overlap_dominated))
    stable, dominated = (max(pair) for pair in zip(limits, at_k, strict=True))
    return stable, dominated


def coverage(summary: Summary, bounds: Thresholds, advice: Advice) -> Iterator[Reason]:
    """Missed modes, which no self-normalised weight can see."""
    cover = summary.coverage
    rho, z = cover.mean_rho, cover.mean_rho_z
    leg = summary.overlap.policy_proposal
    same = z is None and leg is not None and leg > 1 - SAME and not summary.overlap.declared
    far = same or (z is not None and abs(z) > bounds.mean_rho_z)
    if rho is not None and far and abs(rho - 1) > bounds.mean_rho_gap:
        yield _misfit(rho, z)
    if cover.reverse_ess is not None and cover.reverse_ess < bounds.overlap_stable:
        yield _low_reverse(cover.reverse_ess, summary, bounds, advice)
    missing = cover.missing_mass
    if missing is not None and missing > bounds.missing_mass_stable:
        yield Reason(
            f"{missing:.0%} of the target sits in answers not drawn yet (Good-Turing), over "
            f"{bounds.missing_mass_stable:.0%}",
            "raise K or widen the proposal until answers repeat",
            kind="missing_mass",
        )


def _low_reverse(reverse: float, summary: Summary, bounds: Thresholds, advice: Advice) -> Reason:
    """Missed modes where reverse is far below forward; else the same leg read from the other side.

    Both estimate 1/(1 + χ²(q*‖μ)), and the forward one reads too high at finite K, the more the
    lower it is. Far is below F²/4 · min(1, K/16): with full support (normal weights, an
    enumerable world) exact values lie above it as long as K candidates hold an effective one.
    """
    forward, k = summary.ess_rel.median, summary.overlap.k
    few = 1.0 if k is None else min(1.0, k / bounds.min_candidates)
    missed = reverse == 0 or (forward is not None and reverse < few * forward**2 / 4)
    against = "" if forward is None else f" against {forward:.2f} seen from the proposal's side"
    low = reverse < bounds.overlap_dominated
    limit = bounds.overlap_dominated if low else bounds.overlap_stable
    fact = f"samples of the target give ESS_rel {reverse:.2g}{against}"
    remedy = f"{remedies.less_sharp(advice)}, or raise K"
    if missed:
        fact += ": the proposal misses modes"
        remedy = (
            "widen the proposal (temperature, top-p, mix in the source of the target samples); "
            "eta and K cannot reach what mu never draws"
        )
    else:
        fact += f", below {limit:g}: target and proposal are apart"
    kind: ReasonKind = "missed_mode" if missed else "low_reverse"
    return Reason(fact, remedy, "operator_dominated" if low else "transition", kind)


def _misfit(rho: float, z: float | None) -> Reason:
    """Mean ρ away from 1; ``z`` is None where every candidate has the same ρ."""
    errors = "over 1000" if z is None or abs(z) > 1000 else f"{abs(z):.1f}"
    fact = f"mean rho is {rho:.3f}, {errors} standard errors from 1"
    if z is None:
        fact = f"rho is {rho:.3f} for every rollout alike, and not 1"
    if rho < 1:
        return Reason(
            f"{fact}: the proposal never draws part of what the policy can",
            f"sample without truncation, or record log_mu after it; about {1 - rho:.0%} of the "
            "policy's mass is out of reach",
            kind="missed_policy",
        )
    return Reason(
        f"{fact}: the recorded log-probs cannot be those of the sampler",
        "record log_mu with temperature, top-k and top-p applied; until then no leg can be trusted",
        "undetermined",
        "wrong_log_probs",
    )


def target(assumed: bool) -> Iterator[Reason]:
    """An assumed target is never swap-stable."""
    if assumed:
        yield Reason(
            "the target was assumed, not declared: the verdict holds for the assumed eta only",
            "declare it (--target, --eta) or point to the training configuration (--config); "
            "until then read the verdict as intervals of eta",
            kind="assumed_target",
        )
