"""Configuration objects in a Python script: their arguments, read off the syntax tree."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tod.base import SpecError
from tod.configurations.framework import Computed, facts
from tod.configurations.literals import arguments, constants, literal, name_of

_PARSERS = ("TrlParser", "HfArgumentParser")
COMMAND_LINE = "**command line"
"""Stands for all that a parser takes from elsewhere."""


@dataclass(frozen=True)
class _Built:
    """A configuration object.

    Attributes:
        name: Its class.
        line: Where it is built.
        variable: What it is called, if it has a name.
        block: The statements among which it is named; a write among them is certain.
        values: Its arguments.
    """

    name: str
    line: int
    variable: str | None = None
    block: list[ast.stmt] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """For a list of them."""
        called = f"{self.variable} = " if self.variable else ""
        return f"{called}{self.name} (line {self.line})"


def read(text: str, where: str, method: str | None) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The one configuration object of a script, its class, and what its trainer is given.

    Parsed, never run. Attributes that are written later win; what only some runs write is opaque.

    Raises:
        SpecError: Not Python, or it holds no configuration known here, or several.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{where}: not valid Python: {error}.") from None
    known = constants(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = list(_built(tree, known)) or list(_parsed(tree))
    built = _one(found, where, method, calls)
    values = {**built.values, **_later(tree, built, known)}
    trainer = next(
        (c for c in calls if facts("trl").trainers.get(name_of(c.func)) == built.name), None
    )
    return values | _reward_functions(trainer), built.name, _of_trainer(tree, trainer, known)


def _one(found: list[_Built], where: str, method: str | None, calls: list[ast.Call]) -> _Built:
    wanted = "" if method is None else method.lower().removesuffix("config")
    wanted = wanted.removesuffix("trainer")
    chosen = [
        built
        for built in found
        if method is None
        or method in (built.variable, str(built.line))
        or built.name.removesuffix("Config").lower() == wanted
    ]
    if len(chosen) == 1:
        return chosen[0]
    there = ", ".join(map(str, chosen))
    if len({built.name for built in chosen}) > 1:
        raise SpecError(f"{where}: several configurations: {there}. Say which: --method NAME.")
    if chosen:
        last = chosen[-1].variable or chosen[-1].line
        raise SpecError(
            f"{where}: several configurations of one class: {there}. Say which by its variable or "
            f"its line: --method {last}."
        )
    asked = f" called {method!r}" if method else ""
    without = sorted({name_of(call.func) for call in calls} & set(facts("trl").elsewhere))
    why = f" {facts('trl').elsewhere[without[0]]}" if without else ""
    raise SpecError(
        f"{where}: no configuration object{asked} is built in this script.{why} Looked for calls "
        f"of {', '.join(sorted(facts('trl').defaults))}."
    )


def _built(tree: ast.Module, known: dict[str, Any]) -> Iterator[_Built]:
    """Every call of a configuration class, in order."""
    named = {id(node.value): (name, block) for node, name, block in _assigned(tree)}
    calls = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and name_of(n.func) in facts("trl").defaults
    ]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        name, block = named.get(id(call), (None, []))
        values = {"output_dir": literal(call.args[0], known)} if call.args else {}
        values |= arguments(call, known)
        yield _Built(name_of(call.func), call.lineno, name, block, values)


def _parsed(tree: ast.Module) -> Iterator[_Built]:
    """Configuration classes that a parser fills from a command line."""
    parsers = [
        [name_of(item) for item in getattr(call.args[0], "elts", [call.args[0]])]
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and name_of(call.func) in _PARSERS and call.args
    ]
    for classes in parsers:
        for place, name in enumerate(classes):
            if name in facts("trl").defaults:
                variable, line, block = _unpacked(tree, place, len(classes))
                taken = {COMMAND_LINE: Computed("command line")}
                yield _Built(name, line, variable, block, taken)


def _unpacked(tree: ast.Module, place: int, count: int) -> tuple[str | None, int, list[ast.stmt]]:
    """The variable that a parser's result at a place goes to."""
    for block in _blocks(tree):
        for node in block:
            call = node.value if isinstance(node, ast.Assign) else None
            if not (isinstance(call, ast.Call) and name_of(call.func).startswith("parse_args")):
                continue
            target = node.targets[0]  # type: ignore[attr-defined]
            names = [name_of(item) for item in getattr(target, "elts", [target])]
            if len(names) >= count:
                return names[place], node.lineno, block
    return None, 1, []


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                yield block


def _assigned(tree: ast.Module) -> Iterator[tuple[Any, str, list[ast.stmt]]]:
    """Assignments to one name, each with the statements it stands among."""
    for block in _blocks(tree):
        for node in block:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node, node.target.id, block
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield node, node.targets[0].id, block


def _later(tree: ast.Module, built: _Built, known: dict[str, Any]) -> dict[str, Any]:
    """Attributes written after the object was built; opaque unless beside it."""
    found: dict[str, Any] = {}
    for node in sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0)):
        for owner, name, value in _writes(node):
            mine = isinstance(owner, ast.Name) and owner.id == built.variable is not None
            through = isinstance(owner, ast.Attribute) and owner.attr == "args"
            if not (mine or through) or getattr(node, "lineno", 0) < built.line:
                continue
            certain = mine and _beside(node, built.block) and value is not None
            found[name] = literal(value, known) if certain and value is not None else _unsure(node)
    return found


def _writes(node: ast.AST) -> Iterator[tuple[ast.expr, str, ast.expr | None]]:
    """Owner, attribute and value of every attribute that a statement writes."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        plain = not isinstance(node, ast.AugAssign)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            if isinstance(target, ast.Attribute):
                yield target.value, target.attr, node.value if plain else None
    if isinstance(node, ast.Call) and name_of(node.func) == "setattr" and len(node.args) == 3:
        owner, name, value = node.args
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield owner, name.value, value
        else:
            yield owner, f"**{ast.unparse(name)}", None


def _beside(node: ast.AST, block: list[ast.stmt]) -> bool:
    return any(line is node or getattr(line, "value", None) is node for line in block)


def _unsure(node: ast.AST) -> Computed:
    return Computed(ast.unparse(node))


_GIVEN = {
    "model": "model",
    "ref_model": "ref_model",
    "train_dataset": "dataset",
    "peft_config": "peft_config",
}
"""What a trainer is given apart from its arguments: what that is called among settings."""
_ADAPTERS = ("LoraConfig",)


def _of_trainer(
    tree: ast.Module, trainer: ast.Call | None, known: dict[str, Any]
) -> dict[str, Any]:
    """Model, data and adapters of a trainer, as the script writes them; names are followed."""
    named: dict[str, list[ast.expr]] = {}
    for node, name, _ in _assigned(tree):
        if node.value is not None:
            named.setdefault(name, []).append(node.value)
    found: dict[str, Any] = {}
    for keyword in [] if trainer is None else trainer.keywords:
        called = _GIVEN.get(keyword.arg or "")
        if called is None:
            continue
        value = literal(keyword.value, known)
        once = named.get(keyword.value.id, []) if isinstance(keyword.value, ast.Name) else []
        whole = once[0] if len(once) == 1 else keyword.value
        if isinstance(value, Computed) and isinstance(whole, ast.Call):
            value = ast.unparse(whole)
        found[called] = value
    adapters = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    adapters = [call for call in adapters if name_of(call.func) in _ADAPTERS]
    if len(adapters) == 1:
        found |= {f"LoraConfig.{k}": v for k, v in arguments(adapters[0], known).items()}
        found.pop("peft_config", None)
    return found


def _reward_functions(trainer: ast.Call | None) -> dict[str, Any]:
    """Names of the reward functions that a trainer is given, if it lists several."""
    for keyword in [] if trainer is None else trainer.keywords:
        if keyword.arg == "reward_funcs" and isinstance(keyword.value, ast.List):
            return {"reward_funcs": [ast.unparse(item) for item in keyword.value.elts]}
    return {}
