"""``manifest.json``: what the run is, written once, before anything else."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tod.base import RunError
from tod.base.text import what_is
from tod.runs.atomic import write_atomic
from tod.runs.environment import collect_environment
from tod.runs.records import plain

__all__ = ["SCHEMA", "Manifest", "differences"]

SCHEMA = "tod.run/1"
_FAMILY, _VERSION = "tod.run", 1


@dataclass(frozen=True)
class Manifest:
    """The run's identity card.

    Attributes:
        name: What a person calls it.
        recipe: The fully resolved recipe as plain data: what a rerun needs.
        seeds: Every seed by what it drives.
        created: ISO 8601, UTC.
        versions: Packages; None where not installed.
        hardware: Processor, memory, accelerators.
        threads: Thread counts; the same count is part of resuming bit for bit.
        git: Commit and whether tracked files differed from it; None outside a repository.
    """

    name: str
    recipe: dict[str, Any]
    seeds: dict[str, int] = field(default_factory=dict)
    created: str = ""
    versions: dict[str, str | None] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    threads: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] | None = None
    schema: str = SCHEMA

    @classmethod
    def of(cls, name: str, recipe: Mapping[str, Any], seeds: Mapping[str, int]) -> Self:
        """The manifest of a run that starts now, here."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        environment = collect_environment()
        return cls(
            name=name, recipe=plain(recipe), seeds=dict(seeds), created=created, **environment
        )

    def write(self, path: Path) -> None:
        """Put it at ``path`` in one step."""
        data = plain({"schema": self.schema, **vars(self)})
        write_atomic(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """The manifest at ``path``; keys it does not know are ignored.

        Raises:
            RunError: There is none, it is damaged, of another kind, or of a newer schema.
        """
        data = _load(path)
        _check_schema(path, data.get("schema"))
        lacking = [name for name in ("name", "recipe") if name not in data]
        if lacking:
            raise RunError(f"{path} lacks {', '.join(lacking)}: it is not a whole manifest.")
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})


def differences(
    first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted paths at which two recipes differ, with both values (None where absent)."""
    for key in [*first, *(key for key in second if key not in first)]:
        path, a, b = f"{prefix}{key}", first.get(key), second.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, f"{path}.")
        elif a != b:
            yield path, a, b


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{path.parent} is not a run directory: it has no {path.name}. "
            "Give the directory that `tod run` wrote."
        ) from None
    except NotADirectoryError:
        raise RunError(f"{path.parent} is a file; a run is a directory.") from None
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(
            f"{path} cannot be read ({error}). It is written in one step, so something else "
            "damaged it; restore it from a copy, or start the run again."
        ) from None
    if not isinstance(data, dict):
        raise RunError(f"{path}: {what_is(data)}, not a manifest.")
    return data


def _check_schema(path: Path, schema: object) -> None:
    family, _, number = str(schema).partition("/")
    if family != _FAMILY or not number.isdigit():
        raise RunError(
            f"{path} has schema {schema!r}, not {SCHEMA!r}: it is not a run of this tool."
        )
    if int(number) != _VERSION:
        age = "newer" if int(number) > _VERSION else "older"
        raise RunError(
            f"{path} has schema {schema!r}; this version reads {SCHEMA!r}. "
            f"The run was written by a {age} version: use that one, or update."
        )
