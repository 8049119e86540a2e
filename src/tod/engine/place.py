"""Where a run is written: where it says, in a place of its own, or where it goes on."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from tod.base import DataError, RunError
from tod.engine.distributed import World
from tod.engine.settings import LENGTH, MAY_DIFFER, RunSettings, read_today
from tod.runs import RunDirectory
from tod.runs.manifest import differences
from tod.runs.names import new_name, runs_of, stem_of

FOLDER = Path("runs")
"""Where runs go that do not say where."""


def placed(
    settings: RunSettings,
    world: World,
    *,
    resume: bool = False,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
) -> RunSettings:
    """The settings with their output, the same in every process.

    Args:
        settings: The run; one that says its ``output`` keeps it.
        world: The processes.
        resume: Whether an earlier run of these settings is to go on: one that is not done before
            others, then the newest. Without one a new run begins, which is said.
        overwrite: Whether a run may be replaced, which needs an ``output``.
        overrides: What was overridden, for the name.

    Raises:
        RunError: ``overwrite`` without an output.
    """
    if settings.output is not None:
        return settings
    if overwrite:
        raise RunError(
            "nothing is replaced without an `output`: each run has a new name. Say which run to "
            "replace, `output=runs/...`."
        )
    path = world.in_main(lambda: _place(settings, resume, overrides))
    return settings.model_copy(update={"output": world.gather(path)[0]})


def _place(settings: RunSettings, resume: bool, overrides: Sequence[str]) -> Path:
    new = new_name(FOLDER, stem_of(settings.name, overrides))
    if not resume:
        return new
    earlier = resumable(settings, FOLDER)
    if earlier is None:
        warnings.warn(
            f"{FOLDER} holds no run of {settings.name} with these settings to resume: a new one "
            f"starts, {new}. Another run goes on by its directory: tod run DIRECTORY --resume.",
            stacklevel=2,
        )
    return earlier or new


def resumable(settings: RunSettings, folder: Path) -> Path | None:
    """The run of a folder that has these settings, up to its length; None where there is none."""
    asked, found = settings.plain(), []
    for path, manifest in runs_of(folder, settings.name):
        changed = {place for place, _, _ in differences(read_today(manifest.recipe), asked)}
        if not changed - {*MAY_DIFFER, LENGTH}:
            done = done_of(path)
            if done is not None:
                longer = done < settings.steps
                found.append((longer, LENGTH not in changed, manifest.created, path))
    return max(found)[-1] if found else None


def done_of(path: Path) -> int | None:
    """Steps of a run that are recorded; None where its records are damaged."""
    try:
        return max((int(r["step"]) for r in RunDirectory.open(path).steps.read()), default=0)
    except (DataError, RunError, KeyError, TypeError, ValueError):
        return None
