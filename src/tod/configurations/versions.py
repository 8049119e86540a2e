"""A framework's defaults at a release, and which releases have a setting at all."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tod.base import Spec, SpecError, read_packaged
from tod.configurations.framework import Facts, facts

__all__ = ["VERSIONED", "Versions", "ever", "facts_at", "numbers", "recorded"]

ABSENT = "absent"
"""Stands in a row for a setting that the release does not have."""
VERSIONED = ("trl", "verl")
"""Frameworks whose releases are recorded."""
FOLDER = Path(__file__).parent / "facts" / "versions"

Row = dict[str, Any]
"""Release: value from there on."""


def _words(given: Any) -> Any:
    return given.split() if isinstance(given, str) else given


def _names_by_span(given: Any) -> Any:
    """By method: name: the span of releases that have it, of ``{span: "name name …"}``."""
    return {
        method: {name: span for span, names in rows.items() for name in names.split()}
        for method, rows in given.items()
    }


class Versions(Spec):
    """What is recorded of a framework by release, as its files of ``facts/versions/`` say it."""

    releases: Annotated[tuple[str, ...], BeforeValidator(_words)]
    """Oldest first."""
    defaults: dict[str, dict[str, Row]]
    """By method: setting: its default from a release on; `absent`: there is no such setting."""
    names: Annotated[dict[str, dict[str, str]], BeforeValidator(_names_by_span)]
    """By method: names that not all releases have: ``first..last first..``."""
    without: dict[str, dict[str, Row]] = Field(default_factory=dict)
    """By method: setting: what a release does that has no such setting; a mapping with ``of``
    decides by another setting, on or off."""
    forks: dict[str, str] = Field(default_factory=dict)
    """Names that only forks have: the span of releases that they stem from."""
    once: dict[str, frozenset[str]] = Field(default_factory=dict)
    """By method: names that some release had and that move no target."""
    unread: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By method: names that some release had and whose effect no reader knows: what it is."""
    renamed: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By method: a name of older releases: today's."""
    between: dict[str, str] = Field(default_factory=dict)
    """What the version file of a checkout between releases says: the span that it lies in."""
    other: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By method: releases of which it was another one altogether, ``first..last``: what it was."""
    behaviour: dict[str, Row] = Field(default_factory=dict)
    """What no setting says and releases do otherwise."""

    def __hash__(self) -> int:
        """One for each framework."""
        return hash(self.releases)

    @property
    def newest(self) -> str:
        """The newest release."""
        return self.releases[-1]

    def of_method(self, method: str) -> tuple[str, ...]:
        """Releases that have a method, oldest first; all where nothing is recorded of it."""
        return _of_method(self, method)

    def having(self, method: str, name: str) -> frozenset[str]:
        """Releases of a method that have a name; all where nothing is recorded of it."""
        there = frozenset(_of_method(self, method))
        span = self.forks.get(name) or self.names.get(method, {}).get(name)
        return there if span is None else there & _within(self, span)

    def within(self, span: str) -> frozenset[str]:
        """Releases of ``first..last first..``; an open end is the newest."""
        return _within(self, span)


@cache
def _of_method(versions: Versions, method: str) -> tuple[str, ...]:
    rows = versions.defaults.get(method, {}).values()
    first = min((numbers(next(iter(row))) for row in rows), default=())
    return tuple(v for v in versions.releases if numbers(v) >= first)


@cache
def _within(versions: Versions, span: str) -> frozenset[str]:
    found: set[str] = set()
    for one in span.split():
        first, _, last = one.partition("..")
        low, high = numbers(first), numbers(last or versions.newest)
        found |= {v for v in versions.releases if low <= numbers(v) <= high}
    return frozenset(found)


@cache
def recorded(framework: str) -> Versions:
    """What is recorded of a framework by release; read once.

    Raises:
        SpecError: Only one release of it is recorded.
    """
    if framework not in VERSIONED:
        known = " and ".join(VERSIONED)
        raise SpecError(f"{framework}: one release is recorded; only {known} have several.")
    path, more = FOLDER / f"{framework}.yaml", FOLDER / f"{framework}_by_hand.yaml"
    return Versions.parse({**read_packaged(path), **read_packaged(more)}, str(path))


@cache
def ever(framework: str) -> frozenset[str]:
    """Names that some release had and that say nothing of the file's being somebody else's."""
    if framework not in VERSIONED:
        return frozenset()
    versions = recorded(framework)
    tables = (*versions.once.values(), *versions.unread.values(), *versions.renamed.values())
    return frozenset(versions.forks).union(*tables)


_NUMBERS = re.compile(r"\d+(\.\d+)*(\.post\d+)?")


@cache
def numbers(version: str) -> tuple[int, ...]:
    """A release's numbers, for order: 0, 2, 0, 1 of ``0.2.0.post1``; at least three.

    Raises:
        SpecError: It is no release.
    """
    if not _NUMBERS.fullmatch(version):
        raise SpecError(f"version {version!r}: no release. Write numbers and points, as in 0.17.0.")
    read = tuple(map(int, version.replace("post", "").split(".")))
    return read + (0,) * (3 - len(read))


def at(row: Row, version: str) -> Any:
    """The value of a row at a release; `absent` before its first."""
    reached = [value for first, value in row.items() if numbers(first) <= numbers(version)]
    return reached[-1] if reached else ABSENT


def facts_at(framework: str, version: str, method: str, values: Mapping[str, Any]) -> Facts:
    """What is recorded of a framework as it was at a release.

    A setting that the release lacks has the value at which today's means what the release does.

    Args:
        framework: One of `VERSIONED`.
        version: A release that is recorded.
        method: Key of the defaults; those of others stay today's.
        values: The file's settings, by which such a value may depend on another setting.
    """
    today, versions = facts(framework), recorded(framework)
    defaults = dict(today.defaults[method])
    for name in defaults:
        defaults[name] = _default(versions, method, name, version, today)
    for name, value in defaults.items():
        if isinstance(value, Mapping) and "of" in value:
            on = values.get(value["of"], defaults[value["of"]])
            defaults[name] = value["on" if str(on).lower() in ("true", "1") else "off"]
    there = {
        name for name in versions.once.get(method, ()) if version in versions.having(method, name)
    }
    return today.model_copy(
        update={
            "version": version,
            "defaults": {**today.defaults, method: defaults},
            "renamed": {**today.renamed, **versions.renamed.get(method, {})},
            "neutral": today.neutral | there,
            "behaviour": {name: at(row, version) for name, row in versions.behaviour.items()},
        }
    )


def _default(versions: Versions, method: str, name: str, version: str, today: Facts) -> Any:
    """A setting's default at a release; with ``of``, what it depends on."""
    value = at(versions.defaults.get(method, {}).get(name, {}), version)
    if value != ABSENT:
        return value
    renamed = {**today.renamed, **versions.renamed.get(method, {})}
    older = [old for old, new in renamed.items() if new == name]
    for old in older:
        value = at(versions.defaults.get(method, {}).get(old, {}), version)
        if value not in (ABSENT, None):
            return value
    instead = at(versions.without.get(method, {}).get(name, {}), version)
    return today.defaults[method][name] if instead == ABSENT else instead
