"""What trackers get: the real libraries' stores hold the records of the run, each step once."""

import importlib.util
import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.base import MissingPackage, RunError, SpecError
from tod.engine.distributed import World
from tod.engine.settings import RunSettings
from tod.engine.trackers.names import TrackerName
from tod.engine.trackers.store import Store
from tod.engine.trackers.tracked_run import TrackedRun
from tod.engine.trackers.tracking import STORES, tracked, tracked_figures
from tod.engine.train import Events, train
from tod.logs.wandb_run import read_run_file
from tod.runs import Manifest, RunDirectory, StepRecord

Make = Callable[..., RunSettings]
Points = dict[str, list[tuple[int, float]]]
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


EVERY = [
    pytest.param(
        name,
        marks=[
            pytest.mark.skipif(not installed(name), reason=f"{name} is not installed"),
            *([] if name == "tensorboard" else [pytest.mark.slow]),
        ],
    )
    for name in STORES
]
"""TensorBoard's is in the development set; the others are started where they are installed."""


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where every store is, of an environment that says nothing, without a network."""
    for name in [name for name in os.environ if name.startswith(("WANDB", "TRACKIO", "MLFLOW"))]:
        monkeypatch.delenv(name)
    World.join()
    monkeypatch.chdir(tmp_path)
    if "wandb" in sys.modules:  # it keeps where it was first asked from
        sys.modules["wandb"].teardown()
    if installed("trackio"):
        for module in ("utils", "sqlite_storage"):
            place = tmp_path / "trackio"
            monkeypatch.setattr(f"trackio.{module}.TRACKIO_DIR", place)
    monkeypatch.setattr(socket, "getaddrinfo", _refused)
    return tmp_path


def _refused(host: Any, *rest: Any, **more: Any) -> Any:
    raise AssertionError(f"a network was used: {host}")


def of_tensorboard(run: TrackedRun) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    held = EventAccumulator(str(run.directory / "tensorboard"), size_guidance={"scalars": 0})
    held.Reload()
    tags = held.Tags()["scalars"]
    return {tag: [(point.step, point.value) for point in held.Scalars(tag)] for tag in tags}


def of_trackio(run: TrackedRun) -> Points:
    (path,) = Path("trackio").glob("*.db")
    found: Points = {}
    with sqlite3.connect(path) as store:
        names = {name for (name,) in store.execute("SELECT run_name FROM metrics")}
        assert names == {f"{run.name}-{run.id[:4]}"}
        for step, text in store.execute("SELECT step, metrics FROM metrics ORDER BY id"):
            for name, value in json.loads(text).items():
                found.setdefault(name, []).append((step, value))
    return found


class Rows(list[dict[str, Any]]):
    """What a reader of logs adds to."""

    def open(self, _path: Path) -> None:
        """A file begins."""

    def add(self, _number: int, row: dict[str, Any]) -> None:
        self.append(row)


def of_wandb(run: TrackedRun) -> Points:
    found: Points = {}
    for path in sorted(Path("wandb").glob(f"offline-run-*/run-{run.id}.wandb")):
        rows = Rows()
        read_run_file(path, rows)
        for row in rows:
            for name in (name for name in row if not name.startswith("_")):
                found.setdefault(name, []).append((int(row["_step"]), row[name]))
    return found


def of_mlflow(run: TrackedRun) -> Points:
    import mlflow

    client = mlflow.MlflowClient()
    (there,) = client.search_runs(["1"])
    assert there.data.tags["tod.run"] == run.id
    assert there.data.params["train.learning_rate"] == "0.001"
    return {
        name: [(p.step, p.value) for p in client.get_metric_history(there.info.run_id, name)]
        for name in there.data.metrics
    }


READ: dict[str, Callable[[TrackedRun], Points]] = {
    "mlflow": of_mlflow,
    "tensorboard": of_tensorboard,
    "trackio": of_trackio,
    "wandb": of_wandb,
}


def recorded(settings: RunSettings) -> tuple[TrackedRun, Points]:
    directory = RunDirectory.open(settings.directory)
    points: Points = {}
    for record in directory.steps.read():
        for name, value in tracked_figures(record).items():
            points.setdefault(name, []).append((record["step"], value))
    return TrackedRun.of(directory.path, directory.manifest), points


def as_held(name: str, points: Points) -> Points:
    """As the store can hold them: TensorBoard's scalars are single precision."""
    if name != "tensorboard":
        return points
    return {k: [(step, float(np.float32(value))) for step, value in p] for k, p in points.items()}


LENGTH = {"train__schedule": "constant", "evaluate": {"held_out_prompts": 3, "every": 2}}


def stopped_after(step: int) -> Events:
    """Ctrl-C at the end of a step."""

    def pressed(record: Any) -> None:
        if record.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return Events(record=pressed)


@pytest.mark.parametrize("name", EVERY)
def test_a_store_holds_the_records_of_a_run_that_was_stopped_and_made_longer(
    name: str, small: Make, alone: Path
) -> None:
    """Each step once, every number of it, and none that is unknown."""
    settings = small(track=[name], train__steps=3, train__checkpoint_every=2, **LENGTH)
    with pytest.raises(KeyboardInterrupt):
        train(settings, events=stopped_after(2))
    train(settings, resume=True)
    longer = settings.revised(train=settings.train.revised(steps=4))
    train(longer, resume=True)
    run, points = recorded(settings)
    assert [step for step, _ in points["world_size"]] == [0, 1, 2, 3, 4]
    assert {"utility.correct", "ess_rel.median", "held_out.pass_at_1", "seconds.train"} <= {*points}
    assert READ[name](run) == as_held(name, points)


def written(settings: RunSettings, steps: int) -> RunDirectory:
    """A run of these settings with the records of so many steps, and nothing trained."""
    manifest = Manifest.of("small", settings.plain(), {"train": 0})
    directory = RunDirectory.create(settings.directory, manifest)
    rng = np.random.default_rng(7)
    for step in range(steps):
        share, grad = rng.random(2)
        knobs = {"eta": 5.0, "beta": None if step else 0.1}
        record = StepRecord(step=step, utility={"correct": share}, knobs=knobs)
        directory.record(replace(record, optimiser={"grad_norm": grad}, time=1.8e9 + step))
    return directory


@pytest.mark.parametrize("name", EVERY)
def test_a_tracker_that_is_named_late_gets_the_steps_before(
    name: TrackerName, small: Make, alone: Path
) -> None:
    settings = small()
    with tracked([name], written(settings, 3)):
        pass
    run, points = recorded(settings)
    assert points["knobs.beta"] == [(0, 0.1)]
    assert READ[name](run) == as_held(name, points)


@pytest.mark.parametrize("name", EVERY)
def test_what_was_lost_when_a_run_was_killed_is_sent_again(
    name: TrackerName, small: Make, alone: Path
) -> None:
    """Libraries write in the background; a kill takes the last steps of a store with it."""
    settings = small()
    directory = written(settings, 3)
    store = STORES[name](TrackedRun.of(directory.path, directory.manifest))
    store.open()
    for record in (*directory.steps.read(),)[:2]:
        store.send(record["step"], tracked_figures(record))
    store.close()
    with tracked([name], directory):
        pass
    run, points = recorded(settings)
    assert READ[name](run) == as_held(name, points)


class Full(Store):
    """A store on a full disk."""

    name = "tensorboard"

    def _tracker(self) -> Any:
        return self

    def start(self) -> None:
        """Nothing."""

    def store_init_configuration(self, values: Any) -> None:
        """Nothing."""

    def log(self, values: Any, step: int) -> None:
        if step == 1:
            raise OSError("No space left on device")

    def finish(self) -> None:
        """Nothing."""

    def _last(self) -> int:
        return -1


def test_a_store_that_fails_is_said_once_and_stops_nothing(
    small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STORES, "tensorboard", Full)
    directory = written(small(), 4)
    with pytest.warns(
        UserWarning, match="tensorboard got no more steps: OSError: No space"
    ) as said:
        sent(directory)
    assert len(said) == 1


def sent(directory: RunDirectory) -> None:
    with tracked(["tensorboard"], directory) as tracking:
        for record in directory.steps.read():
            tracking.record(record)


def test_a_store_that_cannot_be_started_is_an_error_before_the_first_step(
    small: Make, alone: Path
) -> None:
    settings = small(track=["tensorboard"], train__steps=1)
    (written(settings, 0).path / "tensorboard").write_text("not a folder")
    with pytest.raises(RunError, match=r"track: tensorboard could not be started: .*--resume"):
        train(settings, resume=True)


@pytest.mark.parametrize("name", STORES)
def test_a_library_that_lacks_is_named_with_its_extra(
    name: str, small: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is loaded or made."""
    monkeypatch.setattr("tod.base.extras.find_spec", lambda _: None)
    monkeypatch.setattr("tod.base.extras.requires", lambda _: declared())
    settings = small(track=[name])
    extra = {"tensorboard": "logs"}.get(name, name)
    with pytest.raises(MissingPackage, match=rf"needs {name}.*'tod-posttrain\[{extra}\]'"):
        train(settings)
    assert not settings.directory.exists()


def declared() -> list[str]:
    """What the project file says of extras, as an installed package tells it."""
    import tomllib

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    return [f"{item}; extra == '{name}'" for name, items in extras.items() for item in items]


def test_the_extra_of_all_trackers_brings_each_of_them() -> None:
    brought = {line.partition(">")[0] for line in declared() if line.endswith("'track'")}
    assert {"tensorboard", "trackio", "wandb", "mlflow-skinny"} <= brought


def test_an_unknown_tracker_is_refused(small: Make) -> None:
    with pytest.raises(SpecError, match=r"track.*wandb.*wandd"):
        small(track=["wandd"])


def test_a_process_that_does_not_write_has_no_store() -> None:
    with tracked(["wandb"], None) as tracking:
        assert tracking._stores == []


def test_a_run_that_is_replaced_is_another_one(small: Make) -> None:
    """Its steps do not go on those of the former, and moving the folder above changes nothing."""
    run = written(small(), 0)
    first = TrackedRun.of(run.path, run.manifest)
    later = RunDirectory.open(run.path)
    assert TrackedRun.of(later.path, later.manifest).id == first.id
    object.__setattr__(later.manifest, "created", "2030-01-01T00:00:00+00:00")
    assert TrackedRun.of(later.path, later.manifest).id != first.id


def test_the_recipe_is_told_as_plain_values(small: Make) -> None:
    run = written(small(), 0)
    told = TrackedRun.of(run.path, run.manifest).config
    assert told["train.steps"] == 4
    assert told["evaluate"] == "null"
    assert json.loads(str(told["utilities"]))[0]["name"] == "correct"
    assert {type(value) for value in told.values()} <= {bool, int, float, str}
