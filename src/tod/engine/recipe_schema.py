"""The JSON schema of a recipe's file, for editors: every key with its meaning and its choices."""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any

from tod.base import Spec
from tod.engine.settings import RunSettings

NAME = "tod.recipe/1"
DIALECT = "http://json-schema.org/draft-07/schema#"
"""What editors' YAML servers read."""


def recipe_schema() -> dict[str, Any]:
    """The schema, generated from the settings that a run is parsed into."""
    made = RunSettings.model_json_schema()
    classes = {one.__name__: one for one in _below(Spec)}
    for name, place in {**made["$defs"], RunSettings.__name__: made}.items():
        said = _said_of_fields(classes[name]) if name in classes else {}
        for key, field in place.get("properties", {}).items():
            if key in said:
                field.setdefault("description", said[key])
    made = _lean(made)
    return {"$schema": DIALECT, "$id": NAME, "title": "A recipe of tod", **made}


def _below(base: type[Any]) -> Iterator[type[Any]]:
    """Every class that is made of one."""
    for known in base.__subclasses__():
        yield known
        yield from _below(known)


def _said_of_fields(known: type) -> dict[str, str]:
    """The docstrings that stand below a class's fields, own and inherited.

    They are read here alone: where classes are made, on every start of every command, that would
    be half of the work.
    """
    said: dict[str, str] = {}
    for one in reversed(known.__mro__):
        if issubclass(one, Spec):
            (body,) = ast.parse(dedent(inspect.getsource(one))).body
            lines = body.body if isinstance(body, ast.ClassDef) else []
            for line, below in pairwise(lines):
                if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                    continue
                match below:
                    case ast.Expr(ast.Constant(str(text))):
                        said[line.target.id] = inspect.cleandoc(text)
    return said


def _lean(place: Any, names: bool = False) -> Any:
    """Without titles, which repeat the names, and of descriptions the first paragraph.

    Args:
        place: A part of the schema.
        names: Whether its keys are names of settings, of which one may be called ``title``.
    """
    if isinstance(place, list):
        return [_lean(item) for item in place]
    if not isinstance(place, dict):
        return place
    kept = {k: v for k, v in place.items() if names or k not in ("title", "discriminator")}
    if not names and isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].partition("\n\n")[0].split())
    inner = {"properties", "$defs"}
    return {
        key: value if key in ("default", "enum", "const") else _lean(value, names=key in inner)
        for key, value in kept.items()
    }
