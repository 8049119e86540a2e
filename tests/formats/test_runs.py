"""Steps of different runs are never mixed; parts of a resumed run are one."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tod.base import DataError
from tod.formats import read

NAMES = ("verl", "trl", "nemo", "slime", "skyrl", "swift", "open_instruct", "areal", "tinker")
NAMES += ("prime", "verl_batch")


@pytest.fixture(scope="module")
def worlds(writers: Any) -> Any:
    return writers.make_world(seed=0), writers.make_world(seed=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("separate", [True, False])
def test_two_runs_are_refused(
    writers: Any, worlds: Any, tmp_path: Path, name: str, separate: bool
) -> None:
    """Named apart or found in one directory; each alone is read."""
    roots = [tmp_path / "runs/a", tmp_path / "runs/b"]
    for root, world in zip(roots, worlds, strict=True):
        getattr(writers, f"write_{name}")(world, root)
        assert read(root).source.rows == len(world.rollouts)
    with pytest.raises(DataError, match="never mixed") as caught:
        read(roots if separate else tmp_path / "runs")
    assert all(str(root) in str(caught.value) for root in roots)
    assert "3 steps (1 to 3)" in str(caught.value)
    with pytest.raises(DataError, match=r"step 2.*never mixed"):
        read(roots, steps="2:2")


def verl(folder: Path, steps: range, mark: str, at: int) -> Path:
    """One question of four answers at every step."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        lines = [
            {"input": "q", "output": f"{mark}{i}", "gts": "", "score": float(i % 2), "step": step}
            | {"uid": f"{step}_0_{i}"}
            for i in range(4)
        ]
        path = folder / f"{step}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.utime(path, ns=(0, at + step))
    return folder


def outputs(reading: Any) -> list[str]:
    return [reading.texts([at])[at][0].completion[0] for at in range(len(reading.contexts))]


def test_a_part_that_goes_on_from_a_checkpoint_is_one_run(tmp_path: Path) -> None:
    parts = [
        verl(tmp_path / "part1", range(1, 6), "a", 0),
        verl(tmp_path / "part2", range(4, 9), "b", 100),
    ]
    reading = read(parts)
    assert reading.steps.tolist() == list(range(1, 9))
    assert outputs(reading) == list("aaabbbbb")
    (note,) = reading.source.notes
    assert note.startswith("2 steps (4 to 5) written twice (resumed run): ")
    assert str(parts[1]) in note.split("kept")[0]


def test_steps_asked_for_do_not_change_which_run_continues_which(tmp_path: Path) -> None:
    parts = [
        verl(tmp_path / "part1", range(1, 6), "a", 0),
        verl(tmp_path / "part2", range(4, 9), "b", 100),
    ]
    assert outputs(read(parts, steps="4:5")) == ["b", "b"]
    assert outputs(read(parts, steps="1:3")) == ["a", "a", "a"]


@pytest.mark.parametrize("case", ["starts at the first step", "lies elsewhere", "is older"])
def test_what_does_not_continue_is_another_run(tmp_path: Path, case: str) -> None:
    first = verl(tmp_path / "x/part1", range(1, 6), "a", 0)
    place = tmp_path / ("y" if case == "lies elsewhere" else "x") / "part2"
    steps = range(1, 3) if case == "starts at the first step" else range(4, 9)
    second = verl(place, steps, "b", -100 if case == "is older" else 100)
    with pytest.raises(DataError, match=f"tod report {first.name} {second.name}|never mixed"):
        read([first, second])


def test_steps_that_do_not_meet_are_read_together(tmp_path: Path) -> None:
    first = verl(tmp_path / "x/part1", range(1, 4), "a", 0)
    second = verl(tmp_path / "y/part2", range(4, 6), "b", 100)
    assert outputs(read([first, second])) == list("aaabb")
    again = verl(tmp_path / "z/part3", range(1, 6), "c", 200)
    assert outputs(read([first, again], steps="4:")) == ["c", "c"]


def test_a_copy_is_the_same_run(tmp_path: Path) -> None:
    first = verl(tmp_path / "x/run", range(1, 4), "a", 0)
    shutil.copytree(first, tmp_path / "y/run")
    assert outputs(read([first, tmp_path / "y/run"])) == list("aaa")


def test_rows_of_two_runs_in_files_without_steps(tmp_path: Path) -> None:
    roots = []
    for mark in "ab":
        folder = verl(tmp_path / mark, range(1, 4), mark, 0)
        parts = sorted(folder.iterdir())
        (folder / "all.jsonl").write_text("".join(part.read_text() for part in parts))
        for part in parts:
            part.unlink()
        roots.append(folder)
    with pytest.raises(DataError, match="never mixed"):
        read(roots)


def test_pickles_whose_steps_are_unknown_are_not_put_together(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    root = writers.write_skyrl(world, tmp_path) / "dumped_data"
    files = [path.rename(root / f"{name}.pkl") for path, name in zip(root.iterdir(), "abc")]  # noqa: B905
    assert read(files[0]).source.rows
    with pytest.raises(DataError, match="2 other files: no global_step_N"):
        read(files)
