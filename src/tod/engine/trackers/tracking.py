"""The trackers of a run: every step goes to all of them, once."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tod.base import RunError
from tod.base.extras import require
from tod.base.frames import flat
from tod.engine.trackers.mlflow_store import MLflowStore
from tod.engine.trackers.names import TrackerName
from tod.engine.trackers.store import Store
from tod.engine.trackers.tensorboard_store import TensorBoardStore
from tod.engine.trackers.tracked_run import TrackedRun
from tod.engine.trackers.trackio_store import TrackioStore
from tod.engine.trackers.wandb_store import WandbStore
from tod.runs import RunDirectory
from tod.runs.figures import figures

STORES: Mapping[TrackerName, type[Store]] = {
    "mlflow": MLflowStore,
    "tensorboard": TensorBoardStore,
    "trackio": TrackioStore,
    "wandb": WandbStore,
}

OWN_CLOCK = ("step", "time")
"""Numbers of a record that a tracker keeps in columns of its own."""


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Nothing, if the libraries of these trackers are installed.

    Raises:
        MissingPackage: One is not; with the command that installs it.
    """
    for name in names:
        require(name)


def tracked_figures(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record by their dotted names, as trackers get them; none that is unknown.

    >>> tracked_figures({"step": 3, "utility": {"correct": 0.5}, "ess_rel": {"median": None}})
    {'utility.correct': 0.5}
    """
    return {
        name: value
        for name, value in flat(dict(figures(record)))
        if isinstance(value, int | float) and name not in OWN_CLOCK
    }


class Tracking:
    """The stores of a run, open.

    A store that fails while the run is under way is let go, which is said once: the run goes on,
    and its own records stay whole.

    Args:
        stores: They.
        directory: The run's; None in a process that does not write, which has no stores.
    """

    def __init__(self, stores: Sequence[Store] = (), directory: RunDirectory | None = None) -> None:
        self._stores = list(stores)
        self._directory = directory
        self._caught_up = False

    def record(self, record: Mapping[str, Any]) -> None:
        """Send a step that was recorded; at first also all steps before it that are not there."""
        if not self._caught_up:
            self.catch_up()
        self._send(record)

    def catch_up(self) -> None:
        """Send every recorded step that a store lacks."""
        self._caught_up = True
        if self._stores and self._directory is not None:
            for record in self._directory.steps.read():
                self._send(record)

    def close(self) -> None:
        """Send what lacks, and end the run in every store."""
        if not self._caught_up:
            self.catch_up()
        for store in list(self._stores):
            self._try(store, store.close)

    def _send(self, record: Mapping[str, Any]) -> None:
        step, sent = int(record["step"]), tracked_figures(record)
        for store in list(self._stores):
            self._try(store, partial(store.send, step, sent))

    def _try(self, store: Store, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            self._stores.remove(store)
            warnings.warn(
                f"{store.name} got no more steps: {_words(error)}. The run goes on and its own "
                "records are whole; `tod run DIRECTORY --resume` sends what lacks.",
                stacklevel=2,
            )


@contextmanager
def tracked(names: Sequence[TrackerName], directory: RunDirectory | None) -> Iterator[Tracking]:
    """The trackers of a run, open while it lasts; none in a process without its directory.

    Raises:
        RunError: One cannot be started.
    """
    opened: list[Store] = []
    try:
        if directory is not None:
            run = TrackedRun.of(directory.path, directory.manifest)
            opened.extend(_opened(STORES[name](run)) for name in dict.fromkeys(names))
    except RunError:
        Tracking(opened).close()
        raise
    tracking = Tracking(opened, directory)
    try:
        yield tracking
    finally:
        tracking.close()


def _opened(store: Store) -> Store:
    try:
        store.open()
    except Exception as error:
        raise RunError(
            f"track: {store.name} could not be started: {_words(error)}. Mend that, or leave it "
            "out of `track`; the run has not begun, and goes on with `--resume`."
        ) from error
    return store


def _words(error: Exception) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
