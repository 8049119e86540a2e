"""Configurations that name others: NeMo-RL's `defaults:` and TRL's `--config`. Only read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tod.base import SpecError
from tod.configurations.nearby import settings_of

_DEEP = 16
"""Files in a chain; more is a cycle."""


def inherited(
    path: Path, data: Mapping[str, Any], absent: list[str] | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A mapping over the files that its `defaults:` names, and notes on which were read.

    Later files win over earlier ones and the file itself over all; a section with
    ``_override_: true`` replaces, all others merge; `???` says nothing. A name that is no file, as
    Hydra's groups are, stays a note.

    Args:
        path: Where the mapping stands.
        data: It.
        absent: Takes the names of files that are not there.

    Raises:
        SpecError: A file in the chain is damaged, or the chain does not end.
    """
    read: list[str] = []
    missing: list[str] = [] if absent is None else absent
    whole = _over_parents(path, data, read, missing, _DEEP)
    notes = [f"defaults read: {', '.join(read)}"] if read else []
    if missing:
        notes.append(f"defaults not found: {', '.join(missing)}")
    return whole, tuple(notes)


def _over_parents(
    path: Path, data: Mapping[str, Any], read: list[str], missing: list[str], deep: int
) -> dict[str, Any]:
    if deep == 0:
        raise SpecError(f"{path}: its `defaults:` name one another in a circle. Cut it.")
    named = data.get("defaults")
    base: dict[str, Any] = {}
    for name in named if isinstance(named, list) else [named]:
        if not isinstance(name, str) or name == "_self_":
            continue
        parent = path.parent / name
        if not parent.is_file():
            missing.append(name)
            continue
        above = settings_of(parent)
        if not isinstance(above, dict):
            raise SpecError(f"{parent}: named under `defaults:` and no mapping of settings.")
        read.append(name)
        base = merged(base, _over_parents(parent, above, read, missing, deep - 1))
    return merged(base, {key: value for key, value in data.items() if key != "defaults"})


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, ``over`` winning; mappings merge unless they carry `_override_`."""
    found = dict(base)
    for key, value in over.items():
        if value == "???":
            continue
        below = found.get(key)
        if isinstance(value, Mapping):
            replaces = value.get("_override_", False) is True
            kept = {k: v for k, v in value.items() if k != "_override_"}
            found[key] = kept if replaces or not isinstance(below, Mapping) else merged(below, kept)
        else:
            found[key] = value
    return found


def of_config(script: Path, name: str) -> tuple[dict[str, Any], Path]:
    """The settings of the file that a command names, and where it was.

    A script names it from where it is started: its own folder and every one above are tried.

    Raises:
        SpecError: It is nowhere there, or no mapping.
    """
    if "$" not in name:
        for folder in (script.parent, *script.resolve().parent.parents):
            if (folder / name).is_file():
                data = settings_of(folder / name)
                if not isinstance(data, dict):
                    raise SpecError(f"{folder / name}: named by --config and no mapping.")
                return {k: v for k, v in data.items() if k != "env"}, folder / name
    raise SpecError(
        f"{script}: its command reads --config {name}, which is neither beside it nor in a folder "
        "above. Bring that file, or locate it alone."
    )
