"""Command lines in a shell script: the training command's words, read, never run."""

import re
import shlex
from typing import Any, Literal

from tod.base import SpecError, parse_yaml
from tod.configurations.framework import Computed

_PROGRAM = re.compile(
    r"\b((?:verl|recipe)\.[\w.]*(?:main|sft_trainer)[\w.]*|openrlhf\.cli\.[\w]+|trl\s+[a-z_]+"
    r"|trl[./]scripts[./][a-z_]+(?:\.py)?|run_(?:grpo|dpo|sft|distillation)[a-z_]*\.py)"
    r"(?=\s|$)"
)
_ASSIGN = re.compile(
    r"^(?:export\s+|local\s+|declare\s+)?([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\S*)\s*(?:#.*)?$"
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")


def runs(text: str) -> bool:
    """Whether a text holds a training command of a framework known here."""
    starts = (
        r"(-m\s+(verl|recipe|trl)\.|openrlhf\.cli\.|^\s*(\S*/)?trl\s|trl/scripts/|/run_\w+\.py)"
    )
    return bool(re.search(starts, text, re.MULTILINE))


Command = tuple[
    Literal["nemo_rl", "openrlhf", "trl", "verl"], dict[str, Any], str | None, str, tuple[str, ...]
]


def read(text: str, where: str, known: str) -> Command:
    """The training command: framework, settings, method, program, notes.

    Raises:
        SpecError: It runs no training program known here, or quotes that do not close.
    """
    lines = _logical(text)
    variables = _variables(lines)
    for line in lines:
        match = _PROGRAM.search(line)
        if match is None or _ASSIGN.match(line) or line.lstrip().startswith(("echo ", "pip ")):
            continue
        program = match.group(1)
        words = _words(line[match.end() :], where)
        words = [part for word in words for part in _expanded(word, variables)]
        more = ('"$@": further settings come from the command line',) if "$@" in words else ()
        if program.startswith("openrlhf"):
            return "openrlhf", flags(words), None, program, more
        if program.startswith("trl"):
            method = re.split(r"[\s./]+", program.removesuffix(".py"))[-1]
            return "trl", flags(words), method, program, more
        if program.startswith("run_"):
            return "nemo_rl", _nemo(words), program.split("_")[1].removesuffix(".py"), program, more
        return "verl", overrides([w for w in words if _SETS.match(w)]), None, program, more
    raise SpecError(
        f"{where}: a script that runs no training program known here. Looked for {known}."
    )


_SETS = re.compile(r"^(~[\w.]+$|[^=]+=)")
"""A word that gives a setting, or takes one away."""


def _nemo(words: list[str]) -> dict[str, Any]:
    """NeMo-RL: overrides, and the file of its `--config`."""
    found = overrides([word for word in words if _SETS.match(word)])
    named = [at for at, word in enumerate(words) if word == "--config" and at + 1 < len(words)]
    equal = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    files = [*(words[at + 1] for at in named), *equal]
    return {**found, "config": files[-1]} if files else found


def overrides(words: list[str]) -> dict[str, Any]:
    """Hydra overrides `a.b=c`, `+a.b=c`, `++a.b=c`, as flat keys and YAML values.

    `~a.b` takes a setting away: what then stands in for it is the program's own, and opaque.
    """
    found: dict[str, Any] = {}
    for word in words:
        if word.startswith("~"):
            found[word[1:].partition("=")[0]] = Computed("taken away by ~")
            continue
        name, _, value = word.partition("=")
        name = name.lstrip("+~")
        if not name.startswith("-"):
            found[name] = value_of(value)
    return found


def flags(words: list[str]) -> dict[str, Any]:
    """Options `--name value …`; one alone is true, several values make a list."""
    found: dict[str, Any] = {}
    name = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, _, value = word[2:].partition("=")
            found[name] = [value] if value else []
        elif name is not None:
            found[name].append(word)
    return {
        key: True
        if not rest
        else value_of(rest[0])
        if len(rest) == 1
        else list(map(value_of, rest))
        for key, rest in found.items()
    }


def value_of(text: str) -> Any:
    """A word as a YAML scalar or list; a variable that is not set in the script stays opaque."""
    if "$" in text or "`" in text:
        return Computed(text)
    text = text.strip("'\"")
    if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text):
        return float(text)
    try:
        return parse_yaml(text, "a word of the command")
    except SpecError:
        return text


def _logical(text: str) -> list[str]:
    """Lines with continuations joined and comments dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"\\\s*\n", " ", "\n".join(lines)).splitlines()


def _variables(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        match = _ASSIGN.match(line.strip())
        if match and not match.group(2).startswith("("):
            value = match.group(2).strip("'\"")
            found[match.group(1)] = _substitute(value, found)
    return found


def _substitute(text: str, variables: dict[str, str]) -> str:
    def known(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(3)
        return variables.get(name, match.group(2) or match.group(0))

    return _VARIABLE.sub(known, text)


def _expanded(word: str, variables: dict[str, str]) -> list[str]:
    """A word with its variables; one that is a variable alone may hold several words."""
    value = _substitute(word, variables)
    alone = _VARIABLE.fullmatch(word) is not None and value != word
    return shlex.split(value) if alone else [value]


def _words(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line.split(" 2>&1")[0].split(" | ")[0], comments=True)
    except ValueError as error:
        raise SpecError(
            f"{where}: the training command cannot be split into words ({error})."
        ) from None
