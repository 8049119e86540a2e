"""Which run ``--resume`` means where no run has exactly the settings that were asked for."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tod.base import RunError
from tod.base.text import counted
from tod.engine.place import done_of
from tod.engine.settings import LENGTH, MAY_DIFFER, RunSettings, read_today
from tod.runs.manifest import differences
from tod.runs.names import runs_of

SHOWN = 4
"""Runs that a message lists."""


@dataclass(frozen=True)
class _Near:
    """A run of the same recipe, by what tells it from what was asked for.

    Attributes:
        path: Its directory.
        differs: Settings that it has and that were not asked for, ``train.seed=7``.
        done: Steps that are done.
        steps: Steps that it has in all.
    """

    path: Path
    differs: tuple[str, ...]
    done: int
    steps: int


def meant(settings: RunSettings, overrides: Sequence[str], folder: Path) -> Path | None:
    """The one run of this recipe that is not done and contradicts nothing that was said.

    A run that was started with overrides is meant without repeating them. None where there is no
    run that agrees with what was said: then a new one is meant.

    Args:
        settings: What was asked for.
        overrides: What of it was said, as ``path=value``.
        folder: Where runs lie.

    Raises:
        RunError: Several may be meant, or all are done; with their directories.
    """
    near = _near(settings, overrides, folder)
    going_on = [found for found in near if found.done < found.steps]
    if not near:
        return None
    if len(going_on) == 1:
        return going_on[0].path
    raise RunError(_which(settings.name, going_on or near, bool(going_on)))


def _near(settings: RunSettings, overrides: Sequence[str], folder: Path) -> list[_Near]:
    asked = settings.plain()
    said = {word.partition("=")[0] for word in overrides} - {LENGTH}
    found = []
    for path, manifest in runs_of(folder, settings.name):
        rows = [
            (place, mine)
            for place, mine, _ in differences(read_today(manifest.recipe), asked)
            if place not in (*MAY_DIFFER, LENGTH)
        ]
        if any(_of_one(place, word) for place, _ in rows for word in said):
            continue
        done, steps = done_of(path), (manifest.recipe.get("train") or {}).get("steps")
        if done is None or not isinstance(steps, int):
            continue
        found.append(_Near(path, tuple(f"{place}={mine}" for place, mine in rows), done, steps))
    return found


def _of_one(place: str, word: str) -> bool:
    """Whether one path is the other, or lies in it."""
    return place == word or place.startswith(f"{word}.") or word.startswith(f"{place}.")


def _which(name: str, several: Sequence[_Near], going_on: bool) -> str:
    lines = [
        f"  {found.path}: {found.done} of {found.steps} steps, {', '.join(found.differs)[:120]}"
        for found in several[:SHOWN]
    ]
    if len(several) > SHOWN:
        lines.append(f"  and {counted(len(several) - SHOWN, 'run')} more")
    listed = "\n".join(lines)
    state = "not done" if going_on else "done"
    first = shlex.quote(str(several[0].path))
    return (
        f"--resume: no run of {name} has exactly these settings. With others there are, {state}:\n"
        f"{listed}\nName the one to go on with: tod run {first} --resume. Without --resume a new "
        "one begins."
    )
