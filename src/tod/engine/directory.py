"""The directory of a run: looked at before anything is loaded, made when all of it is."""

from tod.base import RunError
from tod.engine.settings import MAY_DIFFER, RunSettings
from tod.engine.world import World
from tod.runs import Manifest, RunDirectory


def require_free(settings: RunSettings, resume: bool, overwrite: bool, world: World) -> None:
    """Refuse a directory that cannot be used as asked, before a model is loaded.

    Raises:
        RunError: It holds a run, or both flags are given.
    """
    if resume and overwrite:
        raise RunError(
            "resume and overwrite exclude each other: go on with the run, or replace it."
        )
    if world.main and not (resume or overwrite):
        RunDirectory.require_free(settings.directory)


def open_directory(
    settings: RunSettings, seeds: dict[str, int], resume: bool, overwrite: bool, world: World
) -> RunDirectory | None:
    """The directory to write to, made or opened by the main process only.

    Raises:
        RunError: It cannot be used as asked; nothing in it was touched.
    """
    if not world.main:
        world.wait()
        return None
    if resume:
        directory = RunDirectory.open(settings.directory)
        directory.check_recipe(settings.plain(), free=MAY_DIFFER)
    else:
        manifest = Manifest.of(settings.name, settings.plain(), seeds)
        directory = RunDirectory.create(settings.directory, manifest, overwrite=overwrite)
    world.wait()
    return directory
