"""A run killed at any moment and resumed is the run that was never killed, bit for bit."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from tod.base import RunError
from tod.engine.settings import RunSettings
from tod.engine.train import Events, train
from tod.runs import RunDirectory, comparable

Make = Callable[..., RunSettings]


# children are forked from a clean server: polars' threads would not survive a fork of this process
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tod.engine.train", "transformers.models.llama.modeling_llama"])


def in_child(settings: RunSettings, *, resume: bool, kill_after: float | None) -> bool:
    """Train in another process, killed with SIGKILL after some seconds; whether it finished."""
    child = CONTEXT.Process(target=train, args=(settings,), kwargs={"resume": resume})
    child.start()
    child.join(kill_after)
    if child.exitcode is None:
        child.kill()
        child.join()
        return False
    assert child.exitcode == 0, "the child failed by itself"
    return True


def tensors(run: Path) -> dict[str, np.ndarray]:
    latest = RunDirectory.open(run).latest_checkpoint()
    assert latest is not None
    parts = ("policy", "optimiser", "behaviour")
    files = [latest / f"{part}.safetensors" for part in parts]
    return {
        f"{file.stem}/{name}": value
        for file in files
        if file.exists()
        for name, value in load_file(file).items()
    }


def same_run(first: Path, second: Path) -> None:
    a, b = tensors(first), tensors(second)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert np.array_equal(value, b[name]), f"{name} differs"
    one, two = RunDirectory.open(first), RunDirectory.open(second)
    assert [comparable(r) for r in one.steps.read()] == [comparable(r) for r in two.steps.read()]
    assert list(one.decisions.read()) == list(two.decisions.read())
    for table in ("contexts", "rollouts"):
        ours, theirs = getattr(one, table).scan(), getattr(two, table).scan()
        assert ours.collect().equals(theirs.collect()), table


@pytest.mark.parametrize("times", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_at_random_moments(small: Make, times: int) -> None:
    changes = {"operator__proposal__refresh": 2, "evaluate": {"held_out_prompts": 4, "every": 3}}
    whole, broken = (
        small("whole", train__steps=8, **changes),
        small("broken", train__steps=8, **changes),
    )
    assert in_child(small("warm", train__steps=1), resume=False, kill_after=None)
    began = time.monotonic()
    assert in_child(whole, resume=False, kill_after=None)
    length = time.monotonic() - began
    rng = np.random.default_rng(5)
    kills, finished, started = 0, False, False
    while kills < times:
        finished = in_child(
            broken, resume=started, kill_after=float(rng.uniform(0.02, 0.35)) * max(length, 1.0)
        )
        kills += not finished
        started = started or (broken.directory / "manifest.json").exists()
        if finished:  # begin another run to be killed in
            same_run(whole.directory, broken.directory)
            shutil.rmtree(broken.directory)
            started = False
    assert in_child(broken, resume=started, kill_after=None)
    same_run(whole.directory, broken.directory)


def paused(settings: RunSettings, phase: str, count: int, pause: Path) -> None:
    """Train, and wait at the ``count``-th ``phase`` for as long as the file ``pause`` is there."""
    seen: list[str] = []

    def wait(name: str) -> None:
        seen.append(name)
        if (name, seen.count(name)) == (phase, count):
            pause.with_suffix(".reached").touch()
            while pause.exists():
                time.sleep(0.01)

    train(settings, events=Events(phase=wait))


def second_writer(settings: RunSettings, command: bool) -> str:
    """What `--resume` says, started by the command or by a call."""
    if not command:
        with pytest.raises(RunError) as caught:
            train(settings, resume=True)
        return str(caught.value)
    recipe = settings.directory.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(settings.plain()))
    done = subprocess.run(
        [sys.executable, "-m", "tod.cli.main", "run", str(recipe), "--resume"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def beside_a_living_run(small: Make, trials: int, command: bool) -> None:
    """``trials`` second writers, each at its own moment of a run that then ends as if alone."""
    changes = {"evaluate": {"held_out_prompts": 4, "every": 2}, "operator__proposal__refresh": 2}
    whole = small("whole", **changes)
    train(whole)
    rng = np.random.default_rng(11)
    for trial in range(trials):
        settings = small(f"run-{trial}", **changes)
        phase = str(rng.choice(["sampling", "updating", "saving", "evaluating"]))
        count = int(rng.integers(1, 4 if phase == "evaluating" else 5))
        pause = settings.directory.with_suffix(".pause")
        pause.touch()
        first = CONTEXT.Process(target=paused, args=(settings, phase, count, pause))
        first.start()
        while not pause.with_suffix(".reached").exists():
            assert first.exitcode is None
            time.sleep(0.01)
        try:
            said = second_writer(settings, command)
        finally:
            pause.unlink()
        assert f"process {first.pid} on {socket.gethostname()}" in said
        first.join()
        assert first.exitcode == 0
        same_run(whole.directory, settings.directory)
        assert not (settings.directory / ".lock").exists()


def test_a_second_process_is_refused_beside_a_living_run(small: Make) -> None:
    beside_a_living_run(small, trials=2, command=False)


@pytest.mark.slow
def test_twenty_resumes_beside_a_living_run(small: Make) -> None:
    beside_a_living_run(small, trials=20, command=True)


def test_a_killed_run_leaves_a_lock_that_is_taken_over(small: Make) -> None:
    whole, broken = small("whole"), small("broken")
    train(whole)
    pause = broken.directory.with_suffix(".pause")
    pause.touch()
    first = CONTEXT.Process(target=paused, args=(broken, "updating", 3, pause))
    first.start()
    while not pause.with_suffix(".reached").exists():
        time.sleep(0.01)
    first.kill()
    first.join()
    assert json.loads((broken.directory / ".lock").read_text())["pid"] == first.pid
    train(broken, resume=True)
    same_run(whole.directory, broken.directory)


@pytest.mark.parametrize("left", [(), ("",), ("", ".lock"), ("", ".manifest.json.tmp")])
def test_killed_before_the_manifest_starts_from_the_beginning(
    small: Make, left: tuple[str, ...]
) -> None:
    """Nothing, an empty directory, one with a dead lock, one with half a manifest."""
    settings = small("run")
    for name in left:
        place = settings.directory / name
        place.write_text("{") if name else place.mkdir()
    with pytest.warns(UserWarning, match="holds no run to resume.*from the beginning"):
        train(settings, resume=True)
    whole = small("whole")
    train(whole)
    same_run(whole.directory, settings.directory)


def test_interrupt_saves_the_last_step(small: Make) -> None:
    settings = small(train__steps=5, train__checkpoint_every=100)

    asked = []

    def stop(phase: str) -> None:
        asked.append(phase)
        if phase == "updating" and asked.count(phase) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(settings, events=Events(phase=stop))
    latest = RunDirectory.open(settings.directory).latest_checkpoint()
    assert latest is not None
    assert latest.name == "step-3"
    whole = small("whole", train__steps=5, train__checkpoint_every=100)
    train(whole)
    train(settings, resume=True)
    same_run(whole.directory, settings.directory)


def test_run_directory_is_never_overwritten_silently(small: Make) -> None:
    settings = small(train__steps=1)
    train(settings)
    before = (settings.directory / "steps.jsonl").read_bytes()
    with pytest.raises(RunError, match="--resume"):
        train(settings)
    assert (settings.directory / "steps.jsonl").read_bytes() == before


def test_checkpoint_of_another_recipe_is_refused(small: Make) -> None:
    train(small(train__steps=1))
    with pytest.raises(RunError, match=r"train\.learning_rate"):
        train(small(train__steps=1, train__learning_rate=5e-4), resume=True)


def test_checkpoint_of_another_schema_is_refused(small: Make) -> None:
    settings = small(train__steps=2)
    train(settings)
    page = settings.directory / "checkpoints" / "step-2" / "state.json"
    data = json.loads(page.read_text())
    text = json.dumps(data, indent=1).replace("tod.checkpoint/1", "tod.checkpoint/9")
    page.write_text(text)
    marker = page.with_name("complete.json")
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {page.name: len(text.encode())}))
    with pytest.raises(RunError, match=r"tod\.checkpoint/9"):
        train(settings, resume=True)
