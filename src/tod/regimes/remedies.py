"""What to turn, and what to expect of it: the second half of every reason.

An effect is promised only where it was computed on the candidates or is exact for that very leg;
elsewhere only its direction is told.
"""

from dataclasses import dataclass
from math import inf, log

from tod.diagnostics.summary import Summary


@dataclass(frozen=True)
class Advice:
    """Numbers that make a remedy concrete; each may be unknown.

    Attributes:
        eta: The sharpness in force.
        eta_max: The largest sharpness at which the population median of ESS_rel is surely at least
            ``eta_goal``: ∞ where none is too much, 0 where none is small enough.
        k_needed: Candidates per context needed for the effective number wanted.
        k: Candidates per context, median.
        eta_goal: ESS_rel that ``eta_max`` keeps; None means the bound that was missed.
        needs: What would let the target be weighed, where it cannot be.
        anchors: τ and β where sharpness is 1/(τ+β) and has no knob of its own.
        budget: KL budget in nats that finds the sharpness in every step, the knob in its place.
    """

    eta: float | None = None
    eta_max: float | None = None
    k_needed: int | None = None
    k: float | None = None
    eta_goal: float | None = None
    anchors: tuple[float, float] | None = None
    needs: str | None = None
    budget: float | None = None


def nearer_target(goal: float, advice: Advice) -> str:
    """For the target/proposal leg: eta down to what is feasible, or K up.

    Args:
        goal: The bound that the leg misses.
        advice: Known numbers.
    """
    eta, limit = advice.eta, advice.eta_max
    if eta is None or limit is None or limit < eta or _kept_at(advice, goal) < goal:
        text = less_sharp(advice, goal)
    else:
        text = (
            f"eta = {eta:.3g} is feasible by its point (up to {limit:.3g}) and its interval is too "
            "wide to say so: pool more prompts, or lower eta"
        )
    if advice.k_needed is None:
        return text
    now = f" from {advice.k:g}" if advice.k is not None else ""
    knob = "eta" if advice.budget is None else "it"
    return (
        f"{text}; or keep {knob} and raise K{now} to at least {advice.k_needed}: not ESS_rel but "
        "the number of effective rollouts grows"
    )


def less_sharp(advice: Advice, goal: float = 0.0) -> str:
    """Eta down to the largest feasible one; without a search, or where that is no limit, down.

    No law takes ESS_rel from one value to another: ln ESS_rel ∝ −η² needs b = μ and Gaussian
    log-weights, and a 0/1 utility is far from it.
    """
    eta, limit = advice.eta, advice.eta_max
    if advice.budget is not None:
        return f"lower the KL budget, operator.action.weights.budget, from {advice.budget:g} nats"
    down = "lower eta" if eta is None else f"lower eta from {eta:.3g}"
    held = _kept_at(advice, goal)
    if limit is None or held < goal or (eta is not None and eta <= limit):
        return down + _by_anchors(None, advice)
    keeps = f"keeps the median ESS_rel at {held:g}" if held > 0 else "is feasible"
    if limit == 0:
        return f"change the anchor or the proposal: no eta {keeps} here"
    if limit == inf:
        return down
    return f"{down} to at most {limit:.3g}, which {keeps} here{_by_anchors(limit, advice)}"


def _kept_at(advice: Advice, goal: float) -> float:
    return goal if advice.eta_goal is None else advice.eta_goal


def _by_anchors(eta: float | None, advice: Advice) -> str:
    """The same sharpness as the two coefficients that make it, at their fixed proportion."""
    if advice.anchors is None:
        return ""
    tau, beta = advice.anchors
    if eta is None:
        return f": tau + beta up from {tau + beta:.3g}, at their proportion"
    scale = 1.0 / eta / (tau + beta)
    return f": tau + beta from {tau + beta:.3g} to {1 / eta:.3g}" + (
        f" (tau {tau * scale:.3g}, beta {beta * scale:.3g})"
    )


def closer_proposal(leg: float, summary: Summary) -> str:
    """Refresh, or mend the engine when its mismatch explains most of the gap.

    After a refresh π = π_old, so that only the engine's mismatch is left between π and μ.
    """
    mismatch = None if summary.mismatch is None else summary.mismatch.ess_rel
    share = _mismatch_share(leg, summary)
    if share is not None and share >= 0.5:
        alone = "" if mismatch is None else f" alone gives ESS_rel {mismatch:.2f},"
        return (
            f"mend the sampling engine: its mismatch with the training forward{alone} about "
            f"{share:.0%} of the gap; refreshing mu cannot remove it"
        )
    left = "1, but for engine mismatch," if mismatch is None else f"about {mismatch:.2f}"
    return (
        f"refresh mu from the current policy (the leg returns to {left} at the refresh), or take "
        "fewer updates per batch, or a lower learning rate"
    )


def _mismatch_share(leg: float, summary: Summary) -> float | None:
    """How much of the gap between π and μ is engine mismatch, in [0, 1]; None where unknown.

    By the KLs per token where both gaps have them: long sequences drive both ESS to 1/K, which
    leaves nothing to compare. Else by the logs of the ESS.
    """
    engine, travel = summary.mismatch, summary.staleness
    if engine is None:
        return None
    if travel is not None and engine.k3 is not None and travel.k3 is not None:
        total = engine.k3 + travel.k3
        return engine.k3 / total if total > 0 else None
    if engine.ess_rel is not None and 0 < engine.ess_rel < 1 and 0 < leg < 1:
        return min(log(engine.ess_rel) / log(leg), 1.0)
    return None


def closer_policy(
    proposal: float | None, policy: float | None, goal: float, summary: Summary, advice: Advice
) -> str:
    """Approach a target that is far from the policy.

    Where π and μ are apart, no sharpness closes that part of the gap; moving π to μ makes this leg
    the target/proposal one, exactly (docs/equations.md C.12).

    Args:
        proposal: The target/proposal leg.
        policy: The policy/proposal leg.
        goal: The bound that was missed.
        summary: The batch.
        advice: Known numbers.
    """
    if policy is None or policy >= goal:
        return f"approach in stages: {less_sharp(advice, goal)}, and sharpen as the policy follows"
    share = _mismatch_share(policy, summary)
    if share is not None and share >= 0.5:
        return (
            f"mend the sampling engine first, about {share:.0%} of the gap between pi and mu: "
            "without that gap this leg is the target/proposal one; no eta closes it"
        )
    reads = "" if proposal is None else f", {proposal:.2f},"
    return (
        "close the gap between pi and mu first: start nearer (fit the policy to the proposal's "
        "data), or take fewer updates per batch or a lower learning rate. At pi = mu this leg is "
        f"the target/proposal one{reads} and a refresh of mu alone brings it there only where mu "
        "is the target's anchor; no eta closes that gap"
    )


def wider_policy() -> str:
    """For a target/policy leg of 0: log π = −∞ where q* > 0 (docs/equations.md C.12)."""
    return (
        "start from a policy that reaches them (score log_policy without top-k, top-p or masks), "
        "or leave them out of the target's support; no eta lifts a leg of 0"
    )


ENOUGH = 64
"""Prompts with a signal at which a pool at K = 8 begins to tell stable from dominated."""


def more_evidence(summary: Summary, prompts: int) -> str:
    """More prompts in the pool, then more rollouts each, and what makes blind prompts tell.

    Args:
        summary: The batch.
        prompts: Prompts with a signal that were read.
    """
    hint = _sight(summary)
    if not prompts:
        return hint or "draw other prompts"
    wanted = ENOUGH if prompts < ENOUGH else 4 * prompts
    text = (
        f"pool more steps ({prompts} prompts with a signal now, {wanted} narrow it), then raise K"
    )
    return f"{text}; {hint}" if hint else text


def more_sight(summary: Summary) -> str:
    """What makes blind contexts informative; more contexts of the kind leave their share."""
    return _sight(summary) or "draw prompts whose rollouts differ in reward, or grade finer"


def _sight(summary: Summary) -> str:
    counts = summary.contexts
    if counts.singleton is None:
        return "give the group or prompt id of every rollout, so that groups are known"
    if counts.informative is None:
        return "give a reward of every rollout"
    blind = counts.zero_information or 0
    if counts.total and counts.singleton == counts.total:
        return "draw several rollouts of every prompt: one alone has nothing to differ from"
    if counts.all_fail and counts.all_fail >= blind / 2:
        k = counts.candidates_per_context.get("median")
        more = f" beyond {k:g}" if k is not None else ""
        return (
            f"{_prompts(counts.all_fail)} never succeed{_s(counts.all_fail)}: raise K{more} (a "
            "success rate p is seen with probability 1 - (1 - p)^K) or give easier prompts or "
            "partial credit"
        )
    if counts.all_pass and counts.all_pass >= blind / 2:
        return f"{_prompts(counts.all_pass)} always succeed{_s(counts.all_pass)}: give harder ones"
    return ""


def _prompts(n: int) -> str:
    return "1 prompt" if n == 1 else f"{n} prompts"


def _s(n: int) -> str:
    return "s" if n == 1 else ""
