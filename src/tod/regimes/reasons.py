"""The checks behind a verdict: each gives a reason for every bound that is missed."""

from collections.abc import Iterator, Sequence

from tod.diagnostics.overlap import LEGS
from tod.diagnostics.population_ess import PopulationEss
from tod.diagnostics.summary import Summary
from tod.regimes import remedies
from tod.regimes.regime import Reason, ReasonKind
from tod.regimes.remedies import Advice
from tod.regimes.thresholds import Thresholds
from tod.regimes.words import LegWord

SAME = 1e-9
"""How far from 1 the ESS_rel of equal weights may read."""
EVEN = 0.6
"""Share of the rollouts that carry mean ρ, from which a mean 3 standard errors below 1 shows how
much of π they miss. With normal log ρ whose mean is 1 that is then said falsely in .7 % of batches
at most (128 to 8192 rollouts); at any share in up to 7 % (tests/regimes/test_mean_rho.py)."""
REFERENCE_K = 16
"""Rollouts per prompt from which a forward ESS_rel can be compared with its reverse at full."""


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


def overlap(
    words: Sequence[LegWord], summary: Summary, bounds: Thresholds, advice: Advice
) -> Iterator[Reason]:
    """A reason for every leg that is not stable; target/policy on its own where it was measured."""
    same = "policy_proposal" in summary.overlap.declared
    for item in words:
        if item.leg == "target_policy" and same:
            continue
        if item.word == "not_recorded":
            yield _unknown_leg(item.leg, summary, advice)
        elif item.word == "not_readable":
            yield _unreadable(item, summary)
        elif item.word == "no_interval":
            yield _point_alone(item, summary, bounds, advice)
        elif item.word in ("transition", "dominated"):
            yield _low_leg(item, summary, bounds, advice)
    if summary.overlap.q10.get("target_policy") == 0 and summary.overlap.target_policy:
        yield Reason(
            f"the target/policy leg of overlap is 0 for a tenth of prompts: {_OUT_OF_REACH}",
            remedies.wider_policy(),
            kind="out_of_reach",
        )


_OUT_OF_REACH = "the policy gives probability 0 to rollouts that the target wants"


def _low_leg(item: LegWord, summary: Summary, bounds: Thresholds, advice: Advice) -> Reason:
    """A leg whose interval is not above the bound of ``stable``."""
    assert item.ess is not None and item.ess.median is not None  # noqa: S101, PT018 - it has a word
    stable, low = bounds.overlap_stable, item.word == "dominated"
    if item.why is not None:
        why = f"{item.name}: {item.why}, the bound of {bounds.ess_q10_dominated:g} for a tenth"
        remedy = f"{remedies.less_sharp(advice)}; look at the worst prompts first"
        return Reason(why, remedy, kind="low_tenth")
    side = f"below {bounds.overlap_dominated:g}" if low else f"not surely above {stable:g}"
    why = f"{item.name}: the median prompt's ESS_rel is {stated(item.ess)}, {side}"
    value = item.ess.median.value if item.ess.median.value is not None else item.ess.median.high
    reach = 0.0 if value is None else value
    kind: ReasonKind = "low_leg"
    if item.leg == "target_proposal":
        remedy = remedies.nearer_target(stable, advice)
    elif item.leg == "policy_proposal":
        remedy = remedies.closer_proposal(reach, summary)
    elif summary.overlap.target_policy == 0:
        why, kind, remedy = f"{why}: {_OUT_OF_REACH}", "out_of_reach", remedies.wider_policy()
    else:
        read = legs(summary)
        to_proposal, policy = read["target_proposal"], read["policy_proposal"]
        remedy = remedies.closer_policy(to_proposal, policy, stable, summary, advice)
    return Reason(why, remedy, "operator_dominated" if low else "transition", kind)


def stated(ess: PopulationEss) -> str:
    """``0.49 (0.41 to 0.58)``; ``not above 0.58`` where the tail leaves no lower end."""
    assert ess.median is not None  # noqa: S101 - asked of what was read
    low, value, high = ess.median.low, ess.median.value, ess.median.high
    if not low or value is None:
        return "not bounded" if high is None else f"not above {high:.2f}"
    return f"{value:.2f} ({low:.2f} to {1.0 if high is None else high:.2f})"


def _unreadable(item: LegWord, summary: Summary) -> Reason:
    prompts = 0 if item.ess is None else item.ess.prompts
    return Reason(
        f"{item.name} is not readable: {item.why}",
        remedies.more_evidence(summary, prompts),
        "undetermined",
        "unreadable_leg",
    )


def _point_alone(item: LegWord, summary: Summary, bounds: Thresholds, advice: Advice) -> Reason:
    """A sample statistic that reads too high: a low value is evidence, a high one is none."""
    value, goal = getattr(summary.overlap, item.leg), bounds.overlap_stable
    shown = "" if value is None else f" ({value:.2f} at the drawn K)"
    remedy = "sample from the policy itself (on-policy): the leg is then target/proposal"
    if value is not None and value < goal:
        read = legs(summary)
        proposal, policy = read["target_proposal"], read["policy_proposal"]
        remedy = remedies.closer_policy(proposal, policy, goal, summary, advice)
    return Reason(
        f"{item.name} is a point without an interval{shown}: it cannot make a run stable",
        remedy,
        "undetermined",
        "no_interval",
    )


def _unknown_leg(name: str, summary: Summary, advice: Advice) -> Reason:
    """A leg without a value: for want of prompts that say something, else of log-probs."""
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
    return Reason(why, remedy, "undetermined", "unknown_leg")


def _nothing_to_read(summary: Summary, *, policy_only: bool) -> bool:
    """Whether a leg is unknown for want of prompts that tell, whatever log-probs are recorded.

    The policy/proposal leg reads every prompt of two rollouts, the others informative ones.
    """
    counts = summary.contexts
    alone = counts.total > 0 and counts.singleton == counts.total
    return alone or (counts.total > 0 and not counts.informative and not policy_only)


def blind(words: Sequence[LegWord], summary: Summary, bounds: Thresholds) -> Iterator[Reason]:
    """Mostly groups without variance: a stable leg is then one of the few prompts that tell.

    No reason where the bound of the reward's range, or the median over all prompts with those
    groups at their worst, is itself above ``overlap_stable``.
    """
    counts = summary.contexts
    zero = counts.zero_information or 0
    seen = (counts.informative or 0) + zero
    first = words[0]
    if first.word != "stable" or zero <= bounds.zero_information_share * seen:
        return
    assert first.ess is not None  # noqa: S101 - it is stable
    worst = first.ess.all_prompts[0] if first.ess.all_prompts else first.ess.bound
    if worst is not None and worst >= bounds.overlap_stable:
        return
    yield Reason(
        f"{zero} of {seen} prompts are zero-variance groups (all rollouts have the same reward): "
        "the typical prompt tells nothing, and the words are about the others",
        remedies.more_sight(summary),
        kind="zero_information",
    )


def trust_region(summary: Summary, bounds: Thresholds) -> Iterator[Reason]:
    """The trust region shapes the update where it changes much of the gradient's weight."""
    if summary.activation is not None and summary.activation > bounds.activation_stable:
        yield Reason(
            f"the trust region changes {summary.activation:.0%} of the gradient's weight, over "
            f"{bounds.activation_stable:.0%}: the operator, not the target, shapes the update",
            "take fewer updates per batch or a lower learning rate, or widen the trust region",
            kind="trust_region",
        )


def coverage(summary: Summary, bounds: Thresholds, advice: Advice) -> Iterator[Reason]:
    """Missed modes, which no self-normalised weight can see."""
    cover = summary.coverage
    rho, z = cover.mean_rho, cover.mean_rho_z
    leg = summary.overlap.policy_proposal
    same = z is None and leg is not None and leg > 1 - SAME and not summary.overlap.declared
    far = same or (z is not None and abs(z) > bounds.mean_rho_z)
    if rho is not None and far and abs(rho - 1) > bounds.mean_rho_gap:
        yield _misfit(rho, z, cover.mean_rho_share)
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
    few = 1.0 if k is None else min(1.0, k / REFERENCE_K)
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


def _misfit(rho: float, z: float | None, share: float | None) -> Reason:
    """Mean ρ away from 1; ``z`` is None where every candidate has the same ρ.

    Even ratios (``share``) whose mean is below 1 show how much of π these rollouts miss, and not
    why: truncation, or weights that moved mass to answers that μ hardly draws. Uneven ratios have
    their mean in rare large ones, and it reads low in many samples of which nothing is missed.
    """
    errors = "over 1000" if z is None or abs(z) > 1000 else f"{abs(z):.1f}"
    fact = f"mean rho is {rho:.3f}, {errors} standard errors from 1"
    if z is None:
        fact = f"rho is {rho:.3f} for every rollout alike, and not 1"
    if rho < 1:
        even = z is None or (share is not None and share >= EVEN)
        what = (
            f"the rollouts miss about {1 - rho:.0%} of what the policy answers"
            if even
            else "the rollouts miss part of the policy, or so wide a gap that the mean reads low"
        )
        return Reason(
            f"{fact}: {what}",
            "where mu is truncated (top-p, top-k) no token is likelier under log_policy: sample "
            "without truncation, or record log_mu after it; else the sampler has other weights "
            "or text: send it the trainer's",
            kind="missed_policy",
        )
    return Reason(
        f"{fact}: the recorded log-probs cannot be those of the sampler",
        "record log_mu with temperature, top-k and top-p applied; until then no leg can be trusted",
        "undetermined",
        "wrong_log_probs",
    )


def target(assumed: bool) -> Iterator[Reason]:
    """An assumed target gives intervals of η, never the word."""
    if assumed:
        yield Reason(
            "the target was assumed, not declared: the words by eta hold for the assumed one only",
            "declare it (--target, --eta) or point to the training configuration (--config); "
            "until then read the verdict as intervals of eta",
            "undetermined",
            "assumed_target",
        )
