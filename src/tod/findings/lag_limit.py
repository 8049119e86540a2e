"""How many versions old a rollout may be when it is trained on, by a training configuration."""

import ast
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tod.base import SpecError, parse_yaml

ASYNC_CONFIG = "AsyncGRPOConfig"
"""TRL's class of the settings of asynchronous training."""


@cache
def _limits() -> dict[str, dict[str, Any]]:
    text = (files("tod.findings") / "lag_limits.yaml").read_text(encoding="utf-8")
    return dict(parse_yaml(text, "lag_limits.yaml"))


def lag_limit(path: Path) -> int | None:
    """The bound of the lag in versions that a file writes down, at least 0.

    Reads YAML, JSON and TOML of AReaL, NeMo-RL, prime-rl and TRL, and scripts that call TRL's
    ``AsyncGRPOConfig``. None where the file states no bound: a framework's default is none of the
    file's, and neither is a queue's length.
    """
    values = _values(path)
    for limit in _limits().values():
        if "when" in limit and values.get(limit["when"]) is not True:
            continue
        for key in limit["keys"]:
            value = values.get(key)
            if type(value) is int and value >= 0:
                return value
    return None


def _values(path: Path) -> Mapping[str, object]:
    """Settings by their dotted names; nothing of a file that is no such configuration."""
    readers: dict[str, Callable[[str], Any]] = {
        ".toml": tomllib.loads,
        ".json": json.loads,
        ".py": _of_script,
    }
    read = readers.get(path.suffix.lower(), _of_yaml)
    try:
        data = read(path.read_text(encoding="utf-8"))
        return dict(_flat(data, "")) if isinstance(data, Mapping) else {}
    except (OSError, ValueError, SyntaxError, RecursionError, SpecError):
        return {}


def _flat(data: Mapping[Any, Any], before: str) -> Iterator[tuple[str, object]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _of_yaml(text: str) -> Any:
    return parse_yaml(text, "the configuration")


def _of_script(text: str) -> dict[str, object]:
    """Literal settings of the one call of TRL's class; of several calls none is known to count."""
    calls = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ASYNC_CONFIG in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]
    if len(calls) != 1:
        return {}
    return {
        word.arg: word.value.value
        for word in calls[0].keywords
        if word.arg and isinstance(word.value, ast.Constant)
    }
