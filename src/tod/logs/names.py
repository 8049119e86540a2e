"""What every framework calls a figure: ``names.yaml``, read once."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from tod.base import read_yaml
from tod.logs.log import Figures

PLAIN = "plain"
"""The names that belong to no framework."""
TRANSFORMS: Mapping[str, Callable[[Figures], Figures]] = {
    "percent": lambda x: x / 100,
    "complement": lambda x: 1 - x,
    "negative": lambda x: -x,
    "log": lambda x: np.log(np.where(x > 0, x, math.nan)),
}
"""How a value becomes that of the canonical name; a log of what is not positive is unknown."""


@dataclass(frozen=True)
class Framework:
    """One that writes logs.

    Attributes:
        name: Its name.
        repository: Where its names were read.
        version: The version that was read.
        signs: Keys that it alone writes.
        least: How many of them a log must have.
        base: Another whose names it writes too.
        prefix: May stand before every key.
    """

    name: str
    repository: str
    version: str
    signs: tuple[re.Pattern[str], ...]
    least: int
    base: str | None
    prefix: str


@dataclass(frozen=True)
class Alias:
    """One key of one framework.

    Attributes:
        canonical: The canonical name; ``{name}`` in it is filled from the key.
        framework: Who writes it.
        key: The key as ``names.yaml`` has it.
        pattern: What matches it.
        unit: Unit of the figure; empty for shares, rewards and ratios.
        note: How it differs from what the canonical name says; empty where it does not.
        transform: A name of ``TRANSFORMS``; empty for none.
        over: Key of a count that it is divided by.
        beside: Key that must be in the log.
        source: File of the framework's repository that writes it.
        excepted: Matches keys that are never meant.
    """

    canonical: str
    framework: str
    key: str
    pattern: re.Pattern[str]
    unit: str
    note: str
    transform: str
    over: str
    beside: str
    source: str
    excepted: re.Pattern[str] | None

    @property
    def exact(self) -> bool:
        """Whether it matches one key only."""
        return "{" not in self.key

    def name_of(self, key: str) -> str | None:
        """The canonical name of a key that it matches; None of one that it does not."""
        match = self.pattern.fullmatch(key)
        if match is None or (self.excepted is not None and self.excepted.fullmatch(key)):
            return None
        return self.canonical.format(name=match.groupdict().get("name") or "")


@dataclass(frozen=True)
class Match:
    """A key of a log and the canonical name that it stands for."""

    key: str
    alias: Alias


@dataclass(frozen=True)
class Names:
    """The table: frameworks by name, and their aliases in order of preference."""

    frameworks: Mapping[str, Framework]
    aliases: tuple[Alias, ...]
    canonical: Mapping[str, str]

    def framework(self, keys: Collection[str]) -> str | None:
        """Who wrote a log with these keys; None where they do not tell."""
        most, best = 0, None
        for framework in self.frameworks.values():
            count = self._signs(framework, keys)
            if count >= framework.least and count > most:
                most, best = count, framework
        if best is None:
            return None
        for framework in self.frameworks.values():
            named = self._signs(framework, keys) >= framework.least
            if named and best.name in self.bases(framework.name):
                return framework.name
        return best.name

    def bases(self, framework: str) -> list[str]:
        """The frameworks whose names it writes too, nearest first."""
        order: list[str] = []
        while base := self.frameworks[order[-1] if order else framework].base:
            order.append(base)
        return order

    def matches(self, keys: Iterable[str], framework: str | None) -> dict[str, Match]:
        """Canonical name → the key that a log of these keys has for it.

        The names of the framework come first, then those of its base, then plain words. Of an
        unknown framework, plain words come first, and after them the names of others that have a
        ``/``: a bare word may mean anything there.
        """
        keys = list(keys)
        present = set(keys)
        found: dict[str, Match] = {}
        taken: set[str] = set()
        for name in self._order(framework):
            prefix = self.frameworks[name].prefix
            bare = framework is not None or name == PLAIN
            mine = [a for a in self.aliases if a.framework == name and (bare or "/" in a.key)]
            for alias in mine:
                if alias.beside and not {alias.beside, prefix + alias.beside} & present:
                    continue
                for key in self._candidates(alias, keys, present, prefix):
                    canonical = alias.name_of(key.removeprefix(prefix))
                    if canonical and canonical not in found and key not in taken:
                        found[canonical] = Match(key, alias)
                        taken.add(key)
        return found

    def _candidates(
        self, alias: Alias, keys: list[str], present: set[str], prefix: str
    ) -> Iterable[str]:
        if alias.exact:
            return [key for key in dict.fromkeys((alias.key, prefix + alias.key)) if key in present]
        return keys

    def _order(self, framework: str | None) -> list[str]:
        if framework is None:
            return [PLAIN, *(name for name in self.frameworks if name != PLAIN)]
        return [framework, *self.bases(framework), PLAIN]

    @staticmethod
    def _signs(framework: Framework, keys: Collection[str]) -> int:
        bare = [key.removeprefix(framework.prefix) for key in keys] if framework.prefix else keys
        return sum(any(sign.fullmatch(key) for key in bare) for sign in framework.signs)


def _pattern(key: str, *, deep: bool = False) -> re.Pattern[str]:
    """The expression of a key with ``{name}`` and ``{any}`` in it.

    ``{any}`` is one level of the key; several where it ends the key, or with ``deep``.
    """
    parts = re.split(r"(\{name\}|\{any\})", key)
    deep = deep or key.endswith("{any}")
    how = {"{name}": "(?P<name>.+?)", "{any}": ".+?" if deep else "[^/]+?"}
    return re.compile("".join(how.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _aliases(canonical: str, entry: Mapping[str, Any]) -> Iterable[Alias]:
    excepted = entry.get("except")
    never = None
    if excepted:
        never = re.compile(
            "|".join(_pattern(key, deep=True).pattern for key in excepted), re.DOTALL
        )
    for framework, groups in entry["keys"].items():
        for group in groups:
            for written in group["keys"]:
                told = written if isinstance(written, dict) else {"key": written}
                yield Alias(
                    canonical,
                    framework,
                    told["key"],
                    _pattern(told["key"]),
                    told.get("unit", entry["unit"]),
                    told.get("note", ""),
                    told.get("transform", ""),
                    told.get("over", ""),
                    told.get("beside", ""),
                    group["source"],
                    never,
                )


@cache
def names() -> Names:
    """The table of this package."""
    with as_file(files("tod.logs") / "names.yaml") as path:
        data = read_yaml(path)
    frameworks = {
        name: Framework(
            name,
            told["repository"],
            told["version"],
            tuple(map(_pattern, told["signs"])),
            told.get("least", 1),
            told.get("base"),
            told.get("prefix", ""),
        )
        for name, told in data["frameworks"].items()
    }
    aliases = [
        alias for canonical, entry in data["names"].items() for alias in _aliases(canonical, entry)
    ]
    meaning = {canonical: entry["says"] for canonical, entry in data["names"].items()}
    return Names(frameworks, tuple(aliases), meaning)
