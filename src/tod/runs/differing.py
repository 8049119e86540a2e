"""What tells runs apart, in words: short names of settings, their values, a label a run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tod.runs.manifest import differences

__all__ = ["differing", "in_words", "labels", "setting", "short_names"]

UNTOLD = ("name", "output")
"""Settings that every run has of its own."""
VAGUE = ("kind", "name")
"""Last keys that say nothing without the one before."""


def differing(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted paths of the settings that some recipes do not share, in their order; no names."""
    paths: dict[str, None] = {}
    for recipe in recipes[1:]:
        paths |= dict.fromkeys(path for path, _, _ in differences(recipes[0], recipe))
    return [path for path in paths if path not in UNTOLD]


def setting(recipe: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of a recipe; None where there is none."""
    value: Any = recipe
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def in_words(value: object) -> str:
    """A value of a recipe as text: a kind first, with its settings in brackets.

    >>> in_words({"kind": "clip", "low": 0.2}), in_words([1, 2]), in_words(None), in_words(True)
    ('clip (low 0.2)', '1, 2', 'none', 'yes')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(in_words(item) for item in value) or "none"
    if not isinstance(value, Mapping):
        return str(value)
    rest = ", ".join(f"{name} {in_words(x)}" for name, x in value.items() if name != "kind")
    if "kind" not in value:
        return rest or "none"
    return f"{value['kind']} ({rest})" if rest else str(value["kind"])


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The shortest end of every dotted path that is no other's.

    >>> short_names(["target.eta", "train.seed", "operator.action.kind"])
    {'target.eta': 'eta', 'train.seed': 'seed', 'operator.action.kind': 'action.kind'}
    """
    keys = {path: path.split(".") for path in paths}

    def end(path: str, length: int) -> str:
        return ".".join(keys[path][-length:])

    found = {}
    for path, own in keys.items():
        length = 1 + (own[-1] in VAGUE or own[-1].isdecimal())
        while length < len(own) and any(
            end(other, length) == end(path, length) for other in keys if other != path
        ):
            length += 1
        found[path] = end(path, length)
    return found


def labels(recipes: Sequence[Mapping[str, Any]], most: int = 3) -> list[str] | None:
    """A label for every recipe of the settings that they do not share, such as ``eta 1, seed 0``.

    None where more than ``most`` settings differ, or two recipes are the same.
    """
    paths = differing(recipes)
    if len(paths) > most:
        return None
    names = short_names(paths)
    told = [
        ", ".join(f"{names[path]} {in_words(setting(recipe, path))}" for path in paths)
        for recipe in recipes
    ]
    return told if len(set(told)) == len(told) else None
