"""Verdicts in words."""

from typing import Any

VERDICTS = {
    "swap_stable": "stable",
    "transition": "transition",
    "operator_dominated": "dominated",
    "undetermined": "undetermined",
}
"""Verdict → class of its colour."""

_SHORT = {
    "swap_stable": "swap-stable",
    "transition": "transition",
    "operator_dominated": "operator-dominated",
    "undetermined": "undetermined",
}

_SEARCHED = {
    "swap_stable": "Rules that select for this target should be interchangeable here.",
    "transition": "Between the regimes: how the rule selects may matter as much as the target.",
    "operator_dominated": "The rule that selects, not the target, decides what is put out here.",
}
"""Verdicts where nothing is trained."""

_SENTENCE = {
    "swap_stable": "Operators that share this target should be interchangeable here.",
    "transition": "Between the regimes: how the operator works may matter as much as the target.",
    "operator_dominated": "The operator, not the target, decides what is learned here.",
    "undetermined": "The data do not tell which regime this is.",
}


def short(verdict: object) -> str:
    """The verdict as people write it."""
    return _SHORT.get(str(verdict), "not judged")


def sentence(verdict: object, *, searched: bool = False) -> str:
    """What the verdict means, in a sentence; of a run that selected, if ``searched``."""
    known = _SENTENCE | _SEARCHED if searched else _SENTENCE
    return known.get(str(verdict), "No step of this run was judged.")


def colour(verdict: object) -> str:
    """The class of the verdict's colour."""
    return VERDICTS.get(str(verdict), "undetermined")


def last_regime(steps: list[dict[str, Any]]) -> tuple[int, dict[str, Any]] | None:
    """The last record that was judged: its step and its regime."""
    for record in reversed(steps):
        regime = record.get("regime")
        if isinstance(regime, dict) and regime.get("verdict"):
            return int(record["step"]), regime
    return None
