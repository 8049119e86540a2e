"""The named recipe nearest to an operator, and what it does otherwise."""

from functools import cache
from typing import Any

from tod.atlas.entries import recipes
from tod.operators import Operator
from tod.targets import TargetSpec

_WEIGHT = {
    "kind": 20.0,
    "loss": 6.0,
    "level": 3.0,
    "trust_region": 3.0,
    "advantage": 3.0,
    "aggregation": 2.0,
    "weights": 6.0,
    "pull": 2.0,
    "centred": 2.0,
    "by_probability": 3.0,
    "pairs": 0.5,
    "distillation": 2.0,
    "entropy": 0.5,
    "proposal": 0.5,
    "correction": 0.5,
}
"""How much a difference in a part counts: what defines a method counts most. A matter of taste,
fixed so that the methods' own papers' settings locate as themselves."""
_NUMBERS = {"advantage": 0.0}
"""A part of the same kind with other numbers counts 0.25, but that ε beside σ marks no method."""
_RELATED = {frozenset({"clip", "dual_clip"}): 1.0}
_NAMED = 3.0
"""What it counts that the framework itself calls it by that name."""
NO_BOUND = 1e30
"""Stands for no upper bound on ρ where an operator has to have one."""
_FAR = 6.0
"""Beyond it no recipe is called near."""


def nearest(
    operator: Operator, likely: tuple[str, ...] = (), target: TargetSpec | None = None
) -> tuple[str | None, tuple[str, ...]]:
    """The nearest recipe's name and what differs from it; (None, ()) if none is near.

    Args:
        operator: What to place.
        likely: Names to prefer among equally near ones, in order.
        target: q*: among equally near recipes those of its kind come first, then of its anchor.
    """
    mine = _parts(operator)
    ranked = []
    for name, entry in recipes().items():
        far, differs = _distance(mine, _of_recipes()[name])
        order = likely.index(name) if name in likely else len(likely)
        far -= _NAMED if name in likely else 0.0
        aims = target is not None and (
            entry.target.kind != target.kind,
            entry.target.target.anchor != target.target.anchor,
        )
        ranked.append((far, order, aims, name, differs))
    far, _, _, name, differs = min(ranked, key=lambda row: row[:3])
    if far > _FAR:
        return None, ()
    return name, tuple(f"{p}: {_show(a, b)} for {_show(b, a)}" for p, a, b in differs)


@cache
def _of_recipes() -> dict[str, dict[str, Any]]:
    """The parts of every recipe's operator."""
    return {name: _parts(entry.operator) for name, entry in recipes().items()}


def _parts(operator: Operator) -> dict[str, Any]:
    """The action's parts and the terms of the loss beside it."""
    terms = operator.auxiliary.model_dump(mode="json", exclude={"critic"})
    if terms["distillation"] is not None:
        terms["distillation"]["kind"] = terms["distillation"].pop("divergence")
    action = operator.action.model_dump(mode="json")
    return {**action, **terms, "proposal": operator.proposal.source}


def _distance(
    a: dict[str, Any], b: dict[str, Any]
) -> tuple[float, tuple[tuple[str, Any, Any], ...]]:
    """How far two operators' parts are apart, and the parts that differ with both values."""
    if a["kind"] != b["kind"]:
        return _WEIGHT["kind"], ()
    total, differs = 0.0, []
    for part in sorted({*a, *b} - {"kind"}):
        mine, theirs = a.get(part), b.get(part)
        if mine == theirs:
            continue
        kinds = [_kind(mine), _kind(theirs)]
        total += _NUMBERS.get(part, 0.25) if kinds[0] == kinds[1] else _apart(part, kinds)
        differs.append((part, mine, theirs))
    return total, tuple(differs)


def _apart(part: str, kinds: list[str]) -> float:
    return _RELATED.get(frozenset(kinds), _WEIGHT.get(part, 1.0))


def _kind(value: Any) -> str:
    return str(value["kind"]) if isinstance(value, dict) and "kind" in value else str(value)


def _show(value: Any, other: Any) -> str:
    """A part by its kind and the settings in which the other side's differs."""
    if not isinstance(value, dict):
        return "none" if value is None else str(value)
    beside = other if isinstance(other, dict) and _kind(value) == _kind(other) else {}
    apart = {k: v for k, v in value.items() if k != "kind" and v != beside.get(k, (k,))}
    if not beside:
        apart = {k: v for k, v in apart.items() if isinstance(v, float)}
    rest = [f"{k}={_word(v)}" for k, v in apart.items()]
    return " ".join([str(value.get("kind", "")), *rest]).strip()


def _word(value: Any) -> str:
    if isinstance(value, dict):
        rest = [_word(v) for k, v in value.items() if k != "kind"]
        return str(value["kind"]) if "kind" in value else f"({', '.join(rest)})"
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """In a few digits; a bound so large that it bounds nothing is none."""
    return "none" if value >= NO_BOUND else f"{value:g}"
