"""Settings of a foreign configuration: what the file says, over the framework's defaults."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from tod.base import SpecError


@dataclass(frozen=True)
class Opaque:
    """A value that the file computes or takes from elsewhere: not known here."""

    text: str

    def __str__(self) -> str:
        """As written."""
        return self.text


@dataclass(frozen=True)
class Settings:
    """Given values over defaults, and which keys mean nothing for the target.

    Attributes:
        given: Flat keys and values of the file.
        defaults: Every setting that is read, with its default.
        neutral: Further known keys: optimisation, logging, placement.
        neutral_prefixes: Sections in which every key is neutral.
    """

    given: Mapping[str, Any]
    defaults: Mapping[str, Any]
    neutral: Collection[str] = field(default_factory=frozenset)
    neutral_prefixes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        """The value in force; the default where the file's own is not known."""
        value = self.given.get(name, self.defaults[name])
        return self.defaults[name] if isinstance(value, Opaque) else value

    def number(self, name: str) -> float:
        """The value as a number; a text that spells one is read, none is 0.

        Raises:
            SpecError: It is no finite number.
        """
        value = 0.0 if self[name] is None else self[name]
        return number(name, value)

    def numbers(self, name: str) -> tuple[float, ...]:
        """The value as numbers, one or several.

        Raises:
            SpecError: One of them is none.
        """
        value = self[name]
        values = value if isinstance(value, list | tuple) else (value,)
        return tuple(number(name, item) for item in values)

    def whole(self, name: str) -> int:
        """The value as a whole number of at least 1.

        Raises:
            SpecError: It is none.
        """
        value = self.number(name)
        if value != int(value) or value < 1:
            raise SpecError(f"{name}: {self[name]!r} is no whole number of at least 1.")
        return int(value)

    def choice(self, name: str, known: Mapping[str, Any]) -> Any:
        """What the value stands for among the known ones.

        Raises:
            SpecError: It is none of them.
        """
        value = str(self[name])
        if value in known:
            return known[value]
        close = get_close_matches(value, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(f"{name}: {value!r} is not known.{hint} Known: {', '.join(known)}.")

    def flag(self, name: str) -> bool:
        """The value as a truth value; `true`, `True` and `1` are true."""
        value = self[name]
        return (
            value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)
        )

    def said(self, name: str) -> str:
        """``name=value``, and whether it is the default."""
        given = self.given.get(name)
        value = str(given) if isinstance(given, Opaque) else self[name]
        shown = value if isinstance(value, str) else repr(value)
        return f"{name}={shown}" + ("" if name in self.given else " (default)")

    @property
    def opaque(self) -> tuple[str, ...]:
        """Settings that are read and whose value is not in the file; `**` may hold any of them."""
        return tuple(
            name
            for name, value in self.given.items()
            if isinstance(value, Opaque) and (name in self.defaults or name.startswith("**"))
        )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Keys that are not known here, and known ones whose value is not in the file."""
        strange = (name for name in self.given if not self._known(name))
        named = (name for name in self.opaque if not name.startswith("**"))
        return (*strange, *(f"{name} (= {self.given[name]})" for name in named))

    @property
    def near(self) -> dict[str, str]:
        """The nearest known key of every unknown one that has a near one."""
        known = [*self.defaults, *self.neutral]
        found = {
            name: get_close_matches(name, known, n=1, cutoff=0.75)
            for name in self.given
            if not self._known(name)
        }
        return {name: close[0] for name, close in found.items() if close}

    def _known(self, name: str) -> bool:
        return (
            name in self.defaults or name in self.neutral or name.startswith(self.neutral_prefixes)
        )


def number(name: str, value: Any) -> float:
    """A value of the setting ``name`` as a number.

    Raises:
        SpecError: It is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise SpecError(f"{name}: {value!r} is no number.")
    try:
        number = float(value)
    except ValueError:
        raise SpecError(f"{name}: {value!r} is no number.") from None
    if number - number != 0.0:
        raise SpecError(f"{name}: {value!r} is not finite.")
    return number


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys.

    An interpolation of the environment is opaque; one of another key `${a.b}` has its value, or
    is left out where that is not there: then it is a default.
    """
    found = _flat(data, prefix)
    for _ in range(_DEEPEST):
        linked = {
            key: found.get(_link(value), None) for key, value in found.items() if _link(value)
        }
        found |= {key: value for key, value in linked.items() if value is not None}
    return {key: value for key, value in found.items() if not _link(value)}


_DEEPEST = 4
"""Interpolations of interpolations that are followed."""


def _flat(data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            outside = isinstance(value, str) and "${" in value and "oc.env:" in value
            found[f"{prefix}{key}"] = Opaque(str(value)) if outside else value
    return found


def _link(value: Any) -> str:
    """The key that an interpolation names, as it is spelled; empty for any other value."""
    interpolated = isinstance(value, str) and value.startswith("${")
    return value[2:].rstrip("}").strip() if interpolated else ""
