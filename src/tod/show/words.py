"""A diagnosis in words, for the terminal and the page alike: verdict, target, further measures."""

from dataclasses import dataclass
from typing import Any

from tod.base.text import plainly
from tod.runs.facts import listed


@dataclass(frozen=True)
class VerdictWords:
    """How a verdict is written.

    Attributes:
        name: As people write it.
        colour: The class of its colour on a page.
        style: Its colour in a terminal.
        means: What it means, in a sentence.
        searched: The same of a run that selects and trains nothing.
    """

    name: str
    colour: str
    style: str
    means: str
    searched: str = ""


VERDICTS = {
    "swap_stable": VerdictWords(
        "swap-stable",
        "stable",
        "green",
        "Operators that share this target should be interchangeable here.",
        "Rules that select for this target should be interchangeable here.",
    ),
    "transition": VerdictWords(
        "transition",
        "transition",
        "yellow",
        "Between the regimes: how the operator works may matter as much as the target.",
        "Between the regimes: how the rule selects may matter as much as the target.",
    ),
    "operator_dominated": VerdictWords(
        "operator-dominated",
        "dominated",
        "red",
        "The operator, not the target, decides what is learned here.",
        "The rule that selects, not the target, decides what is put out here.",
    ),
    "undetermined": VerdictWords(
        "undetermined", "undetermined", "magenta", "The data do not tell which regime this is."
    ),
}

_UNJUDGED = VerdictWords(
    "not judged", "undetermined", "bright_black", "No step of this run was judged."
)


def verdict_words(name: object) -> VerdictWords:
    """How a verdict of a record is written; of one without, that it was not judged."""
    return VERDICTS.get(str(name), _UNJUDGED)


def sentence(name: object, *, searched: bool = False) -> str:
    """What the verdict means, in a sentence; of a run that selected, if ``searched``."""
    found = verdict_words(name)
    return (searched and found.searched) or found.means


def target(found: dict[str, Any] | None) -> str:
    """The target as q* ∝ anchor · exp(tilts)."""
    if found is None:
        return "none, there is no reward to tilt by"
    anchor, tilts = found["anchor"], found["tilts"]
    if "weights" in anchor:
        base = " + ".join(f"{w:.4g} {name}" for name, w in anchor["weights"].items())
        base = f"({base})" if len(anchor["weights"]) > 1 else base
    else:
        parts = (name if rho == 1 else f"{name}^{rho:.4g}" for name, rho in anchor.items())
        base = " · ".join(parts)
    etas = ["eta_c" if item["eta"] is None else f"{item['eta']:.4g}" for item in tilts]
    tilt = " + ".join(f"{eta} {item['utility']}" for eta, item in zip(etas, tilts, strict=True))
    support = "".join(f" on {name}" for name in found["support"])
    return f"q* ∝ {base}{f' · exp({tilt})' if tilts else ''}{support}"


def steps(span: list[int] | None) -> str:
    """First and last step; files that tell no steps apart have all at 0, or at −1."""
    if span is None:
        return "no steps"
    first, last = span
    if first == last:
        return f"step {first}" if first > 0 else "one step"
    return f"steps {first} to {last}"


def sharpness(found: dict[str, Any] | None) -> str:
    """What a number of sharpness is: the one tilt's η, or the sum over several."""
    return "eta" if found is None or len(found["tilts"]) < 2 else "the sum of all |eta|"


def measures(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every measure that is known."""
    found = _gate(data["gate"])
    below = data["below"]
    if below is not None:
        low, high = below["share_ci90"]
        found.append(
            (
                f"below {below['ess_rel']:g}",
                f"{below['count']} of {below['contexts']} prompts: {below['share']:.1%} "
                f"[{low:.1%}, {high:.1%}]",
            )
        )
    drawn = data["bootstrap"]
    if drawn is not None:
        parts = [f"{name} {listed(drawn[f'{name}_ci90'])}" for name in ("median", "q10", "mean")]
        found.append(("bootstrap", f"{', '.join(parts)} ({drawn['resamples']} resamples)"))
    weights = data["weights"]
    if weights is not None:
        orders = weights["ess_rel_alpha"]
        family = ", ".join(plainly(value) for value in orders.values())
        found.append(
            (
                "weights",
                f"KL(q*, mu) {plainly(weights['kl_target_proposal'])}, KL(mu, q*) "
                f"{plainly(weights['kl_proposal_target'])}, chi2 {plainly(weights['chi2'])}, log Z "
                f"{plainly(weights['log_z'])}; ESS_rel of order {', '.join(orders)}: {family}",
            )
        )
    parts = [
        f"{item['utility']} {plainly(item['median'])} (q10 {plainly(item['q10'])}, eta "
        f"{item['eta']:.3g})"
        for item in data["per_utility"]
    ]
    if parts:
        found.append(("each alone", f"ESS_rel {', '.join(parts)}"))
    return found + _diversity(data["diversity"])


def _gate(found: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What a trust region takes, by sign of the advantage."""
    if found is None:
        return []
    region, (first, second) = found["trust_region"], found["of"]
    knobs = ", ".join(f"{k} {v:g}" for k, v in region.items() if k != "kind" and v is not None)
    level = "" if found["level"] == "token" else f" of the {found['level'].replace('_', ' ')}"
    either = f"{found['either']:.2%} at the worse sign of A"
    text = f"{region['kind'].replace('_', ' ')} ({knobs}) on {first}/{second}{level} takes "
    if found["activation"] is None:
        return [("activation", f"{text}{either}; no reward tells the sign")]
    text += f"{found['activation']:.2%} of {found['tokens']} tokens: {found['positive']:.2%} where "
    return [("activation", f"{text}A > 0, {found['negative']:.2%} where A < 0 ({either})")]


def _diversity(found: dict[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    parts = []
    if found["unique_answers"] is not None:
        parts.append(f"unique answers {found['unique_answers']:.1%}")
    texts = found["texts"]
    if texts is not None:
        parts.append(
            f"unique texts {plainly(texts['unique_texts'])}, distinct-1 "
            f"{plainly(texts['distinct_1'])}, distinct-2 {plainly(texts['distinct_2'])}, self-BLEU "
            f"{plainly(texts['self_bleu'])} (words, {texts['contexts']} prompts)"
        )
    return [("diversity", "; ".join(parts))]
