"""Decisive facts of a configuration, in words that are no framework's own.

A fact is a value, `OPEN` where it depends on what only the caller or the machine knows, or missing
where this truth cannot say it; a missing fact is not scored.
"""

from typing import Any

OPEN = "?"

NAMES = (
    "method",
    "estimator",
    "loss",
    "pull_place",
    "pull_kind",
    "beta",
    "advantage",
    "whitened",
    "level",
    "region",
    "clip_low",
    "clip_high",
    "dual_c",
    "aggregation",
    "K",
    "updates",
    "temperature",
    "top_p",
    "top_k",
    "entropy",
    "filter",
    "correction",
    "correction_cap",
    "bypass",
    "label_smoothing",
)
"""Every fact; what each one's values are is said where a framework's are made."""

Facts = dict[str, Any]


def number(value: Any) -> Any:
    """A number, `OPEN` for a text that was computed elsewhere, None for none."""
    if value is None or (isinstance(value, str) and value.lower() in ("null", "none")):
        return None
    if isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return OPEN


def flag(value: Any) -> Any:
    """A truth value, or `OPEN`."""
    if isinstance(value, str):
        low = value.strip().lower()
        if low in ("true", "1", "yes", "on"):
            return True
        return False if low in ("false", "0", "no", "off", "none", "null") else OPEN
    return bool(value)


def text(value: Any) -> Any:
    """A word, `OPEN` for one that was computed elsewhere or is empty."""
    said = str(value)
    return OPEN if said in ("", OPEN) or "TODOPEN" in said or "$" in said else said


def either(condition: Any, yes: Any, no: Any) -> Any:
    """A choice by a truth value that may be `OPEN`."""
    return OPEN if condition == OPEN else yes if condition else no


def ratio_up(all_of: Any, part: Any) -> Any:
    """⌈all/part⌉ as a whole number, at least 1; `OPEN` or None as its numbers are."""
    for value in (all_of, part):
        if value is None or value == OPEN:
            return value
    return max(1, -int(-all_of // part)) if part else None


def tidy(facts: Facts) -> Facts:
    """Facts that can be said, in the order of their names, whole numbers as such."""

    def plain(value: Any) -> Any:
        whole = isinstance(value, float) and value == int(value) and abs(value) < 1e15
        return int(value) if whole else value

    return {name: plain(facts[name]) for name in NAMES if facts.get(name) is not None}
