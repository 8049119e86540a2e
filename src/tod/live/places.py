"""Where the records of a training go: a place of its own, and the same place when it is resumed."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from tod.base import RunError
from tod.live.guard import Guard
from tod.runs import DirectoryLock, RunDirectory
from tod.runs.records import plain

logger = logging.getLogger(__name__)


def places(asked: Path) -> Iterator[Path]:
    """The directory that was asked for, then its name with 2, 3 and so on."""
    yield asked
    for number in count(2):
        yield asked.with_name(f"{asked.name}-{number}")


def free(asked: Path, overwrite: bool, how: str) -> tuple[Path, DirectoryLock]:
    """The first place that no other run has, and its lock; another than the first is said.

    Args:
        asked: The directory that was asked for.
        overwrite: Whether an earlier run there may be replaced.
        how: How a person says that it may.

    Raises:
        RunError: The first cannot be written at all.
    """
    for place in places(asked):
        try:
            return place, RunDirectory.claim(place, overwrite=overwrite)
        except RunError as error:
            if not (place.is_dir() and any(place.iterdir())):
                raise
            logger.warning(
                "%s %s. The records of this run go to the same name with the next number.",
                error,
                how,
            )
    raise AssertionError("there is a number for every run")


@contextmanager
def writing(guard: Guard, run: RunDirectory) -> Iterator[None]:
    """Rows that cannot be written are forgotten: a full disk must not fill the memory too."""
    with guard("writing the records") as block:
        yield
    if block.failed:
        run.discard_pending()


def reopened(
    asked: Path, step: int, recipe: Mapping[str, Any] | None = None
) -> RunDirectory | None:
    """The newest run there, cut to what it held at ``step``; None where none is there.

    Args:
        asked: The directory that was asked for.
        step: The last step that stays.
        recipe: What the run's manifest must say that it is; others are passed over, untouched. None
            takes any.

    Raises:
        RunError: Another process writes to it.
    """
    for place in reversed(list(takewhile(RunDirectory.begun, places(asked)))):
        if recipe is not None and _another(place, recipe):
            continue
        run = RunDirectory.open(place, lock=RunDirectory.claim(place, resume=True))
        run.resume_at(step)
        return run
    return None


def _another(place: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether the run there is another one than the recipe's, or cannot be read; said if it is."""
    try:
        RunDirectory.open(place).check_recipe(plain(recipe))
    except RunError as error:
        logger.warning("The run of %s is not gone on with: %s", place, error)
        return True
    return False
