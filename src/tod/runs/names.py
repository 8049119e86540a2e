"""Names of run directories: the recipe, what was overridden, and a short id of its own."""

import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from tod.base import RunError
from tod.runs.directory import RunDirectory
from tod.runs.manifest import Manifest

__all__ = ["new_name", "runs_of", "stem_of"]

_SIGNS = "abcdefghjkmnpqrstuvwxyz23456789"
"""What an id is made of: no sign that is taken for another one."""
_ID = 4
_LONGEST_CHANGE = 24
_LONGEST = 60
_UNNAMED = ("output", "name", "track")
"""Overrides that the name does not tell."""


def stem_of(name: str, overrides: Sequence[str] = ()) -> str:
    """The recipe's name and its overrides, as a name of a file.

    >>> stem_of("gspo", ["target.eta=4", "operator.proposal.source=ref"])
    'gspo-eta4-source.ref'
    """
    changes = [_change(item) for item in overrides if item.partition("=")[0] not in _UNNAMED]
    stem = name
    for number, change in enumerate(changes):
        longer = f"{stem}-{change}"
        if len(longer) > max(_LONGEST, len(name) + 4):
            return f"{stem}+{len(changes) - number}"
        stem = longer
    return stem


def new_name(folder: Path, stem: str) -> Path:
    """A place in a folder that nothing has yet: the stem and a short id."""
    while True:
        path = folder / f"{stem}-{''.join(secrets.choice(_SIGNS) for _ in range(_ID))}"
        if not path.exists():
            return path


def runs_of(folder: Path, name: str) -> list[tuple[Path, Manifest]]:
    """The runs of a recipe in a folder, the newest first; what cannot be read is left out."""
    found = []
    for path in folder.glob("*/") if folder.is_dir() else ():
        try:
            manifest = Manifest.read(path / "manifest.json") if RunDirectory.begun(path) else None
        except RunError:
            continue
        if manifest is not None and manifest.name == name:
            found.append((path, manifest))
    return sorted(found, key=lambda item: (item[1].created, item[0].name), reverse=True)


def _change(override: str) -> str:
    """One override in a few characters: a number after its name, another value after a dot."""
    path, _, value = override.partition("=")
    plain = re.sub(r"[^\w.+-]+", "_", value.strip(), flags=re.ASCII).strip("_.")
    joint = "" if re.match(r"[\d.+-]", plain) else "."
    return f"{path.rpartition('.')[2]}{joint}{plain}"[:_LONGEST_CHANGE].rstrip(".")
