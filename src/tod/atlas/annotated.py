"""A recipe to start one's own from: each setting with what it means, those left out as comments."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from tod.atlas.entries import SCHEMA, editor_line, recipe_file
from tod.base import read_yaml

WIDTH = 96
HEAD = (
    "Every setting with what it means; what is commented out has its default. Change what you "
    "like: `tod run FILE --dry-run` checks it and trains nothing."
)
_LEFT_OUT = ("atlas", "name")


def annotated(recipe: str, name: str, folder: Path) -> str:
    """The text of a recipe of one's own.

    Args:
        recipe: The one it starts from, by name.
        name: What it is called.
        folder: Where it will be, for the path of the schema.

    Raises:
        SpecError: There is no such recipe; the nearest name is given.
    """
    path = recipe_file(recipe)
    data = {key: value for key, value in read_yaml(path).items() if key not in _LEFT_OUT}
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    said = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:2] == "# "]
    lines = [
        editor_line(folder),
        *(line for line in said if not line.startswith("# yaml-")),
        *(f"# {line}" for line in wrap(HEAD, WIDTH - 2)),
        *_comment(_sentence(schema["properties"]["name"]["description"]), ""),
        f"name: {_inline(name)}",
        *_Writer(schema["$defs"]).settings(data, {**schema, "kind": None}, ""),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


class _Writer:
    """Writes settings that a schema describes."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions

    def settings(self, data: dict[str, Any], known: dict[str, Any], at: str) -> Iterator[str]:
        """The lines of a mapping: its own settings, then the others as comments."""
        properties = known.get("properties", {})
        for key, value in data.items():
            place = properties.get(key, {})
            yield from _comment(self._said(key, place), at)
            yield from self._setting(key, value, place, at)
        for key, place in properties.items():
            if key in data or key in _LEFT_OUT or "default" not in place:
                continue
            line = f"{at}# {key}: {_inline(place['default'])}"
            if len(line) <= WIDTH:
                yield from _comment(self._said(key, place), at)
                yield line

    def _setting(self, key: str, value: Any, place: dict[str, Any], at: str) -> Iterator[str]:
        if isinstance(value, dict) and value:
            yield f"{at}{key}:"
            yield from self.settings(value, self._object(place, value), f"{at}  ")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield f"{at}{key}:"
            for item in value:
                yield from _item(item, at)
        else:
            yield f"{at}{key}: {_inline(value)}"

    def _said(self, key: str, place: dict[str, Any]) -> str:
        """What a setting means, and what else it can be."""
        words = _sentence(place.get("description", ""))
        choices = list(dict.fromkeys(self._choices(place)))
        if key == "kind" or len(choices) < 2:
            return words
        return f"{words} One of {', '.join(choices)}.".strip()

    def _choices(self, place: dict[str, Any]) -> Iterator[str]:
        """Words that a setting takes, and kinds of a mapping."""
        if "enum" in place:
            yield from (str(word) for word in place["enum"])
        for option in self._options(place):
            kind = option.get("properties", {}).get("kind", {})
            yield from _kinds(kind)

    def _options(self, place: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The mappings that a setting may be."""
        if "$ref" in place:
            yield from self._options(self.definitions[place["$ref"].rpartition("/")[2]])
        elif "properties" in place:
            yield place
        for option in [*place.get("anyOf", ()), *place.get("oneOf", ()), *place.get("allOf", ())]:
            yield from self._options(option)

    def _object(self, place: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        """The one of them that a value is: of its kind, or with all of its keys."""
        options = list(self._options(place))
        for option in options:
            properties = option["properties"]
            if value.get("kind") in _kinds(properties.get("kind", {})):
                return option
        fitting = [option for option in options if set(value) <= set(option["properties"])]
        return fitting[0] if fitting else {}


def _item(item: dict[str, Any], at: str) -> Iterator[str]:
    """An item of a list: on one line where it fits."""
    if len(line := f"{at}- {_inline(item)}") <= WIDTH:
        yield line
        return
    text = yaml.safe_dump(item, default_flow_style=False, sort_keys=False, allow_unicode=True)
    for number, line in enumerate(text.splitlines()):
        yield f"{at}{'  ' if number else '- '}{line}"


def _kinds(place: dict[str, Any]) -> list[str]:
    """The words that a ``kind`` may be."""
    return [place["const"]] if "const" in place else place.get("enum", [])


def _sentence(text: str) -> str:
    """The first sentence, in the marks and words of YAML."""
    plain = re.sub(r"\bNone\b", "null", text.replace("``", "`"))
    return re.split(r"(?<=[.?])\s+(?=[A-Z`])", plain, maxsplit=1)[0]


def _comment(text: str, at: str) -> Iterator[str]:
    yield from (f"{at}# {line}" for line in wrap(text, WIDTH - len(at) - 2))


def _inline(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text.removesuffix("\n...\n").strip()
