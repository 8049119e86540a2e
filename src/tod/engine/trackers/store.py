"""One run in the store of one tracker, reached through accelerate's class of it."""

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, ClassVar, final

from tod.engine.trackers.tracked_run import TrackedRun


class Store(ABC):
    """One run in the store of one tracker.

    Accelerate starts it, logs to it and ends it; what it does not know is here: which run of the
    store goes on, and up to which step it is there.

    Args:
        run: The run.

    Attributes:
        name: Of the tracker, and of the module of its library.
        tracker: Accelerate's object, while the store is open.
        last: The last step that is there already; −1 where none is.
    """

    name: ClassVar[str]

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.tracker: Any = None
        self.last = -1

    @final
    def open(self) -> None:
        """Start the run there, or go on with it; a new one is told the recipe."""
        with redirect_stdout(io.StringIO()):  # what a library greets with is not of the run
            self.tracker = self._tracker()
            self.tracker.start()
            self.last = self._last()
            if self.last < 0:
                self.tracker.store_init_configuration(self.run.config)

    @final
    def close(self) -> None:
        """Write what is pending, and end the run there."""
        if self.tracker is not None:
            with redirect_stdout(io.StringIO()):
                self.tracker.finish()
            self.tracker = None

    @final
    def send(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a step, unless it is there."""
        if step > self.last:
            self._send(step, figures)
            self.last = step

    def _send(self, step: int, figures: Mapping[str, float]) -> None:
        self.tracker.log(dict(figures), step=step)

    @abstractmethod
    def _tracker(self) -> Any:
        """Accelerate's object, made to go on with this run where the store has it."""

    @abstractmethod
    def _last(self) -> int:
        """The last step that the store has of this run; −1 where it has none.

        Steps arrive in order, so that it lacks none before that.
        """
