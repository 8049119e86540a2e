"""TensorBoard: event files in the folder ``tensorboard`` of the run."""

from typing import Any

from tod.engine.trackers.last_step import last_step
from tod.engine.trackers.store import Store

FOLDER = "tensorboard"


class TensorBoardStore(Store):
    """A run in TensorBoard's event files, which hold single precision."""

    name = "tensorboard"

    def _tracker(self) -> Any:
        from accelerate.tracking import TensorBoardTracker

        # before a new file is there
        self._there = last_step((self.run.directory / FOLDER).glob("*tfevents*"))
        return TensorBoardTracker(FOLDER, logging_dir=str(self.run.directory))

    def _last(self) -> int:
        return self._there
