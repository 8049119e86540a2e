"""What a reading does not tell, in the words of its format."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tod.base import Unknown
from tod.formats.reading import Reading
from tod.procedure import Examined
from tod.regimes import Largest


def cannot(
    reading: Reading, examined: Examined, goal: float, largest: Largest | None
) -> tuple[Unknown, ...]:
    """Every number of a diagnosis that is None, with its reason, each once."""
    found = [
        *examined.unknown,
        *_no_sharpness(examined, goal, largest),
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


def _no_sharpness(examined: Examined, goal: float, largest: Largest | None) -> Iterator[Unknown]:
    nothing = next((u for u in examined.unknown if u.what == "ess_rel"), None)
    if largest is None:
        if nothing is not None:
            yield replace(nothing, what="feasible")
        return
    what = "feasible.eta_max"
    if largest.eta is not None:
        return
    if nothing is not None:
        yield replace(nothing, what=what)
    elif largest.attained == "never":
        why = f"the median ESS_rel is below {goal:g} at every eta: the anchor is far from mu"
        yield Unknown(what, why, "an anchor nearer to mu, or a nearer proposal", "impossible")
    elif largest.attained == "unbounded":
        why = f"the median ESS_rel stays at {goal:g} at every eta: ties at the best utility"
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
