"""A reranking in words: the answer first, a line a rule, and the verdict's sentences."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tod.base.text import DASH
from tod.reranking.means import mean_over_contexts
from tod.reranking.verdict import values_of

if TYPE_CHECKING:
    from tod.reranking.doubling import Doubling
    from tod.reranking.ranked import Ranked
    from tod.reranking.rerank import Reranked

SPOKEN = {
    "best_of_k": "Best of {k}",
    "resample": "One draw by weight of {k}",
    "smc": "One draw by weight of {k} particles",
    "rejection": "Rejection of {k}",
    "majority_vote": "The vote of {k}",
    "weighted_vote": "The weighted vote of {k}",
    "minimum_bayes_risk": "Minimum Bayes risk of {k}",
}
"""How a sentence calls what a rule does with k candidates."""
BY_REWARD = ("best_of_k", "resample", "smc", "rejection")
"""Rules that choose at random among candidates of one reward."""


def measured(found: "Reranked") -> str:
    """Name of what is judged."""
    name = found.scored.gold_name if found.verdict.measure == "gold" else found.scored.name
    return f"the pass rate of {name}" if found.verdict.measure == "pass_rate" else str(name)


def headline(found: "Reranked") -> str:
    """Whether reranking helps, by how much, and whether more candidates would."""
    verdict, first = found.verdict, found.ranked[0]
    over = verdict.over_optimised
    who = SPOKEN[first.rule.kind].format(k=verdict.k)
    curve = found.of_rule(first)["curve"]
    before, after = curve[0], curve[-1]
    start, end = before[verdict.measure], after[verdict.measure]
    name = measured(found)
    if start is None or end is None:
        return f"{who} puts nothing out."
    if found.scored.alike == len(found.scored.contexts) and first.rule.kind in BY_REWARD:
        return (
            f"Nothing to select by: all candidates of a prompt have the same {found.scored.name}, "
            f"so that {first.name} draws one at random."
        )
    if over.answer == "yes":
        peak = next(point for point in curve if point["k"] == over.peak)
        return (
            f"{who} over-optimises {found.scored.name}: {name} is best at K = {over.peak} "
            f"({number(peak['gold'])}) and {number(end)} at {verdict.k}."
        )
    reached = interval(after, verdict.measure)
    if first.rule.while_drawing:
        return f"{who} reaches {name} {reached}; whether more would help is not known."
    return f"{who} {_moves(found)} {name} from {number(start)} to {reached}; {_more(found)}."


def _moves(found: "Reranked") -> str:
    """What happens from one candidate to all of them, by the paired difference."""
    change = gain(found, found.ranked[0])
    if change is None or change["ci95"] is None:
        return "takes"
    low, high = change["ci95"]
    return "raises" if low > 0 else "lowers" if high < 0 else "does not evidently move"


def gain(found: "Reranked", ranked: "Ranked") -> dict[str, Any] | None:
    """From one candidate to all of them, paired by prompt; None where prompts are left out.

    None too of candidates that depend on one another: one of them is no draw of one.
    """
    if ranked.rule.while_drawing:
        return None
    first, last = (values_of(ranked.outcomes[i], found.verdict.measure) for i in (0, -1))
    return None if first is None or last is None else mean_over_contexts(last - first)


def _more(found: "Reranked") -> str:
    k = found.verdict.k
    return {
        "yes": f"K = {k} is enough",
        "no": "more would help",
        "unknown": "not known whether more would help",
    }[found.verdict.enough]


def enough(found: "Reranked") -> str:
    """What the next doubling brings, or the last one did."""
    verdict = found.verdict
    word = {"yes": "Yes", "no": "No", "unknown": "Not known"}[verdict.enough]
    worth = f"(a doubling is worth {number(verdict.worth)})"
    following = verdict.next
    if found.ranked[0].rule.while_drawing:
        return "Not known: particles depend on one another. Search with twice as many"
    if following is None:
        if verdict.last is None:
            return "Not known: the rule refuses prompts, and there is no pass rate"
        return f"{word}, by the last doubling {worth}; the next one is not bounded for this rule"
    ends = following.ci95 or (following.low, following.high)
    if following.method == "twice":
        return f"{word}: {following.last} add at most {number(ends[1])}, twice the last {worth}"
    return f"{word}: {following.last} would add {number(ends[0])} to {number(ends[1])} {worth}"


def doubled(found: "Doubling") -> str:
    """A doubling that was seen."""
    ends = "" if found.ci95 is None else f" ({signed(found.ci95[0])} to {signed(found.ci95[1])})"
    return f"{found.first} to {found.last} brought {signed(found.low)}{ends}"


def selection(found: "Reranked") -> str:
    """How far what is put out is from the sampler."""
    verdict, first = found.verdict, found.ranked[0]
    shared = DASH if verdict.effective is None else f"{verdict.effective:.3g}"
    if first.rule.kind == "best_of_k":
        bound = f"at most {verdict.kl:.2f} nats from the sampler (log K - (K-1)/K)"
        return f"{bound}; {shared} of {verdict.k} share the best in the median prompt"
    if first.rule.kind == "majority_vote":
        return f"the winning answer has {shared} of {verdict.k} votes in the median prompt"
    eta = found.scored.sourced.eta
    at = "" if eta is None else f" at eta = {eta:.3g}"
    return f"{shared} of {verdict.k} candidates are effective in the median prompt{at}"


def over_optimised(found: "Reranked") -> str:
    """Whether selecting by the reward costs the second score."""
    over, gold = found.verdict.over_optimised, found.scored.gold_name
    if gold is None:
        return "Unknown: no second score (--gold COLUMN names one)"
    if over.loss is None:
        return f"Unknown: the rule leaves prompts out, so that {gold} is not of the same ones"
    grown = "" if over.gap is None else f"; the reward gained {number_of(over.gap)} more than it"
    k, peak = found.verdict.k, over.peak
    if over.answer == "yes":
        return f"Yes: at K = {k} {gold} is {number_of(over.loss)} off its best, at {peak}{grown}"
    if over.answer == "no":
        return f"No: {gold} still rose in the last doubling{grown}"
    return f"Not evident: {gold} is best at K = {peak}, a difference within the noise{grown}"


def number(value: float | None) -> str:
    """Three decimals below 10, else three digits; a dash for unknown."""
    if value is None:
        return DASH
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.3f}" if abs(value) < 10 else f"{value:+.3g}"


def interval(point: Mapping[str, Any], name: str) -> str:
    """``0.683 (0.62 to 0.74)``."""
    ends = point[f"{name}_ci95"]
    shown = number(point[name])
    return shown if ends is None else f"{shown} ({number(ends[0])} to {number(ends[1])})"


def number_of(mean: Mapping[str, Any]) -> str:
    """A mean and its interval."""
    ends = mean["ci95"]
    shown = number(mean["value"])
    return shown if ends is None else f"{shown} ({number(ends[0])} to {number(ends[1])})"


def differs(mean: Mapping[str, Any]) -> str:
    """A difference and its interval."""
    ends = mean["ci95"]
    shown = signed(mean["value"])
    return shown if ends is None else f"{shown} ({signed(ends[0])} to {signed(ends[1])})"
