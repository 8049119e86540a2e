"""Files of others: what they are by their keys, and a refusal in the place of a guess."""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tod.base import Spec, SpecError, read_packaged
from tod.configurations.framework import facts

__all__ = ["Foreign", "foreign", "refuse_foreign", "refuse_uncovered"]

SHOWN = 6
"""Keys that a refusal names."""


class Foreign(Spec):
    """A kind of file that is not read here."""

    name: str
    """Whose it is, such as ``axolotl's``."""
    all: tuple[str, ...] = ()
    """Top-level keys that such a file has, every one."""
    any: tuple[str, ...] = ()
    """Top-level keys of which such a file has one at least; none listed: no matter."""
    but: tuple[str, ...] = ()
    """Top-level keys that no such file has."""
    framework: str = ""
    """By which reader it is read; empty: by none."""
    instead: str = ""
    """What to do with such a file."""

    def is_of(self, keys: Collection[str]) -> bool:
        """Whether a file with these top-level keys is one."""
        there = not self.any or any(key in keys for key in self.any)
        return (
            there
            and all(key in keys for key in self.all)
            and not any(key in keys for key in self.but)
        )


@cache
def foreign() -> tuple[Foreign, ...]:
    """Every kind that is recorded."""
    path = Path(__file__).parent / "facts" / "foreign.yaml"
    return tuple(Foreign.parse(row, str(path)) for row in read_packaged(path))


def read_by_facts() -> tuple[str, ...]:
    """Frameworks of those kinds that are read."""
    return tuple(dict.fromkeys(kind.framework for kind in foreign() if kind.framework))


def whose(data: Mapping[str, Any]) -> str | None:
    """The framework among `read_by_facts` that a file with these keys is of."""
    keys = {str(key) for key in data}
    return next((kind.framework or None for kind in foreign() if kind.is_of(keys)), None)


def refuse_foreign(
    data: Mapping[str, Any], known: Collection[str], where: str, framework: str = ""
) -> None:
    """Refuse a file that by its keys is somebody else's.

    Args:
        data: The file, a mapping.
        known: Keys of the framework it is to be read as: those say nothing against it.
        where: What to call it.
        framework: What it is to be read as.

    Raises:
        SpecError: It is one of the recorded kinds, and not the one it is to be read as.
    """
    keys = {str(key) for key in data}
    mine = {kind.name for kind in foreign() if kind.framework == framework and framework}
    if framework in read_by_facts() and whose(data) == framework:
        return
    left = keys - {*known}
    for kind in foreign():
        if kind.name not in mine and kind.is_of(left):
            shown = [key for key in (*kind.all, *kind.any) if key in left][:SHOWN]
            read = "not read as that" if kind.framework else "not read here"
            instead = kind.instead or (kind.framework and "leave out --framework and --method")
            way = f" What to do: {instead}." if instead else ""
            raise SpecError(
                f"{where}: this looks like {kind.name} file (it has {', '.join(shown)}), which is "
                f"{read}, so nothing is said of it.{way}"
            )


def refuse_uncovered(values: Mapping[str, Any], framework: str, where: str) -> None:
    """Refuse settings of which none is one that the framework reads, or most are nobody's.

    A verdict on them would be one on defaults alone.

    Args:
        values: The settings, flat.
        framework: What the file is to be read as.
        where: What to call it.

    Raises:
        SpecError: Nothing of it decides anything there, or more than half is not known.
    """
    known = facts(framework)
    deciding = {name for table in known.defaults.values() for name in table} | {*known.renamed}
    sections = tuple(name for names in known.sections.values() for name in names)
    names = [name for name in values if not name.startswith("**")]
    strange = [
        name
        for name in names
        if name not in deciding and name not in known.neutral and not name.startswith(sections)
    ]
    whose = f"of {framework} {known.version}"
    if strange and not any(name in deciding for name in names):
        raise SpecError(
            f"{where}: none of its {len(names)} settings decides anything in a configuration "
            f"{whose}, and it has {', '.join(strange[:SHOWN])}. Whose file is it? A verdict would "
            "be one on defaults alone."
        )
    if known.reading is None and len(strange) > max(2, len(names) / 2):
        raise SpecError(
            f"{where}: {len(strange)} of its {len(names)} settings are not {whose}: "
            f"{', '.join(strange[:SHOWN])}. Whose file is it? Say it with --framework, or leave "
            "them out."
        )
