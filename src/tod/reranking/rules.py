"""Rules of selection by the names that people use for them."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from tod.base import SpecError, concrete, explain, parse_yaml, tagged
from tod.operators import SelectionRule

WORDS = {
    "best_of_n": "best_of_k",
    "bon": "best_of_k",
    "sir": "resample",
    "soft_best_of_n": "resample",
    "soft_best_of_k": "resample",
    "rejection_sampling": "rejection",
    "vote": "majority_vote",
    "majority": "majority_vote",
    "self_consistency": "majority_vote",
    "best_of_n_weighted": "weighted_vote",
    "mbr": "minimum_bayes_risk",
}
"""Other words for the kinds of rules."""


def kinds() -> tuple[str, ...]:
    """Name of every rule that selects among finished answers."""
    every = cast("tuple[type[SelectionRule], ...]", concrete(SelectionRule))
    rules = (rule for rule in every if not rule.while_drawing)
    return tuple(sorted(rule.model_fields["kind"].default for rule in rules))


def rule_of(given: str | SelectionRule) -> SelectionRule:
    """A rule from its name, or from YAML such as ``{kind: rejection, log_bound: 5}``.

    Raises:
        SpecError: It is none; with the nearest name.
    """
    if isinstance(given, SelectionRule):
        return given
    if given.lstrip().startswith("{"):
        return _parsed(parse_yaml(given, f"--rule {given!r:.200}"), given)
    name = given.strip().lower().replace("-", "_")
    kind = WORDS.get(name, name)
    if kind not in kinds():
        near = get_close_matches(name, kinds(), 1, 0.7) or get_close_matches(name, WORDS, 1, 0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(
            f"--rule {given[:60]!r}: no such rule.{hint} Rules: {', '.join(kinds())}; also "
            f"{', '.join(WORDS)}."
        )
    return _parsed({"kind": kind}, given)


def _parsed(data: Any, given: str) -> SelectionRule:
    try:
        found: SelectionRule = TypeAdapter(tagged(SelectionRule)).validate_python(data)
    except ValidationError as error:
        by_kind = {rule.model_fields["kind"].default: rule for rule in concrete(SelectionRule)}
        model = by_kind.get(data.get("kind") if isinstance(data, dict) else None, SelectionRule)
        raise SpecError(explain(error, model, f"--rule {given:.200}", data)) from None
    if found.while_drawing:
        raise SpecError(
            f"--rule {given:.200}: {found.kind} resamples answers while they are drawn, and these "
            f"are finished. Search with it (tod search), or use `resample`. Rules: "
            f"{', '.join(kinds())}."
        )
    return found


def rules_of(
    given: str | SelectionRule | Sequence[str | SelectionRule],
) -> dict[SelectionRule, str]:
    """Several rules, each once, in the order in which they were named, and what to call each.

    A rule is called by the word that named it; without one, by its kind and what is not usual.

    Raises:
        SpecError: One is no rule, or there is none.
    """
    several = (given,) if isinstance(given, str | SelectionRule) else tuple(given)
    found: dict[SelectionRule, str] = {}
    for rule, name in (pair for one in several for pair in _split(one)):
        found.setdefault(rule, name)
    if not found:
        raise SpecError("no rule was named: --rule best_of_k, for instance.")
    return found


def _split(given: str | SelectionRule) -> Iterator[tuple[SelectionRule, str]]:
    """``best_of_k,vote`` is two rules."""
    if isinstance(given, SelectionRule) or given.lstrip().startswith("{"):
        rule = rule_of(given)
        yield rule, title(rule)
        return
    for word in filter(str.strip, re.split(r",(?![^{]*\})", given)):
        if "{" in word:
            yield from _split(word)
        else:
            yield rule_of(word), word.strip()


def title(rule: SelectionRule) -> str:
    """The rule's name as a row shows it."""
    told = rule.model_dump(exclude={"kind"}, exclude_defaults=True)
    plain = {name: value for name, value in told.items() if isinstance(value, int | float)}
    return rule.kind + "".join(f" {name}={value:g}" for name, value in plain.items())
