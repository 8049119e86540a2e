"""What the names of a script stand for, as far as its syntax alone says: nothing is run."""

import ast
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tod.configurations.framework import Computed

_CHANGING = {"update", "pop", "setdefault", "clear", "popitem", "append", "extend", "insert"}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_LARGEST = 64
"""Exponent up to which a power is worked out."""


def name_of(node: ast.expr) -> str:
    """The name, or the last of a dotted one; empty for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def constants(tree: ast.Module) -> dict[str, Any]:
    """Names bound once in the whole script, to a literal, and never written into."""
    bound = Counter(_bound(tree))
    written = set(_written(tree))
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        given = isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        targets = getattr(node, "targets", [getattr(node, "target", None)]) if given else []
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            continue
        name = targets[0].id
        if bound[name] == 1 and name not in written:
            value = literal(node.value, found)  # type: ignore[attr-defined]
            if not isinstance(value, Computed):
                found[name] = value
    return found


def _bound(tree: ast.Module) -> Iterator[str]:
    """Every place that gives a name a value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _written(tree: ast.Module) -> Iterator[str]:
    """Names whose value is changed in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield name_of(node.value)
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if called and node.func.attr in _CHANGING:  # type: ignore[attr-defined]
            yield name_of(node.func.value)  # type: ignore[attr-defined]


def literal(node: ast.expr, known: dict[str, Any]) -> Any:
    """The value that is written there, or `Computed`; a mapping may hold opaque values."""
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    if isinstance(node, ast.Call) and name_of(node.func) == "dict" and len(node.args) <= 1:
        pairs = [(None, arg) for arg in node.args]
        return _mapping([*pairs, *((word.arg, word.value) for word in node.keywords)], known)
    if isinstance(node, ast.Dict):
        keys = [None if key is None else literal(key, known) for key in node.keys]
        if all(key is None or isinstance(key, str) for key in keys):
            return _mapping(list(zip(keys, node.values, strict=True)), known)
    if isinstance(node, ast.BinOp):
        return _worked_out(node, known)
    return Computed(ast.unparse(node))


def _mapping(pairs: list[tuple[str | None, ast.expr]], known: dict[str, Any]) -> dict[str, Any]:
    """Keys and values in order; a mapping without a key is unpacked."""
    found: dict[str, Any] = {}
    for key, node in pairs:
        value = literal(node, known)
        if key is not None:
            found[key] = value
        elif isinstance(value, dict):
            found |= value
        else:
            found[f"**{value}"] = Computed(str(value))
    return found


def arguments(call: ast.Call, known: dict[str, Any]) -> dict[str, Any]:
    """Keywords of a call by name, what is unpacked into it included."""
    return _mapping([(word.arg, word.value) for word in call.keywords], known)


def _worked_out(node: ast.BinOp, known: dict[str, Any]) -> Any:
    """Arithmetic on written numbers, and one mapping over another."""
    left, right = literal(node.left, known), literal(node.right, known)
    if isinstance(node.op, ast.BitOr) and isinstance(left, dict) and isinstance(right, dict):
        return left | right
    numbers = all(isinstance(x, int | float) for x in (left, right))
    small = not isinstance(node.op, ast.Pow) or (numbers and abs(right) <= _LARGEST)
    if numbers and small and type(node.op) in _ARITHMETIC:
        try:
            return _ARITHMETIC[type(node.op)](left, right)
        except (ArithmeticError, ValueError):
            pass
    return Computed(ast.unparse(node))
