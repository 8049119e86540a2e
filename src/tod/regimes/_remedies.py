"""What to turn, and what to expect of it: the second half of every reason."""

from dataclasses import dataclass
from math import ceil, log, sqrt

from tod.diagnostics.summary import Summary


@dataclass(frozen=True)
class Advice:
    """Numbers that make a remedy concrete; each may be unknown.

    Attributes:
        eta: The sharpness in force.
        eta_max: The largest feasible sharpness on these candidates.
        k_needed: Candidates per context needed for the effective number wanted.
        k: Candidates per context, median.
    """

    eta: float | None = None
    eta_max: float | None = None
    k_needed: int | None = None
    k: float | None = None


def less_sharp(value: float, goal: float, advice: Advice) -> str:
    """Eta down to what is feasible; without a search, by the Gaussian law ln ESS_rel ∝ −η²."""
    text = _eta_down(value, goal, advice)
    if advice.k_needed is not None:
        now = f" from {advice.k:g}" if advice.k is not None else ""
        text += (
            f"; or raise K{now} to about {advice.k_needed}: the same ESS_rel, enough effective "
            "candidates"
        )
    return text


def _eta_down(value: float, goal: float, advice: Advice) -> str:
    current = f" from {advice.eta:.4g}" if advice.eta is not None else ""
    if advice.eta_max is not None and advice.eta_max == advice.eta_max:
        if advice.eta is not None and advice.eta_max >= advice.eta:
            return (
                f"eta = {advice.eta:.4g} is already feasible (up to {advice.eta_max:.4g}): change "
                "the anchor or the proposal, not eta"
            )
        return f"lower eta{current} to at most {advice.eta_max:.4g}, the largest feasible one here"
    if 0 < value < 1 and 0 < goal < 1:
        factor = sqrt(log(goal) / log(value))
        to = f" to about {advice.eta * factor:.4g}" if advice.eta is not None else ""
        return (
            f"lower eta{current}{to} (times {factor:.2f} brings ESS_rel from {value:.2f} to about "
            f"{goal:.2f} if log-weights are near Gaussian)"
        )
    return f"lower eta{current}"


def closer_proposal(leg: float, summary: Summary) -> str:
    """Refresh, or mend the engine when its mismatch explains most of the gap."""
    mismatch = None if summary.mismatch is None else summary.mismatch.ess_rel
    if mismatch is not None and 0 < mismatch < 1 and 0 < leg < 1:
        share = log(mismatch) / log(leg)
        if share >= 0.5:
            return (
                f"mend the sampling engine: its mismatch with the training forward alone gives "
                f"ESS_rel {mismatch:.2f}, about {min(share, 1.0):.0%} of the log gap; refreshing "
                "mu cannot remove it"
            )
    return (
        "refresh mu from the current policy (the leg returns to 1 at the refresh), or take fewer "
        "updates per batch, or a lower learning rate"
    )


def closer_policy(policy_proposal: float | None, leg: float, goal: float, advice: Advice) -> str:
    """Approach a target that is far from the policy."""
    if policy_proposal is not None and policy_proposal < goal:
        return (
            "start nearer: sample from the policy itself, or first fit the policy to the "
            "proposal's data (both q* legs then start from the same place); "
            + _eta_down(leg, goal, advice)
        )
    return f"approach in stages: {_eta_down(leg, goal, advice)} and sharpen as the policy follows"


def more_evidence(summary: Summary, wanted: int) -> str:
    """How many more contexts, and what would make blind ones informative."""
    counts = summary.contexts
    if counts.informative:
        batches = ceil(wanted / counts.informative)
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
