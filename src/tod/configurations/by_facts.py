"""The point of a file whose framework is read by its facts, at the release that it may be of."""

from dataclasses import replace
from functools import partial
from typing import Any

from tod.base import SpecError
from tod.configurations.declared import locate_declared, method_of, prepared, reading_of
from tod.configurations.framework import Facts, facts, flat
from tod.configurations.point import Located
from tod.configurations.recognise import ConfigurationFile
from tod.configurations.spans import spans
from tod.configurations.versions import at, numbers
from tod.configurations.worlds import over_worlds

__all__ = ["located_by_facts"]


def located_by_facts(found: ConfigurationFile, where: str, version: str | None) -> Located:
    """The point, with what older releases would have filled in otherwise.

    Args:
        found: The settings.
        where: The file.
        version: Release as asked; None: the newest that was read.

    Raises:
        SpecError: A setting that its framework would refuse, or a release that was not read.
    """
    name = found.framework
    method = method_of(name, flat(found.values), found.method, where)
    values = prepared(name, found.values, method)
    known = _at(name, method, version)
    located = over_worlds(name, values, lambda given: locate_declared(name, given, method, known))
    if version is not None:
        return replace(located, version=known.version, version_from=f"--version {version}")
    older = _otherwise(name, method, values)
    if not older:
        return located
    readings = {
        release: over_worlds(
            name, values, partial(locate_declared, name, method=method, known=facts_then)
        )
        for release in reading_of(name).releases.split()
        for facts_then in [_at(name, method, release)]
    }
    return replace(
        located,
        version_from="assumed: newest read, nothing in the file says",
        other_releases=older,
        by_release=spans({release: one.claims for release, one in readings.items()}),
    )


def _at(framework: str, method: str, version: str | None) -> Facts:
    """What is recorded of a framework, as of a release.

    Raises:
        SpecError: Older than all that were read.
    """
    known, reading = facts(framework), reading_of(framework)
    if version is None:
        return known
    releases = reading.releases.split()
    before = [one for one in releases if numbers(one) <= numbers(version)]
    if not before:
        span = f"{releases[0]} to {releases[-1]}" if releases else "one state alone"
        raise SpecError(f"version {version}: of {reading.called} was read {span}.")
    rows = {name: at(row, before[-1]) for name, row in reading.history.items()}
    mine = {name: rows[name] for name in known.defaults[method] if name in rows}
    defaults = {**known.defaults, method: {**known.defaults[method], **mine}}
    return known.model_copy(update={"version": before[-1], "defaults": defaults})


def _otherwise(framework: str, method: str, values: dict[str, Any]) -> tuple[str, ...]:
    """Settings that the file leaves out and that had another default at older releases."""
    known, reading = facts(framework), reading_of(framework)
    given = {known.renamed.get(name, name) for name in values}
    return tuple(
        f"{name.rpartition('.')[2]} {_row(row)}"
        for name, row in reading.history.items()
        if name in known.defaults[method] and name not in given
    )


def _row(row: dict[str, Any]) -> str:
    """Values by release: ``0.04 since 0.1.0, 0.0 since 0.3.0``."""
    return ", ".join(f"{value} since {first}" for first, value in row.items())
