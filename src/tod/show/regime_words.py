"""A regime in words, from its plain data: legs with intervals, words by sharpness, the pool."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tod.base.text import fixed, plainly
from tod.show.words import VERDICTS

__all__ = ["before", "by_eta", "certificate", "leg_lines", "pooled", "regime_line"]
__all__ += ["settled", "stated"]

WORDS = {
    "stable": "stable",
    "transition": "transition",
    "dominated": "dominated",
    "not_readable": "not readable",
    "not_recorded": "not recorded",
    "declared": "on-policy by declaration",
    "not_applicable": "does not apply",
}
"""How the word of a leg is written."""
OF = "of the median prompt"


def stated(interval: Mapping[str, Any] | None) -> str:
    """``0.81 (0.76 to 0.86)``; ``not above 0.58`` where nothing bounds it from below.

    >>> stated({"low": 0.76, "value": 0.81, "high": 0.86}), stated({"low": 0.0, "high": 0.58})
    ('0.81 (0.76 to 0.86)', 'not above 0.58')
    """
    if interval is None:
        return ""
    low, value, high = (interval.get(end) for end in ("low", "value", "high"))
    if not low:
        return "" if high is None or high >= 1 else f"not above {fixed(high)}"
    if value is None:
        return f"at least {fixed(low)}"
    return f"{fixed(value)} ({fixed(low)} to {fixed(1.0 if high is None else high)})"


def leg_lines(regime: Mapping[str, Any]) -> list[str]:
    """A clause for every leg that says something of its own.

    With π = μ declared target/policy is target/proposal, and is not told twice; without the policy
    it is as little recorded as staleness. A leg that does not apply is not told. The first interval
    says whose it is.
    """
    return _clauses(_told(regime))


def settled(regime: Mapping[str, Any]) -> str:
    """The clauses of the legs that stand in the way of no verdict; the reasons tell the others.

    Of an assumed target the words by sharpness tell target/proposal.
    """
    held = [item for item in _told(regime) if item["word"] in ("stable", "declared")]
    if regime["eta_intervals"]:
        held = [item for item in held if item["leg"] != "target_proposal"]
    return "; ".join(_clauses(held))


def certificate(regime: Mapping[str, Any]) -> str:
    """What the declared range of the reward guarantees of every prompt; empty without one."""
    bound = next((ess["bound"] for _, ess in _read(regime) if ess.get("bound") is not None), None)
    return "" if bound is None else f"every prompt is at least {fixed(bound)} by the reward's range"


def by_eta(intervals: list[dict[str, Any]], name: str = "eta") -> str:
    """``target/proposal stable for eta <= 1.2, transition to 2.9, not readable above``.

    The words are those of target/proposal where they were kept, else of the verdict; empty without
    intervals.
    """
    parts = [
        (word, max(item["eta"][1] for item in part))
        for word, part in ((w, list(p)) for w, p in groupby(intervals, _word_at))
    ]
    if not parts:
        return ""
    leg = "target/proposal " if "target_proposal" in intervals[0] else ""
    if len(parts) == 1:
        return f"{leg}{parts[0][0]} for every {name} tried (up to {plainly(parts[0][1])})"
    (word, end), *middle, (last, _) = parts
    said = [f"{word} for {name} <= {plainly(end)}", *(f"{w} to {plainly(e)}" for w, e in middle)]
    return f"{leg}{', '.join(said)}, {last} above"


def pooled(data: Mapping[str, Any]) -> str:
    """``steps 9 to 20 pooled``; empty for one step, and where nothing was pooled."""
    pool = data.get("pool")
    if not pool or pool["first"] == pool["last"]:
        return ""
    late = pool.get("policy_first", pool["first"])
    policy = f", the policy's legs from {late}" if late != pool["first"] else ""
    return f"steps {pool['first']} to {pool['last']} pooled{policy}"


def before(data: Mapping[str, Any]) -> str:
    """What target/proposal was before the last dated change; empty where nothing changed."""
    early = data.get("regime_before")
    if not early:
        return ""
    first, last = early.get("steps") or (None, None)
    which = "Before that" if first is None else f"Step {first}"
    which += f"-{last}" if first != last else ""
    which = which.replace("Step ", "Steps ") if first != last else which
    told = by_eta(early["eta_intervals"]) or next(iter(leg_lines(early)), early["verdict"])
    return f"{which}: {told}."


def regime_line(data: Mapping[str, Any]) -> str:
    """All that is to be said of the regime in a few lines: guarantee, word, intervals, pool.

    Args:
        data: A diagnosis as plain data.
    """
    regime, target = data["regime"], data["target"]
    if target is None:
        return "Regime: not readable from these files (needs a reward)."
    assumed = target["source"] == "assumed"
    eta = next((tilt["eta"] for tilt in target["tilts"] if tilt["eta"] is not None), None)
    which = "" if eta is None else f" at eta = {plainly(eta)}{' (assumed)' if assumed else ''}"
    intervals = regime["eta_intervals"] if assumed else []
    said = _said(regime, intervals)
    known = regime["verdict"] if not intervals and regime["verdict"] != "undetermined" else None
    name = f"{VERDICTS[known].name}; " if known else ""
    pool = pooled(data)
    line = f"Regime{which}: {name}{said}{f' ({pool})' if pool else ''}."
    return f"{line} {before(data)}".rstrip()


def _said(regime: Mapping[str, Any], intervals: list[dict[str, Any]]) -> str:
    """Guarantee, legs or words by sharpness, and what no leg sees."""
    legs = leg_lines(regime)
    told = by_eta(intervals)
    if told:
        legs = [told, *(line for line in legs if not line.startswith("target/proposal"))]
    if not legs:
        legs = [item["why"] for item in regime["reasons"][:1]]
    return "; ".join(part for part in (certificate(regime), *legs, _beyond(regime)) if part)


BEYOND = {
    "zero_information",
    "trust_region",
    "missed_policy",
    "wrong_log_probs",
    "missed_mode",
    "low_reverse",
    "missing_mass",
}
"""Reasons that no leg tells of."""


def _beyond(regime: Mapping[str, Any]) -> str:
    """The first reason that no leg tells of."""
    whys = (item["why"] for item in regime["reasons"] if item.get("kind") in BEYOND)
    return next(whys, "")


def _told(regime: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The legs that say something of their own."""
    told = [item for item in _legs(regime) if item["word"] != "not_applicable"]
    policy = next((item["word"] for item in told if item["leg"] == "policy_proposal"), None)
    if policy in ("declared", "not_recorded"):
        told = [item for item in told if item["leg"] != "target_policy"]
    return told


def _clauses(told: Sequence[Mapping[str, Any]]) -> list[str]:
    """A clause for every leg; the first with an interval says whose it is."""
    said = [_clause(item) for item in told]
    whys = [item["why"] for item in told]
    for place, item in enumerate(told):
        if item["why"] is not None and item["why"] in whys[:place]:
            said[place] = f"{item['leg'].replace('_', '/')} likewise"
    first = next((i for i, item in enumerate(told) if _has_number(item)), None)
    if first is not None:
        said[first] += f" {OF}"
    return said


def _legs(regime: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(regime.get("legs") or ())


def _read(regime: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for item in _legs(regime):
        if item.get("ess"):
            yield item, item["ess"]


def _has_number(item: Mapping[str, Any]) -> bool:
    readable = item["word"] in ("stable", "transition", "dominated")
    return readable and item["why"] is None and bool(stated((item["ess"] or {}).get("median")))


def _clause(item: Mapping[str, Any]) -> str:
    """``target/proposal stable: 0.81 (0.76 to 0.86)``, ``staleness not recorded``."""
    name, word = item["leg"].replace("_", "/"), item["word"]
    if word == "declared":
        return WORDS[word]
    if word == "not_recorded":
        return f"{'staleness' if item['leg'] == 'policy_proposal' else name} {WORDS[word]}"
    if word == "no_interval":
        top = stated((item["ess"] or {}).get("median"))
        return f"{name} {top or 'a point'}, without a lower end"
    number = item["why"] or stated((item["ess"] or {}).get("median"))
    return f"{name} {WORDS[word]}{': ' if number else ''}{number}"


def _word_at(interval: Mapping[str, Any]) -> str:
    """The word of an interval of sharpness; what is undetermined is not readable."""
    word = interval.get("target_proposal")
    if word is not None:
        return WORDS[word]
    return SHORT[interval["verdict"]]


SHORT = {
    "swap_stable": "stable",
    "transition": "transition",
    "operator_dominated": "dominated",
    "undetermined": "not readable",
}
"""A verdict as the word of a leg."""
