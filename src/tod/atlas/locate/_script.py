"""Configuration objects in a Python script: their arguments, read off the syntax tree."""

import ast
from typing import Any

from tod.atlas.locate._trl_fields import DEFAULTS, TRAINERS
from tod.atlas.locate.settings import Opaque
from tod.base import SpecError


def read(text: str, where: str, method: str | None) -> tuple[dict[str, Any], str]:
    """The one configuration object of a script and its class; parsed, never run.

    Raises:
        SpecError: Not Python, or it holds no configuration known here, or several.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{where}: not valid Python: {error}.") from None
    constants = _constants(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    configs = [(name, call) for call in calls if (name := _name(call.func)) in DEFAULTS]
    if method is not None:
        wanted = method.lower().removesuffix("config").removesuffix("trainer")
        configs = [pair for pair in configs if pair[0].removesuffix("Config").lower() == wanted]
    if not configs:
        asked = f" called {method!r}" if method else ""
        raise SpecError(
            f"{where}: no configuration object{asked} is built in this script. Looked for calls of "
            f"{', '.join(sorted(DEFAULTS))}."
        )
    if len(configs) > 1:
        there = ", ".join(f"{name} (line {call.lineno})" for name, call in configs)
        raise SpecError(f"{where}: several configurations: {there}. Say which: --method NAME.")
    ((name, call),) = configs
    values = _arguments(call, constants)
    trainer = next((c for c in calls if TRAINERS.get(_name(c.func)) == name), None)
    if trainer is not None:
        values |= _reward_functions(trainer, constants)
    return values, name


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Module-level names bound once to a literal."""
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            name = _name(node.targets[0])
            value = _literal(node.value, {})
            if name in seen or isinstance(value, Opaque):
                found.pop(name, None)
            else:
                found[name] = value
            seen.add(name)
    return found


def _literal(node: ast.expr, constants: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    return Opaque(ast.unparse(node))


def _arguments(call: ast.Call, constants: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if call.args:
        values["output_dir"] = _literal(call.args[0], constants)
    for keyword in call.keywords:
        if keyword.arg is not None:
            values[keyword.arg] = _literal(keyword.value, constants)
            continue
        unpacked = _literal(keyword.value, constants)
        if isinstance(unpacked, dict):
            values |= unpacked
        else:
            values[f"**{unpacked}"] = unpacked
    return values


def _reward_functions(trainer: ast.Call, constants: dict[str, Any]) -> dict[str, Any]:
    """Names of the reward functions that a trainer is given, if it lists several."""
    for keyword in trainer.keywords:
        if keyword.arg == "reward_funcs" and isinstance(keyword.value, ast.List):
            return {"reward_funcs": [ast.unparse(item) for item in keyword.value.elts]}
    del constants
    return {}
