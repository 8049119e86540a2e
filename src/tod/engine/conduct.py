"""A run, trained or searched as its settings say, on as many threads as were asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers

from tod.engine.distributed import World, default_threads
from tod.engine.running import Events
from tod.engine.search.job import search
from tod.engine.settings import RunSettings
from tod.engine.train import train

__all__ = ["conduct", "on_threads"]


@contextmanager
def on_threads(threads: int | None) -> Iterator[World]:
    """The processes of the run, with torch on so many threads while it lasts.

    Args:
        threads: How many; as many as are free if None.
    """
    before = torch.get_num_threads()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(default_threads() if threads is None else threads)
    try:
        yield World.join()
    finally:
        torch.set_num_threads(before)


def conduct(
    settings: RunSettings,
    world: World,
    *,
    resume: bool = False,
    overwrite: bool = False,
    allow_imports: bool = False,
    events: Events | None = None,
) -> Path:
    """Train, or search, as the settings say; the run's directory. See `tod.engine.train.train`.

    A RunError says: the directory cannot be used as asked; nothing in it was touched.
    """
    return (search if settings.selects else train)(
        settings,
        resume=resume,
        overwrite=overwrite,
        allow_imports=allow_imports,
        events=events,
        world=world,
    )
