"""A training command's words as settings, and several commands of one place as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tod.configurations.framework import ANY, Computed
from tod.configurations.shell.commands import Command
from tod.configurations.shell.marks import Marks, known, plain
from tod.configurations.shell.options import SETS, options, overrides

_LAYERS = {
    "--config-path": "path",
    "-cp": "path",
    "--config-name": "name",
    "-cn": "name",
    "--config-dir": "path",
    "-cd": "path",
    "--config": "file",
}


@dataclass(frozen=True)
class Given:
    """What a command gives a program.

    Attributes:
        values: Settings by name; one that was not read is `Computed`.
        layers: Files that it names: ``path`` and ``name`` of Hydra, ``file`` of the others; marks
            stand for what was not read of a name.
        assumed: By setting: variables that are assumed to be unset outside.
        missing: The same, of words that are not there.
    """

    values: Mapping[str, Any]
    layers: Mapping[str, str] = field(default_factory=dict)
    assumed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()


def given_overrides(command: Command, marks: Marks) -> Given:
    """Hydra's words: overrides, and the flags that name files."""
    words, layers = _without_layers(command.words)
    sure = [w for w in words if not known(plain(w).partition("=")[0]) or SETS.fullmatch(plain(w))]
    assumed = {plain(word).partition("=")[0].lstrip("+~"): marks.assumptions(word) for word in sure}
    values = overrides(sure, marks, f" (line {command.run.line})")
    return Given(values, layers, assumed, marks.assumptions(command.run.vanished))


def given_options(command: Command, marks: Marks) -> Given:
    """Options `--name value`; a file before the first of them, or one of `--config`."""
    place = f" (line {command.run.line})"
    pairs = list(zip(command.words, command.sources, strict=True))
    values, before = options(pairs, marks, place)
    assumed: dict[str, frozenset[str]] = {}
    name = ""
    for word in command.words:
        text = plain(word)
        name = text[2:].partition("=")[0] if text.startswith("--") else name
        assumed[name] = assumed.get(name, frozenset()) | marks.assumptions(word)
    files = [word for word in before if word.endswith((".yaml", ".yml", ".json"))]
    layers = {"file": files[-1]} if files else {}
    file = values.pop("config", None)
    layers |= {} if file is None else {"file": _raw(command.words, str(file))}
    return Given(values, layers, assumed, marks.assumptions(command.run.vanished))


def _raw(words: tuple[str, ...], shown: str) -> str:
    """The word behind the last `--config`, with its marks."""
    found = shown
    for word, after in zip(words, (*words[1:], ""), strict=True):
        if plain(word) == "--config":
            found = plain(after)
        elif plain(word).startswith("--config="):
            found = plain(word).partition("=")[2]
    return found


def _without_layers(words: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    rest: list[str] = []
    layers: dict[str, str] = {}
    at = 0
    while at < len(words):
        flag, equal, value = plain(words[at]).partition("=")
        if flag in _LAYERS and equal:
            layers[_LAYERS[flag]] = value
        elif flag in _LAYERS and at + 1 < len(words):
            at += 1
            layers[_LAYERS[flag]] = plain(words[at])
        else:
            rest.append(words[at])
        at += 1
    return rest, layers


def together(every: list[Given]) -> Given:
    """What several ways to one command give it: where they differ it is not known."""
    first = every[0]
    if len(every) == 1:
        return first
    absent = "not given"
    names = list(dict.fromkeys(name for one in every for name in one.values))
    values = {name: _either([one.values.get(name, absent) for one in every]) for name in names}
    keys = dict.fromkeys(key for one in every for key in one.layers)
    layers = {
        key: one if len(files) == 1 else _DIFFERS
        for key in keys
        for files in [{one.layers.get(key, _DIFFERS) for one in every}]
        for one in [min(files)]
    }
    assumed: dict[str, frozenset[str]] = {}
    for one in every:
        for name, marks in one.assumed.items():
            assumed[name] = assumed.get(name, frozenset()) | marks
    missing = frozenset[str]().union(*(one.missing for one in every))
    return Given(values, layers, assumed, missing)


_DIFFERS = "\ue0000\ue001"
"""A name that is not known."""


def _either(values: list[Any]) -> Any:
    """The one value, or that it is one of several."""
    if all(_same(value, values[0]) for value in values):
        return values[0]
    return Computed(" or ".join(dict.fromkeys(map(str, values))))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def bags(values: Mapping[str, Any]) -> list[str]:
    """Words that may hold any setting."""
    return [name.removeprefix(ANY) for name in values if name.startswith(ANY)]
