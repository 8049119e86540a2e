"""A program's words as settings: overrides ``a.b=c`` and options ``--name value``."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tod.base import SpecError, parse_yaml
from tod.configurations.framework import ANY, Computed, Displaced
from tod.configurations.shell.marks import Marks, known, plain

SETS = re.compile(r"(~[\w./@-]+(=.*)?|[+~]{0,2}[\w][\w./@-]*=.*)", re.DOTALL)
"""A word that gives a setting, or takes one away."""
_TEXT = re.compile(r"[A-Za-z_/][\w./-]*")
_SCALARS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
_PLAIN = {"true": True, "True": True, "false": False, "False": False, "null": None, "": None}
"""What YAML makes of most words, and of the numbers below: read so without its parser."""
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
_DECIMAL = re.compile(r"-?\d{1,17}\.\d{1,17}")
BAG = re.compile(r"ARG|EXTRA|OPT|FLAG|OVERRIDE|PARAM|[@*]", re.IGNORECASE)
"""In the name of a list of options."""


def value_of(text: str, marks: Marks | None = None) -> Any:
    """A word as a YAML scalar or list; one that was not read whole stays opaque."""
    if not known(text) and marks is not None:
        return Computed(marks.shown(text))
    text = plain(text).strip("'\"") if marks is None else _unquoted(plain(text))
    if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text):
        return float(text)
    if _TEXT.fullmatch(text) and text.lower() not in _SCALARS:
        return text
    if text in _PLAIN:
        return _PLAIN[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    try:
        return parse_yaml(text, "a word of the command")
    except SpecError:
        return text


def _unquoted(text: str) -> str:
    """A text without the quotes that Hydra takes off."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def over(settings: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Settings after one more: the last one counts."""
    return {**{key: old for key, old in settings.items() if key != name}, name: value}


def lost(settings: Mapping[str, Any], word: str) -> dict[str, Any]:
    """Settings before a word that may hold any of them."""
    before = {
        name: value if isinstance(value, Computed) else Displaced(f"{value}, or what {word} says")
        for name, value in settings.items()
    }
    return {**before, f"{ANY}{word}": Computed(word)}


def overrides(words: Iterable[str], marks: Marks | None = None, place: str = "") -> dict[str, Any]:
    """Hydra overrides `a.b=c`, `+a.b=c`, `++a.b=c`, as flat keys and YAML values.

    `~a.b` takes a setting away: what then stands in for it is the program's own, and opaque. A
    word that was not read may hold any setting: those behind it are certain, no others.
    """
    found: dict[str, Any] = {}
    for word in words:
        text = plain(word)
        name, equal, value = text.partition("=")
        if not known(name) and marks is not None:
            found = lost(found, marks.shown(text) + place)
        elif text.startswith("~"):
            found = over(found, name[1:], Computed("taken away by ~"))
        elif equal and not name.startswith("-"):
            found = over(found, name.lstrip("+~"), value_of(value, marks))
    return found


def options(
    words: Iterable[tuple[str, str]], marks: Marks, place: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Options `--name value …` and the words before the first of them.

    One without a value is true, several values make a list. A word that was not read is a value
    where it is quoted or its name is none of a list of options; else it may hold any option.

    Args:
        words: Each with the way it is spelled.
        marks: What marks stand for.
        place: Where they stand, for messages.
    """
    found: dict[str, Any] = {}
    before: list[str] = []
    name, values = None, []
    for word, source in words:
        text = plain(word)
        if text.startswith("--") and known(text.partition("=")[0]) and len(text) > 2:
            found = found if name is None else over(found, name, _together(values))
            name, equal, value = text[2:].partition("=")
            values = [value_of(value, marks)] if equal else []
        elif not known(text) and _any(text, source, name, marks):
            found = found if name is None else over(found, name, _together(values))
            found, name, values = lost(found, source + place), None, []
        elif name is None:
            before.append(text)
        else:
            values.append(value_of(text, marks))
    return found if name is None else over(found, name, _together(values)), before


def _any(text: str, source: str, name: str | None, marks: Marks) -> bool:
    """Whether a word that was not read may hold options."""
    if text.startswith("--"):
        return True
    if name is None:
        return bool(BAG.search(marks.shown(text))) or not source.startswith('"')
    return bool(BAG.search(source)) and not (source.startswith('"') and "@" not in source)


def _together(values: list[Any]) -> Any:
    return True if not values else values[0] if len(values) == 1 else values
