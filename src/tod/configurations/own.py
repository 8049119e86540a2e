"""Our own recipes as YAML: the triple as it stands."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from tod.atlas.effects import structural
from tod.atlas.entries import OperatorFamily, recipes
from tod.atlas.law import law_of
from tod.atlas.nearest import nearest
from tod.configurations.implied_target import rule_of
from tod.configurations.point import Located
from tod.procedure import Procedure

_NAMES = """
name atlas model peft anchors task utilities target operator operators train evaluate arc output
search select test_time
"""
KEYS = frozenset(_NAMES.split())
"""Top-level keys of a recipe file."""


def triple_of(values: Mapping[str, Any], where: str = "") -> Procedure:
    """The triple of a recipe of ours; what is needed to run it is not read.

    Raises:
        SpecError: Its target or operator means nothing; each complaint with its path.
    """
    triple = {key: values[key] for key in ("target", "operator") if key in values}
    return Procedure.parse(triple, where)


def locate_own(values: Mapping[str, Any], where: str = "") -> Located:
    """A recipe of ours as a point of the atlas.

    Raises:
        SpecError: Its target or operator means nothing; each complaint with its path.
    """
    procedure = triple_of(values, where)
    train = values.get("train")
    updates = int(train.get("updates_per_batch", 1)) if isinstance(train, Mapping) else 1
    name, differs = nearest(procedure.operator, (str(values.get("name")),), procedure.target)
    law = law_of(procedure)
    strange = tuple(key for key in values if key not in KEYS)
    near = {key: get_close_matches(key, KEYS, n=1, cutoff=0.75) for key in strange}
    return Located(
        framework="tod",
        method=str(values.get("name", "recipe")),
        law=law,
        operator_family=_family(procedure, name),
        recipe=name,
        nearest=differs,
        procedure=procedure,
        operator=procedure.operator,
        target_family=procedure.target.kind,
        rule=rule_of(law),
        silent_changes=structural(procedure, updates=updates),
        unknown=strange,
        near={key: close[0] for key, close in near.items() if close},
        updates=updates,
        passes=updates,
    )


def _family(procedure: Procedure, name: str | None) -> OperatorFamily:
    if name is not None:
        return recipes()[name].family
    kind = procedure.operator.action.kind
    return {"preference": "preference_surrogate", "weighted_regression": "supervised"}.get(  # type: ignore[return-value]
        kind, "proximal_rl"
    )
