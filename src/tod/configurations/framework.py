"""What is recorded of a framework, and the settings of one of its files over it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from tod.base import Spec, SpecError, parse_yaml, read_packaged
from tod.configurations.near_names import closest
from tod.configurations.rules import FrameworkReader

T = TypeVar("T")
ANY = "**"
"""Begins what stands for a word, or a layer, that may hold any setting."""


def _flat_by_method(given: Any) -> Any:
    return {method: flat(rows) for method, rows in given.items()}


def _names_by_section(given: Any) -> Any:
    """Dotted names of ``{section: "name name …"}``."""
    return [
        f"{section}.{name}" if section else name
        for section, names in given.items()
        for name in names.split()
    ]


def _lists(given: Any) -> Any:
    return {method: names.split() for method, names in given.items()}


class Idle(Spec):
    """When a setting has no effect."""

    at: dict[str, list[Any]]
    """Settings and the values of each at which it has none; one that holds is enough."""
    why: str = ""
    """What is said of it, with ``{name}`` and ``{value}`` of the one that holds; empty: those."""


class Facts(Spec):
    """A framework's settings as a file of ``facts/`` records them."""

    version: str
    """Whose defaults these are."""
    shared: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Defaults of several methods, for the file's own ``<<``."""
    defaults: Annotated[dict[str, dict[str, Any]], BeforeValidator(_flat_by_method)]
    """By method: every setting that is read, by its dotted name, with its default."""
    neutral: Annotated[frozenset[str], BeforeValidator(_names_by_section)]
    """Known settings that move no target: optimisation, logging, placement."""
    also_neutral: tuple[str, ...] = ()
    """Frameworks whose neutral settings are so here too."""
    sections: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_lists)] = Field(
        default_factory=dict
    )
    """By method, and for ``all``: beginnings of names of which every one is neutral."""
    renamed: dict[str, str] = Field(default_factory=dict)
    """Older spelling: the name it has now."""
    outside: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Setting (TRL: ``Class.setting``): value that has no composition here: why."""
    when_on: dict[str, str] = Field(default_factory=dict)
    """Setting: what it changes as soon as it is on."""
    when_set: dict[str, str] = Field(default_factory=dict)
    """Setting: what it changes as soon as it has a value at all."""
    kinds: dict[str, Literal["operator", "push"]] = Field(default_factory=dict)
    """Of the settings above those that do not move the target, see `SilentChange.kind`."""
    idle: dict[str, dict[str, Idle]] = Field(default_factory=dict)
    """By method: setting: when it has no effect."""
    law_settings: dict[str, dict[str, list[Any]]] = Field(default_factory=dict)
    """By method: settings that decide the law, and the values that are tried when a file is to aim
    at the target of another; ``{beta}`` is one over that target's sharpness."""
    names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What is assumed equal of two files (``π_ref``, ``data``, ``reward``…): settings that name it,
    the first that is set wins."""
    programs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Program: settings of its own file of defaults that differ from the method's."""
    bases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Primary configuration that programs start from: settings of it that differ, likewise."""
    choices: dict[str, list[Any]] = Field(default_factory=dict)
    """Setting: values besides its default that change what is said of a file."""
    none_is_a_value: frozenset[str] = frozenset()
    """Settings whose number may be null, which says something of its own; others leave it open."""
    left_open: dict[str, str] = Field(default_factory=dict)
    """Setting: the value by which it is left to the program."""
    own: dict[str, frozenset[str]] = Field(default_factory=dict)
    """Configuration class: settings that only it has."""
    trainers: dict[str, str] = Field(default_factory=dict)
    """Trainer: its configuration class."""
    elsewhere: dict[str, str] = Field(default_factory=dict)
    """Configuration class of another version: why it has no reader."""
    behaviour: dict[str, Any] = Field(default_factory=dict)
    """What no setting says and older releases do otherwise, see `versions.Versions.behaviour`."""
    reading: FrameworkReader | None = None
    """Rules by which its files are read; none: it has a module of its own."""


@cache
def facts(framework: str) -> Facts:
    """What is recorded of a framework; read once.

    Args:
        framework: Name of a file of ``facts/``.
    """
    path = Path(__file__).parent / "facts" / f"{framework}.yaml"
    known = Facts.parse(read_packaged(path), str(path))
    neutral = known.neutral.union(*(facts(other).neutral for other in known.also_neutral))
    return known.model_copy(update={"neutral": neutral})


@cache
def decisive(framework: str) -> frozenset[str]:
    """Every setting of a framework that is read, under any of its names."""
    known = facts(framework)
    read = frozenset(name for defaults in known.defaults.values() for name in defaults)
    return read | {old for old, new in known.renamed.items() if new in read}


@dataclass(frozen=True)
class Computed:
    """A value that the file computes or takes from elsewhere: not known here."""

    text: str

    def __str__(self) -> str:
        """As written."""
        return self.text


class Displaced(Computed):
    """A value that is written, and that a later word or layer which was not read may replace."""


@dataclass(frozen=True)
class Settings:
    """A file's settings over its framework's defaults, and which of them mean nothing here.

    Attributes:
        given: Flat keys and values of the file, older spellings renamed.
        facts: What is recorded of the framework.
        method: Key of its defaults.
    """

    given: Mapping[str, Any]
    facts: Facts
    method: str

    @classmethod
    def of(
        cls, framework: str, method: str, values: Mapping[str, Any], known: Facts | None = None
    ) -> "Settings":
        """Flat values of a file as settings of a method of the framework.

        Args:
            framework: Which framework.
            method: Key of its defaults.
            values: Of the file.
            known: What is recorded of it, of another release than the newest.
        """
        known = facts(framework) if known is None else known
        older = {new: values[old] for old, new in known.renamed.items() if old in values}
        current = {name: value for name, value in values.items() if name not in known.renamed}
        spelled = {name: value for name, value in older.items() if value is not None}
        return cls({**spelled, **current}, known, method)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Every setting that is read, with its default."""
        return self.facts.defaults[self.method]

    def __getitem__(self, name: str) -> Any:
        """The value in force; the default where the file's own is not known."""
        value = self.given.get(name, self.defaults[name])
        return self.defaults[name] if isinstance(value, Computed) else value

    def number(self, name: str) -> float:
        """The value as a number; a text that spells one is read, none is 0.

        Raises:
            SpecError: It is no finite number.
        """
        value = 0.0 if self[name] is None else self[name]
        return number(name, value)

    def number_or(self, name: str, otherwise: T) -> float | T:
        """The value as a number, or what stands in for it where it is none."""
        return otherwise if self[name] is None else self.number(name)

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
        value = self.given[name] if name in self.given else self.defaults[name]
        shown = str(value) if isinstance(value, str | Computed) else repr(value)
        return f"{name}={shown}" + ("" if name in self.given else " (default)")

    @property
    def names(self) -> dict[str, str]:
        """What two files are assumed to share, by what this one names; unset is not there."""
        named: dict[str, str] = {}
        for what, settings in self.facts.names.items():
            values = [self.given[name] for name in settings if self.given.get(name) is not None]
            if values:
                named[what] = str(values[0])
        return named

    @property
    def computed(self) -> tuple[str, ...]:
        """Settings that are read and whose value is not in the file; `**` may hold any of them."""
        return tuple(
            name
            for name, value in self.given.items()
            if isinstance(value, Computed) and (name in self.defaults or name.startswith("**"))
        )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Keys that are not known here, and known ones whose value is not in the file."""
        strange = (name for name in self.given if not self._known(name))
        written = [name for name in self.computed if not isinstance(self.given[name], Displaced)]
        named = (name for name in written if not name.startswith(ANY))
        return (*strange, *(f"{name} (= {self.given[name]})" for name in named))

    @property
    def near(self) -> dict[str, str]:
        """The nearest known key of every unknown one that has a near one."""
        known = (*self.defaults, *self.facts.neutral)
        found = {name: _closest(name, known) for name in self.given if not self._known(name)}
        return {name: close for name, close in found.items() if close}

    def why_not(self, setting: str, value: str | None = None, key: str | None = None) -> str:
        """Why the value of a setting has no composition here; of an unknown one, that it is not.

        Args:
            setting: Its name.
            value: Its value, where another is in force than the file's.
            key: Its name among the facts.
        """
        value = str(self[setting]) if value is None else value
        reasons = self.facts.outside.get(key or setting, {})
        if value in reasons:
            return f"{setting}={value}: not in the algebra: {reasons[value]}"
        return f"{setting}={value}: not known here, so no composition and no target is claimed"

    @cached_property
    def _sections(self) -> tuple[str, ...]:
        sections = self.facts.sections
        return (*sections.get("all", ()), *sections.get(self.method, ()))

    def _known(self, name: str) -> bool:
        known = name in self.defaults or name in self.facts.neutral
        return known or name.startswith(self._sections)


@cache
def _closest(name: str, known: tuple[str, ...]) -> str:
    """The nearest of several names; empty if none is near."""
    return closest(name, known, cutoff=0.75)


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

    An interpolation of another key `${a.b}` has its value, or is left out where that is not there:
    then it is a default. Any other, as of the environment or of a function, is computed.
    """
    found = _flat(data, prefix)
    if not any(map(_open, found.values())):
        return found
    for _ in range(_DEEPEST):
        linked = {key: _followed(value, found) for key, value in found.items() if _open(value)}
        found |= {key: value for key, value in linked.items() if value is not None}
    left = {key: value for key, value in found.items() if not (_open(value) and _link(value))}
    return {key: Computed(value) if _open(value) else value for key, value in left.items()}


_DEEPEST = 4
"""Interpolations of interpolations that are followed."""


def _flat(data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _open(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _link(value: str) -> str:
    """The key that an interpolation names; empty for any other."""
    found = _NAMED.fullmatch(value.strip())
    return found.group(1) if found else ""


def _followed(value: str, among: Mapping[str, Any]) -> Any:
    """The value of the key that an interpolation names, None where that is not there."""
    chosen = _SELECTED.fullmatch(value.strip())
    if chosen is None:
        return among.get(_link(value))
    if chosen.group(1) in among:
        return among[chosen.group(1)]
    return parse_yaml(chosen.group(2), "an interpolation") if chosen.group(2) else None


_NAMED = re.compile(r"\$\{\s*([\w.]+)\s*\}")
_SELECTED = re.compile(r"\$\{\s*oc\.select:\s*([\w.]+)\s*(?:,\s*([\w.+-]+)\s*)?\}")
