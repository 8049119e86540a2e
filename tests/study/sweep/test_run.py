"""Sweeps that are run: stopped, gone on with, failed in part; equal to runs of `tod run`."""

import json
import random
import shutil
import subprocess
import sys
import time

import pytest
from jsonschema import Draft202012Validator
from small_sweep import WORDS, grid

import tod
from tod.base import RunError
from tod.engine.train import train
from tod.runs import DirectoryLock, RunDirectory
from tod.runs.records import comparable
from tod.show.schemas import schema
from tod.study.sweep.document import FILE, read
from tod.study.sweep.ends import read_end
from tod.study.sweep.plan import plan_of
from tod.study.sweep.run import missing_of, run_sweep


def records(path):
    return [comparable(record) for record in RunDirectory.open(path).steps.read()]


def bits(path):
    """What a run leaves that does not read the clock."""
    return records(path), (path / "model/model.safetensors").read_bytes()


def test_a_stopped_sweep_goes_on_and_keeps_what_ended(swept):
    folder, before = swept
    assert len(before) == 2, "one had ended, one was under way"
    for name, written in before.items():
        assert (folder / name / "manifest.json").stat().st_mtime_ns == written, "no run began anew"
    document = read(folder)
    assert [run.state for run in document.runs] == ["done"] * 8
    assert {run.step for run in document.runs} == {2}
    assert missing_of(grid(), folder) == []


def test_a_run_of_a_stopped_sweep_is_the_one_that_nothing_stopped(swept, tmp_path):
    folder, _ = swept
    stopped = grid().runs[1]
    alone = train(stopped.settings(tmp_path))
    assert bits(alone) == bits(folder / stopped.name)


def test_its_file_is_what_the_schema_says(swept):
    folder, _ = swept
    data = json.loads((folder / FILE).read_text())
    found = Draft202012Validator(schema("tod.sweep/1")).iter_errors(data)
    assert [error.message for error in found] == []
    assert len(data["settings"]) == 4
    assert all(len(one["interval"]) == 2 for one in data["settings"])
    assert len([d for d in data["differences"] if d["axis"] is None]) == 6
    for run in data["runs"]:
        held = records(folder / run["name"])[-1]["held_out"]
        assert (run["end"], run["standard_error"]) == (held["pass_at_1"], held["standard_error"])


def test_values_and_seeds_may_be_added_and_nothing_else(swept):
    folder, _ = swept
    wider = grid("target.eta=1,2,4", "seeds=3")
    assert len(missing_of(wider, folder)) == 18 - 8
    document = plan_of(wider, folder)
    assert document.axes[0].values == [1, 2, 4]
    assert [run.state for run in document.runs].count("done") == 8
    narrower = plan_of(grid("target.eta=4,1", "seeds=1"), folder)
    assert len(narrower.runs) == 8, "what is there stays"
    for words in (["train.steps=3"], ["train.learning_rate=0.1,0.2"]):
        with pytest.raises(RunError, match="holds another sweep"):
            plan_of(grid(*words), folder)


def test_a_run_that_fails_has_its_line_and_stops_no_other(tmp_path):
    failing = grid("model=tod://tiny,no/where", "target.eta=4", "operator=weighted_mle", "seeds=1")
    told = []
    run_sweep(failing, tmp_path, progress=told.append)
    document = read(tmp_path)
    states = {run.name: (run.state, run.failed) for run in document.runs}
    assert states["model-tod_tiny--seed-0"] == ("done", None)
    state, why = states["model-no_where--seed-0"]
    assert state == "failed"
    assert "no/where" in why
    assert [one.failed for one in told if one.run] == [None, why]
    assert "Traceback" in (tmp_path / "failed/model-no_where--seed-0.txt").read_text()
    assert document.answer == "Only model tod://tiny has ended so far: pass@1 " + (
        f"{document.settings[0].end:.3f}."
    )


def test_in_python(swept):
    folder, _ = swept
    made = tod.sweep(folder)
    assert len(repr(made).splitlines()) <= 12
    assert made.answer in made._repr_html_()
    assert made._repr_html_().count("<dd>") >= 4
    frame = made.to_frame()
    assert frame.shape[0] == 8
    assert frame["eta"].to_list() == [1, 1, 4, 4] * 2
    assert frame["operator"].to_list() == ["weighted_mle", "weighted_mle_centred"] * 4
    assert all(path.is_dir() for path in made.runs)
    settings = dict(word.split("=") for word in WORDS if "," not in word and "seeds" not in word)
    again = tod.sweep(
        "weighted_mle",
        {
            "target.eta": [1, 4],
            "operator": ["weighted_mle", "weighted_mle_centred"],
            **{path: int(value) for path, value in settings.items()},
        },
        seeds=2,
        output=folder,
    )
    assert again.document == made.document


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_at_the_same_bits(swept, tmp_path):
    whole, _ = swept
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "tod.cli.main", "sweep", "weighted_mle", *WORDS]
    command += ["-o", str(folder), "--processes", "2", "--no-html"]
    moments = random.Random(3)
    for records_there in (1, 4, 9, 15, 20, None):
        with (tmp_path / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
        if records_there is None:
            assert process.wait() == 0, (tmp_path / "said").read_text()
            break
        while _records(folder) < records_there:
            assert process.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.01)
        time.sleep(moments.random() / 2)
        process.kill()
        process.wait()
    for run in read(whole).runs:
        assert bits(folder / run.name) == bits(whole / run.name), run.name


def _records(folder):
    """Lines that all runs wrote so far."""
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("*/steps.jsonl"))


def test_no_folder_is_no_sweep(tmp_path):
    with pytest.raises(RunError, match="holds no sweep"):
        read(tmp_path)
    (tmp_path / FILE).write_text("[1]")
    with pytest.raises(RunError, match="a list"):
        read(tmp_path)
    (tmp_path / FILE).write_text('{"schema": "tod.sweep/1", "recipe": 3}')
    with pytest.raises(RunError, match="damaged"):
        read(tmp_path)


def test_a_run_that_was_killed_while_it_wrote_its_model_has_not_ended(swept, tmp_path):
    folder, _ = swept
    name = grid().runs[0].name
    shutil.copytree(folder / name, tmp_path / name)
    told = read(folder).runs[0]

    def state():
        return read_end(tmp_path / name, told.values, 0, told.steps, "correct").state

    assert state() == "done"
    lock = DirectoryLock.acquire(tmp_path / name, "run")
    assert state() == "cut short", "its lock was not let go of"
    lock.release()
    shutil.rmtree(tmp_path / name / "model")
    assert state() == "cut short"
    (tmp_path / name / "manifest.json").unlink()
    assert state() == "waiting"
