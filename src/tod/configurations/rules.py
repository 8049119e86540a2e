"""Rules of a facts file: which value a part has, by the settings that a configuration gives."""

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tod.atlas.effects import ChangeKind
from tod.base import Spec, SpecError

__all__ = ["Cases", "Rules", "chosen", "equals", "filled", "holds", "value_of"]

Lookup = Callable[[str], Any]
"""The value of a setting in force, by its dotted name."""


class Case(Spec):
    """What a part is, under a condition."""

    when: dict[str, Any] = Field(default_factory=dict)
    """Settings and the value, or the values, of each; all of them hold. See `equals`."""
    then: Any = None
    """The part: plain data in which a text that begins with ``=`` is an expression."""
    outside: str = ""
    """Why it is not in the algebra; it then stands for no part."""
    unknown: str = ""
    """Why it is not known: it was not found in the framework's source."""


def _cases(given: Any) -> Any:
    """A list of cases; anything else is what it is in every case."""
    listed = isinstance(given, list) and all(
        isinstance(item, dict) and item.keys() & {"when", "then", "outside", "unknown"}
        for item in given
    )
    return given if listed and given else [{"then": given}]


Cases = Annotated[tuple[Case, ...], BeforeValidator(_cases)]
"""The first that holds decides."""


class Remark(Spec):
    """A change that a setting makes without saying so, or a note."""

    when: dict[str, Any] = Field(default_factory=dict)
    """When it is said; always if empty."""
    setting: str = ""
    """What makes it; a note has none."""
    effect: str
    """What it does."""
    kind: ChangeKind = "target"
    """See `SilentChange.kind`."""


class Rules(Spec):
    """A method of a framework: what every part of its triple is.

    A part of which no case holds is not known, with the value of the setting that `named` has for
    it.
    """

    kind: Literal["policy_gradient", "pairs", "supervised", "outside", "not_read", "trl"]
    """``outside``: nothing of it is in the algebra; ``not_read``: nothing of it is recorded;
    ``trl``: TRL trains it, with `fields`."""
    family: Cases = (Case(then="verifier_rl"),)
    """Row of Table 2."""
    detail: str = ""
    """Setting that says more of the method than its name."""
    why: str = ""
    """Of what is outside: why."""
    level: Cases = (Case(then="token"),)
    trust_region: Cases = (Case(then={"kind": "unbounded"}),)
    advantage: Cases = (Case(then={"kind": "group_mean"}),)
    aggregation: Cases = (Case(then={"kind": "token_mean"}),)
    pull: Cases = (Case(),)
    """A KL; none: there is no finite target."""
    correction: Cases = (Case(),)
    beta: Cases = (Case(then=0.0),)
    """Weight of the KL, or of the preference loss."""
    loss: Cases = (Case(),)
    """Of pairs."""
    reference: Cases = (Case(then=True),)
    """Of pairs: whether there is a π_ref."""
    weights: Cases = (Case(then={"kind": "uniform"}),)
    """Of supervised training."""
    by_probability: Cases = (Case(then=False),)
    """Likewise: whether each token is weighed by its own probability."""
    entropy: Cases = (Case(then=0.0),)
    """Weight of an entropy bonus."""
    critic: Cases = (Case(then=False),)
    proposal: dict[str, Cases] = Field(default_factory=dict)
    """μ, by the names of its parts."""
    updates: Cases = (Case(),)
    """Optimiser steps on every batch."""
    likely: Cases = (Case(then=[]),)
    """Recipes to prefer among equally near ones."""
    named: dict[str, str] = Field(default_factory=dict)
    """Part: the settings that say it, apart by blanks."""
    bypass: Cases = (Case(then=False),)
    """Whether the ratio is to the sampler's own log-probs."""
    refuse: Cases = (Case(),)
    """Why there is no finite target whatever the parts are."""
    changes: tuple[Remark, ...] = ()
    notes: tuple[Remark, ...] = ()
    method: str = ""
    """Of ``trl``: the configuration class."""
    release: str = ""
    """Of ``trl``: the release whose defaults hold."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Of ``trl``: setting here: setting there."""
    constant: dict[str, Any] = Field(default_factory=dict)
    """Of ``trl``: settings that the framework always passes."""
    unread: Cases = (Case(),)
    """Of ``trl``: what the framework does besides, that is not known here."""


class FrameworkReader(Spec):
    """How a framework's files are recognised and read."""

    called: str
    """The framework's own name."""
    selecting: dict[str, Any] = Field(default_factory=dict)
    """Settings that decide the method, with their defaults."""
    method: Cases
    """Key of the method."""
    methods: dict[str, Rules]
    releases: str = ""
    """Releases whose source was read, oldest first: the defaults are the same but for `history`."""
    history: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Setting: its default from a release on, where it changed."""
    bags: tuple[str, ...] = ()
    """Settings that name a file of any settings, which go before the others."""
    harmless: str = ""
    """Files under ``defaults`` that decide nothing, as a regular expression; others may."""
    required: dict[str, str] = Field(default_factory=dict)
    """Settings without a default: where it comes from. What the defaults say of them stands in."""


def holds(when: Mapping[str, Any], look: Lookup) -> bool:
    """Whether all conditions hold."""
    return all(equals(look(name), wanted) for name, wanted in when.items())


def equals(value: Any, wanted: Any) -> bool:
    """Whether a value is one of the facts.

    Texts spell truth values and numbers. Of a list one is enough; ``{not: x}`` is any but x;
    ``{has: x}`` holds x, ``{at_least: x}`` is a number from x on; ``set`` is any but none;
    ``positive`` is a number above 0.
    """
    if isinstance(wanted, list):
        return any(equals(value, one) for one in wanted)
    if isinstance(wanted, dict) and "has" in wanted:
        return str(wanted["has"]) in str(value)
    if isinstance(wanted, dict) and "at_least" in wanted:
        return (_number(value) or 0.0) >= float(wanted["at_least"])
    if isinstance(wanted, dict):
        return not equals(value, wanted["not"])
    if wanted == "set":
        return value is not None
    if wanted == "positive":
        return (_number(value) or 0.0) > 0.0
    if isinstance(wanted, bool):
        return str(value).strip().lower() in (("true", "1") if wanted else ("false", "0", "none"))
    if isinstance(wanted, int | float):
        return _number(0 if value is None else value) == wanted
    return value is None if wanted is None else str(value) == str(wanted)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def chosen(cases: tuple[Case, ...], look: Lookup) -> Case | None:
    """The first case that holds; None if there is none."""
    return next((case for case in cases if holds(case.when, look)), None)


def filled(given: Any, look: Lookup) -> Any:
    """Plain data with its expressions worked out."""
    if isinstance(given, dict):
        return {name: filled(value, look) for name, value in given.items()}
    if isinstance(given, list):
        return [filled(value, look) for value in given]
    if isinstance(given, str) and given.startswith("="):
        return value_of(given[1:], look)
    return given


def value_of(expression: str, look: Lookup) -> Any:
    """Arithmetic of settings: ``+ - * / //``, ``a or b`` (the first that is set), min, max, up.

    ``up(x)`` is the next whole number.

    Raises:
        SpecError: A setting in it is no number, or something is divided by 0.
    """
    try:
        return _worked_out(ast.parse(expression.strip(), mode="eval").body, look)
    except ZeroDivisionError:
        raise SpecError(f"{expression.strip()}: divided by 0.") from None


_SIGNS: dict[type, Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "up": math.ceil}


def _worked_out(node: ast.expr, look: Lookup) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return look(ast.unparse(node))
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return next((v for one in node.values if (v := _worked_out(one, look)) is not None), None)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_term(node.left, look), _term(node.right, look))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_term(node.operand, look)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _FUNCTIONS
    ):
        return _FUNCTIONS[node.func.id](*(_term(one, look) for one in node.args))
    raise SpecError(f"{ast.unparse(node)}: no expression of a facts file.")


def _term(node: ast.expr, look: Lookup) -> float:
    """A number of an expression."""
    value = _worked_out(node, look)
    number = None if isinstance(value, bool) else _number(value)
    if number is None or not math.isfinite(number):
        raise SpecError(f"{ast.unparse(node)}: {value!r} is no number.")
    return number


def names_in(given: Any) -> frozenset[str]:
    """Settings that plain data reads in its expressions."""
    if isinstance(given, dict):
        return frozenset().union(*map(names_in, given.values()))
    if isinstance(given, list):
        return frozenset().union(*map(names_in, given))
    if not (isinstance(given, str) and given.startswith("=")):
        return frozenset()
    found = re.findall(r"[A-Za-z_][\w.]*", given[1:])
    return frozenset(found) - {"or", *_FUNCTIONS}
