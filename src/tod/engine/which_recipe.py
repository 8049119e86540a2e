"""What RECIPE means on a command line: a name, a file, a run's directory, or nothing yet."""

import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tod.base import SpecError

if TYPE_CHECKING:
    from tod.engine.settings import RunSettings

FRAMEWORKS = {"trl": "TRL", "openrlhf": "OpenRLHF", "nemo_rl": "NeMo-RL", "skyrl": "SkyRL"}
"""How frameworks write their names, where that is not how we do."""


def settings_of(recipe: str, overrides: tuple[str, ...], resume: bool) -> "RunSettings":
    """The settings that a word names, with overrides.

    Raises:
        SpecError: It names no recipe, or one that means nothing; a run's directory where none is
            resumed; another framework's configuration, with the command that reads it.
        RunError: Several runs may be meant.
    """
    from tod.atlas import recipe_file
    from tod.engine.settings import RunSettings

    path = Path(recipe)
    if (path / "manifest.json").exists():
        if resume:
            return RunSettings.of_run(path, overrides)
        raise SpecError(
            f"{path} is a run. `tod run {shlex.quote(recipe)} --resume` goes on with it, and "
            "train.steps=... after that makes it longer; a recipe's name starts another one."
        )
    if "=" in recipe and not path.exists():
        raise SpecError(
            f"{recipe!r} overrides a setting of a recipe: name that first, as in `tod run "
            f"quickstart {shlex.quote(recipe)}`. `tod run` lists the recipes."
        )
    try:
        settings = RunSettings.load(recipe_file(recipe), overrides)
    except SpecError:
        foreign = foreign_to(path) if path.is_file() else None
        if foreign is None:
            raise
        raise SpecError(foreign) from None
    return _resumed(settings, overrides) if resume else settings


def _resumed(settings: "RunSettings", overrides: tuple[str, ...]) -> "RunSettings":
    """The settings of the run that is meant, where none has exactly these."""
    from tod.engine.meant import meant
    from tod.engine.place import FOLDER, resumable

    if settings.output is not None or resumable(settings, FOLDER) is not None:
        return settings
    there = meant(settings, overrides, FOLDER)
    if there is None:
        return settings
    warnings.warn(f"going on with {there}, the only such run that is not done", stacklevel=2)
    return type(settings).of_run(there, overrides)


def foreign_to(path: Path) -> str | None:
    """What to do with another framework's configuration; None for a recipe, or nobody's file."""
    from tod.configurations.recognise import detect

    try:
        framework = detect(path).framework
    except SpecError:
        return None
    if framework == "tod":
        return None
    name = FRAMEWORKS.get(framework, framework)
    file = shlex.quote(str(path))
    return (
        f"{path} is a configuration of {name}, and `tod run` trains recipes of "
        f"its own. `tod atlas locate {file}` says what it aims at; `tod atlas translate {file} "
        "--to tod -o mine.yaml` writes a recipe of it."
    )
