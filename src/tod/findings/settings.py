"""The key of a setting in the person's own framework."""

from functools import cache
from importlib.resources import files

from tod.base import parse_yaml


@cache
def _settings() -> dict[str, dict[str, str]]:
    text = (files("tod.findings") / "settings.yaml").read_text(encoding="utf-8")
    return dict(parse_yaml(text, "settings.yaml"))


def setting(name: str, framework: str | None, **values: object) -> str:
    """A setting as its key in a framework, or in words where the key is not known.

    Args:
        name: What it does, a key of ``settings.yaml``.
        framework: Who would read it, or None.
        values: What stands in its braces, such as ``path``.
    """
    keys = _settings()[name]
    text = keys.get(_key_of(framework), keys["words"])
    return text.format(**values) if values else text


def known_key(name: str, framework: str | None) -> bool:
    """Whether the framework's own key of a setting is known."""
    return _key_of(framework) in _settings()[name]


def _key_of(framework: str | None) -> str:
    """The key of a framework, however readers of rollouts and of logs spell it."""
    key = (framework or "").replace("-", "_")
    return "tod" if key == "own" else key
