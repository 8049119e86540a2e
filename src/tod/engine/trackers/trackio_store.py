"""Trackio: a database of the project under ``TRACKIO_DIR``, or a server that its variables name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tod.base.extras import load
from tod.engine.trackers.store import Store
from tod.engine.trackers.tracked_run import PROJECT

REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""Variables by which a person sends runs elsewhere."""


class TrackioStore(Store):
    """A run in Trackio, which tells runs apart by their names alone."""

    name = "trackio"

    def _tracker(self) -> Any:
        from accelerate.tracking import TrackioTracker

        class Quiet(TrackioTracker):  # type: ignore[misc]
            """Started without asking the hub for a person's name."""

            def start(self) -> None:
                """Begin, or go on."""
                with _offline(not any(os.environ.get(name) for name in REMOTE)):
                    super().start()

            def finish(self) -> None:
                """End it; by itself it would be ended again, aloud, when Python exits."""
                load("trackio").finish()

        return Quiet(
            os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{self.run.name}-{self.run.id[:4]}",
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def _last(self) -> int:
        return int(self.tracker.tracker._next_step) - 1


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Without the hub, which Trackio asks whose a token is."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
