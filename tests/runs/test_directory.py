"""A run on disk, and what interruptions do to it."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import run_writer
from run_writer import RECIPE, columns_of_contexts, write

from tod.base import RunError
from tod.runs import Manifest, RunDirectory, StepRecord

STEPS = 40


def create(path, **more):
    return RunDirectory.create(path, Manifest.of("demo", RECIPE, {"train": 0}), **more)


def test_create_then_open(tmp_path):
    create(tmp_path / "runs" / "demo").record(StepRecord(step=1, utility={"u": 0.5}))
    run = RunDirectory.open(tmp_path / "runs" / "demo")
    assert run.manifest.recipe == RECIPE
    assert next(run.steps.read())["utility"] == {"u": 0.5}


def test_an_existing_run_is_never_overwritten_silently(tmp_path):
    create(tmp_path / "r").record({"step": 1})
    with pytest.raises(RunError, match=r"--resume.*--overwrite.*output"):
        create(tmp_path / "r")
    assert list(create(tmp_path / "r", overwrite=True).steps.read()) == []


def test_what_is_not_a_run_is_never_removed(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not a run"):
        create(tmp_path, overwrite=True)
    with pytest.raises(RunError, match="is a file"):
        create(tmp_path / "thesis.txt", overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_open_explains(tmp_path):
    with pytest.raises(RunError, match="no such run"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(RunError, match="not a run directory"):
        RunDirectory.open(tmp_path)
    (tmp_path / "f").touch()
    with pytest.raises(RunError, match="is a file"):
        RunDirectory.open(tmp_path / "f")


def test_another_recipe_is_refused_by_path(tmp_path):
    run = create(tmp_path / "r")
    longer = {**RECIPE, "train": {"steps": 80}}
    with pytest.raises(RunError, match=r"train\.steps: 40 there, 80 asked"):
        run.check_recipe(longer)
    run.check_recipe(longer, free=("train.steps",))
    run.check_recipe(RECIPE)


def test_full_disk_names_what_is_kept(tmp_path, monkeypatch):
    run = create(tmp_path / "r")
    run.record({"step": 1})
    with run.checkpoint(1) as path:
        (path / "weights").touch()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RunError, match=r"steps\.jsonl.*up to step 1, checkpoint step-1"):
        run.record({"step": 2})
    with pytest.raises(RunError, match=r"contexts.*Kept"):
        run.write_contexts(2, columns_of_contexts())
    monkeypatch.undo()
    with pytest.raises(RunError, match="checkpoint step-2"), run.checkpoint(2):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert run.latest_checkpoint().name == "step-1"


def test_checkpoint_flushes_and_prunes(tmp_path):
    run = create(tmp_path / "r", part_steps=10)
    for step in (1, 2, 3):
        run.write_contexts(step, columns_of_contexts())
        with run.checkpoint(step, keep=2):
            pass
    assert len(run.contexts.paths()) == 3
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step-2", "step-3"]


def test_a_stop_before_the_pruning_leaves_no_checkpoint_too_many(tmp_path):
    write(tmp_path / "whole", STEPS)
    write(tmp_path / "stopped", STEPS)
    shutil.copytree(
        tmp_path / "stopped" / "checkpoints" / "step-39",
        tmp_path / "stopped" / "checkpoints" / "step-33",
    )
    write(tmp_path / "stopped", STEPS)
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def content(path):
    skip = {"manifest.json"}
    files = (p for p in path.rglob("*") if p.is_file() and p.name not in skip)
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def test_killed_anywhere_then_resumed_equals_uninterrupted(tmp_path):
    write(tmp_path / "whole", STEPS)
    chance = random.Random(3)
    stopped = [interrupted(tmp_path / f"killed-{trial}", chance) for trial in range(5)]
    assert any(0 < step < STEPS for step in stopped)
    for trial in range(5):
        write(tmp_path / f"killed-{trial}", STEPS)
        assert content(tmp_path / f"killed-{trial}") == content(tmp_path / "whole")


def interrupted(path, chance):
    """The last step on record after a kill at a random moment."""
    child = subprocess.Popen([sys.executable, run_writer.__file__, str(path)])
    deadline, wanted, steps = (
        time.monotonic() + 30,
        chance.randrange(1, STEPS),
        path / "steps.jsonl",
    )
    while child.poll() is None and time.monotonic() < deadline:
        if steps.exists() and steps.read_bytes().count(b"\n") >= wanted:
            break
        time.sleep(0.001)
    time.sleep(chance.uniform(0.0, 0.01))
    child.send_signal(signal.SIGKILL)
    child.wait()
    return max((record["step"] for record in RunDirectory.open(path).steps.read()), default=0)


def test_every_import_is_light():
    code = "import sys, tod.runs; print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
