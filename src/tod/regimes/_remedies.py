"""What to turn, and what to expect of it: the second half of every reason."""

from dataclasses import dataclass
from math import ceil, log, sqrt

from tod.diagnostics.summary import Summary


@dataclass(frozen=True)
class Advice:
    """Numbers that make a remedy concrete; each may be unknown.

    Attributes:
        eta: The sharpness in force.
        eta_max: The largest sharpness at which the median ESS_rel is at least ``eta_goal`` on
            these candidates.
        k_needed: Candidates per context needed for the effective number wanted.
        k: Candidates per context, median.
        eta_goal: ESS_rel that ``eta_max`` keeps; None means the bound that was missed.
        anchors: τ and β where sharpness is 1/(τ+β) and has no knob of its own.
    """

    eta: float | None = None
    eta_max: float | None = None
    k_needed: int | None = None
    k: float | None = None
    eta_goal: float | None = None
    anchors: tuple[float, float] | None = None


def less_sharp(value: float, goal: float, advice: Advice, *, median: bool = False) -> str:
    """Eta down to what is feasible; without a search, by the Gaussian law ln ESS_rel ∝ −η².

    Args:
        value: What was read.
        goal: What it should be; 1 or more where it is no ESS_rel.
        advice: Known numbers.
        median: Whether ``value`` is the median ESS_rel of q*/μ, which ``eta_max`` is about.
    """
    text = _eta_down(value, goal, advice, median=median)
    if advice.k_needed is not None:
        now = f" from {advice.k:g}" if advice.k is not None else ""
        text += (
            f"; or raise K{now} to about {advice.k_needed}: the same ESS_rel, enough effective "
            "candidates"
        )
    return text


def _eta_down(value: float, goal: float, advice: Advice, *, median: bool = False) -> str:
    eta, limit = advice.eta, advice.eta_max
    current = f" from {eta:.3g}" if eta is not None else ""
    reaches = advice.eta_goal is None or advice.eta_goal >= goal
    if limit is not None and limit == limit:
        too_sharp = eta is None or limit < eta
        if too_sharp and (reaches or not 0 < goal < 1):
            kept = (
                "" if advice.eta_goal is None else f" (it keeps the median at {advice.eta_goal:g})"
            )
            return (
                f"lower eta{current} to at most {limit:.3g}, the largest feasible one here{kept}"
                f"{_by_anchors(limit, advice)}"
            )
        if median and reaches and not too_sharp:
            return (
                f"eta = {eta:.3g} is already feasible (up to {limit:.3g}): change the anchor or "
                "the proposal, not eta"
            )
    if 0 < value < 1 and 0 < goal < 1 and value < goal:
        factor = sqrt(log(goal) / log(value))
        to = f" to about {eta * factor:.3g}" if eta is not None else ""
        return (
            f"lower eta{current}{to} (times {factor:.2f} brings ESS_rel from {value:.2f} to about "
            f"{goal:.2f} if log-weights are near Gaussian)"
            f"{'' if eta is None else _by_anchors(eta * factor, advice)}"
        )
    return f"lower eta{current}"


def _by_anchors(eta: float, advice: Advice) -> str:
    """The same sharpness as the two coefficients that make it, at their fixed proportion."""
    if advice.anchors is None or not eta > 0:
        return ""
    tau, beta = advice.anchors
    scale = 1.0 / eta / (tau + beta)
    return f": tau + beta from {tau + beta:.3g} to {1 / eta:.3g}" + (
        f" (tau {tau * scale:.3g}, beta {beta * scale:.3g})"
    )


def closer_proposal(leg: float, summary: Summary) -> str:
    """Refresh, or mend the engine when its mismatch explains most of the gap."""
    share = _mismatch_share(leg, summary)
    if share is not None and share >= 0.5:
        mismatch = summary.mismatch.ess_rel  # type: ignore[union-attr]
        alone = "" if mismatch is None else f" alone gives ESS_rel {mismatch:.2f},"
        return (
            f"mend the sampling engine: its mismatch with the training forward{alone} about "
            f"{share:.0%} of the gap; refreshing mu cannot remove it"
        )
    return (
        "refresh mu from the current policy (the leg returns to 1 at the refresh), or take fewer "
        "updates per batch, or a lower learning rate"
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


def closer_policy(policy_proposal: float | None, leg: float, goal: float, advice: Advice) -> str:
    """Approach a target that is far from the policy."""
    if policy_proposal is not None and policy_proposal < goal:
        return (
            "start nearer: sample from the policy itself, or first fit the policy to the "
            "proposal's data (both q* legs then start from the same place); "
            + _eta_down(leg, goal, advice)
        )
    return f"approach in stages: {_eta_down(leg, goal, advice)} and sharpen as the policy follows"


def more_evidence(summary: Summary, now: int, wanted: int) -> str:
    """How many more contexts, and what would make blind ones informative.

    Args:
        summary: The batch.
        now: Contexts that were read.
        wanted: Contexts that have to be read.
    """
    counts = summary.contexts
    if now:
        batches = ceil(wanted / now)
        text = f"pool about {batches} such batches"
    else:
        text = "draw other contexts"
    if counts.all_fail and counts.all_fail >= counts.zero_information / 2:
        k = counts.candidates_per_context.get("median")
        more = f" beyond {k:g}" if k is not None else ""
        return (
            f"{text}; {counts.all_fail} contexts never succeed: raise K{more} (a success rate p is "
            "seen with probability 1 - (1 - p)^K) or give easier contexts or partial credit"
        )
    if counts.all_pass and counts.all_pass >= counts.zero_information / 2:
        return f"{text}; {counts.all_pass} contexts always succeed: give harder ones"
    return text


def more_contexts(n: int, value: float, low: float, goal: float) -> int:
    """Contexts at which the interval's lower end would clear ``goal``: width shrinks as 1/√n."""
    return ceil(n * ((value - low) / (value - goal)) ** 2)
