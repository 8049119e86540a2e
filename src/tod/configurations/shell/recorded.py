"""What a command gives a program of a framework that is read by its facts."""

import re
from dataclasses import replace

from tod.configurations.shell.commands import Command
from tod.configurations.shell.marks import Marks, known, plain
from tod.configurations.shell.options import BAG, overrides
from tod.configurations.shell.recorded_programs import recorded
from tod.configurations.shell.settings import Given, given_options, given_overrides

__all__ = ["given_recorded"]

_FILES = (".yaml", ".yml", ".json", ".toml")
_SIGNS = re.compile(r'[${}"@*]|\[|\]')
"""What stands around a name where its value, or all of a list, is asked for."""
_ENDS = ("&&", "||", ";", "|")
"""Words of a quoted script that end a command."""


def given_recorded(command: Command, marks: Marks, framework: str) -> Given:
    """What a command gives a program of a framework.

    Args:
        command: The command.
        marks: What its words' marks stand for.
        framework: Whose program it is.
    """
    how = recorded(framework)
    command, absent = _without_lists(_cut(command), marks)
    command = _as_values(command, marks)
    if how is None or how.words == "overrides":
        return _renamed(given_overrides(command, marks))
    given = given_options(command, marks)
    given = replace(given, missing=given.missing | absent)
    words = [plain(word) for word in command.words]
    files = [word for word in words if word.endswith(_FILES) and "=" not in word]
    layers = dict(given.layers)
    if how.file == "first" and files and words[0] in (files[0], "@"):
        layers["file"] = files[0]
    values = {name.replace("-", "_"): value for name, value in given.values.items()}
    if how.words == "both":
        before = [word for word in command.words if known(word) and "=" in plain(word)]
        values |= overrides([word for word in before if not plain(word).startswith("-")], marks)
    return replace(given, values=values, layers=layers)


def _cut(command: Command) -> Command:
    """The command without what a quoted script has behind it."""
    words = command.run.words
    for at in range(command.program.start, len(words)):
        if plain(words[at]) in _ENDS:
            run = replace(command.run, words=words[:at], sources=command.run.sources[:at])
            return replace(command, run=run)
    return command


def _without_lists(command: Command, marks: Marks) -> tuple[Command, frozenset[str]]:
    """The command without ``${X[@]}`` of lists that its script never makes, and their names.

    Bash hands on no list, so that one which no line makes is empty, unless a script that is not
    here makes it.
    """
    if marks.scripts:
        return command, frozenset()
    named = [marks.outside(word) for word in command.run.words]
    away = {
        at
        for at, (name, word) in enumerate(zip(named, command.run.words, strict=True))
        if name and marks.shown(word).strip('"') == f"${{{name}[@]}}"
    }
    words, sources = command.run.words, command.run.sources
    kept = [at for at in range(len(words)) if at not in away]
    run = replace(
        command.run,
        words=tuple(words[at] for at in kept),
        sources=tuple(sources[at] for at in kept),
    )
    return replace(command, run=run), frozenset(named[at] for at in away)


def _as_values(command: Command, marks: Marks) -> Command:
    """The command with each unread word spelled by itself, where the list that held it is read.

    A word of a list is a value, unless its own name is one of a list of options.
    """
    sources = tuple(
        f'"{shown}"'
        if not known(plain(word))
        and not shown.startswith(("${", '"${'))
        and not (BAG.search(source) and _SIGNS.sub("", shown) == _SIGNS.sub("", source))
        else source
        for word, source in zip(command.run.words, command.run.sources, strict=True)
        for shown in [marks.shown(word)]
    )
    return replace(command, run=replace(command.run, sources=sources))


def _renamed(given: Given) -> Given:
    """Hydra's options under the names of layers."""
    names = {"--config_path": "path", "--config_name": "name"}
    layers = dict(given.layers)
    values = dict(given.values)
    for flag, layer in names.items():
        if flag in values:
            layers[layer] = str(values.pop(flag))
    return replace(given, values=values, layers=layers)
