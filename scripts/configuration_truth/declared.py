"""Defaults that code declares, read off its syntax tree: fields of classes, options of parsers."""

import ast
from typing import Any


def fields_of(source: str, name: str) -> dict[str, Any]:
    """Fields of a class with their defaults, where these are written out.

    Args:
        source: Python code.
        name: The class.
    """
    tree = ast.parse(source)
    body = next(
        (n.body for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name), []
    )
    made: dict[str, Any] = {}
    for node in body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        value = node.value
        if isinstance(value, ast.Call):
            named = {word.arg: word.value for word in value.keywords}
            value = named.get("default")
        known = _literal(value)
        if known is not _UNKNOWN:
            made[node.target.id] = known
    return made


def options_of(source: str) -> dict[str, Any]:
    """Options of an argument parser with their defaults; one that stores true is false.

    A name that is put together in a loop has ``*`` where a part of it is not written out.

    Args:
        source: Python code with calls of ``add_argument``.
    """
    made: dict[str, Any] = {}
    for call in ast.walk(ast.parse(source)):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func).endswith("add_argument")):
            continue
        names = [_name(node) for node in call.args]
        named = {word.arg: word.value for word in call.keywords}
        action = _literal(named.get("action"))
        default = _literal(named.get("default"))
        if default is _UNKNOWN:
            default = action == "store_false" if str(action).startswith("store_") else None
        for name in names:
            if name.startswith("--"):
                made[name[2:]] = default
    return made


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(n.value) if isinstance(n, ast.Constant) else "*" for n in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


_UNKNOWN = object()


def _literal(node: ast.expr | None) -> Any:
    if node is None:
        return _UNKNOWN
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _UNKNOWN
