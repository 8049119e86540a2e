"""A run from its first file to its last: whose directory it is, who watches, what it holds."""

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tod.base import RunError
from tod.engine.distributed import World
from tod.engine.extension import continued
from tod.engine.place import placed
from tod.engine.session import Session, open_session
from tod.engine.settings import RunSettings
from tod.engine.trackers.tracking import Tracking, require_trackers, tracked
from tod.runs import DirectoryLock, Manifest, RunDirectory, StepRecord


@dataclass(frozen=True)
class Events:
    """What a run tells whoever watches; every callback is optional.

    Attributes:
        record: A step is done; its record.
        phase: A part of a step begins: its name.
        resumed: The run goes on after this step.
        stopping: Ctrl-C was noticed; the step under way is being finished.
    """

    record: Callable[[StepRecord], None] = lambda _: None
    phase: Callable[[str], None] = lambda _: None
    resumed: Callable[[int], None] = lambda _: None
    stopping: Callable[[], None] = lambda: None


@dataclass
class Job(ABC):
    """One run under way. Only the main process has a directory to write to."""

    settings: RunSettings
    session: Session
    directory: RunDirectory | None
    events: Events
    world: World
    tracking: Tracking

    @abstractmethod
    def go(self, resume: bool) -> None:
        """All steps from the state on disk, or from the start."""

    @classmethod
    def carry_out(
        cls,
        settings: RunSettings,
        resume: bool,
        overwrite: bool,
        allow_imports: bool,
        events: Events | None,
        world: World | None,
    ) -> Path:
        """The run directory, this process's own from before anything is loaded until the end.

        The main process holds its lock and writes; what is wrong with it is raised in all
        processes. A run that was stopped before its manifest was written starts from the
        beginning, which is said.

        Raises:
            RunError: The directory cannot be used as asked, another process writes to it, or the
                run there has another recipe; nothing in it was touched.
            MissingPackage: The library of a tracker is not installed.
        """
        require_trackers(settings.track)
        if resume and overwrite:
            raise RunError(
                "resume and overwrite exclude each other: go on with the run, or replace it."
            )
        world = world or World.join()
        settings = placed(settings, world, resume=resume, overwrite=overwrite)
        path = settings.directory
        lock = world.in_main(lambda: RunDirectory.claim(path, resume=resume, overwrite=overwrite))
        with lock or nullcontext():
            begun = resume and world.gather(RunDirectory.begun(path))[0]
            if world.main and resume and not begun:
                warnings.warn(
                    f"{path} holds no run to resume: it was never started, or was stopped before "
                    "its first record. It starts from the beginning.",
                    stacklevel=3,
                )
            with (
                closing(open_session(settings, world, allow_imports=allow_imports)) as session,
                ExitStack() as open_while_it_runs,
            ):
                directory = world.in_main(lambda: _opened(settings, begun, overwrite, lock))
                trackers = tracked(settings.track, directory)
                tracking = world.in_main(lambda: open_while_it_runs.enter_context(trackers))
                watched = events or Events()
                cls(settings, session, directory, watched, world, tracking or Tracking()).go(begun)
        return path

    def record(self, record: StepRecord) -> None:
        """Write a step's record at this time, and tell whoever watches."""
        record = replace(record, time=time.time(), world_size=self.world.size)
        if self.directory is not None:
            self.directory.record(record)
        self.tracking.record(record.to_dict())
        self.events.record(record)


class Clock:
    """Seconds by phase.

    Args:
        device: Where work is done; a phase ends when what it asked of an accelerator is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def mark(self, phase: str) -> None:
        """The phase that just ended."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        instant = time.perf_counter()
        self.seconds[phase] = round(instant - self._last, 4)
        self._last = instant


def _opened(
    settings: RunSettings, begun: bool, overwrite: bool, lock: DirectoryLock | None
) -> RunDirectory:
    """The directory to write to, made, or opened where the run goes on."""
    if begun:
        return continued(RunDirectory.open(settings.directory, lock=lock), settings)
    seeds = {"search" if settings.selects else "train": settings.seed}
    manifest = Manifest.of(settings.name, settings.plain(), seeds)
    return RunDirectory.create(settings.directory, manifest, overwrite=overwrite, lock=lock)
