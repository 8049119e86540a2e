"""What a reading does not tell, in the words of its format."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tod.base import Unknown
from tod.diagnosis.feasible import unknown_in, words_of_limit
from tod.formats.reading import Reading
from tod.population import FeasibleEta
from tod.procedure import Examined


def cannot(
    reading: Reading,
    examined: Examined,
    feasible: Mapping[str, Any] | None,
    population: FeasibleEta | None,
) -> tuple[Unknown, ...]:
    """Every number of a diagnosis that is None, with its reason, each once."""
    found = [
        *examined.unknown,
        *_no_sharpness(examined, feasible, population),
        *_no_text(reading),
    ]
    seen: dict[str, Unknown] = {}
    for item in found:
        item = _no_gate(reading, item) if item.what == "activation" else item
        seen.setdefault(item.what, in_words(reading, item))
    return tuple(seen.values())


def in_words(reading: Reading, item: Unknown) -> Unknown:
    """What would make it known, as this format can record it; of either name the first it knows."""
    words = [reading.needs[name] for name in item.lacks.split("|") if name in reading.needs]
    return replace(item, needs=words[0]) if words else item


def _no_sharpness(
    examined: Examined, feasible: Mapping[str, Any] | None, population: FeasibleEta | None
) -> Iterator[Unknown]:
    nothing = next((u for u in examined.unknown if u.what == "ess_rel"), None)
    if feasible is None:
        if nothing is not None:
            yield replace(nothing, what="feasible")
        return
    yield from unknown_in(feasible, population)
    what, goal = "feasible.eta_max", feasible["ess_rel_target"]
    if feasible["eta_max"] is not None:
        return
    if nothing is not None:
        yield replace(nothing, what=what)
    elif feasible["attained"] == "never":
        why = f"the median ESS_rel is below {goal:g} at every eta: the anchor is far from mu"
        yield Unknown(what, why, "an anchor nearer to mu, or a nearer proposal", "impossible")
    elif feasible["attained"] == "unbounded":
        why = f"the median ESS_rel stays at {goal:g} at every eta: ties at the best utility"
        near = words_of_limit(feasible, goal)
        why = why if near is None else f"{near}, which is {goal:g} within its error"
        yield Unknown(what, why, "nothing: no sharpness is too much here", "unbounded")
    elif examined.weights is not None and examined.weights.declared is None:
        why = "the target's selectivity finds an eta for every prompt: there is no single one"
        yield Unknown(what, why, "a target with an eta of its own", "not_applicable")
    else:
        why = "the target has no tilt: its anchors alone shape it, and no eta"
        yield Unknown(what, why, "a target with an eta of its own", "not_applicable")


def _no_text(reading: Reading) -> Sequence[Unknown]:
    if reading.read_texts is not None:
        return ()
    what, needs = "worst_contexts.prompt", "prompt and completion columns"
    return (Unknown(what, "the files hold no text", needs, lacks="text"),)


def _no_gate(reading: Reading, item: Unknown) -> Unknown:
    """Gates need a trust region, a utility, and log-probs of two policies token by token."""
    if item.kind != "not_declared" or reading.gate is None:
        return item
    if not reading.utility:
        return Unknown(item.what, "no reward tells the sign of the advantage", "a reward")
    why = "this gate reads every token, and only sums over sequences are recorded"
    needs = "log_policy_tokens and log_old_tokens columns"
    return Unknown(item.what, why, needs)
