"""Two runs in our own rows, or in columns that a person named, are refused like everybody's."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tod.base import DataError
from tod.formats import read

MAPPING = {"utility": "rew", "context": "pid", "step": "it", "log_mu": "lp", "candidate": "at"}
KINDS = [(ending, mapped) for ending in ("jsonl", "parquet") for mapped in (False, True)]


def write(
    folder: Path, steps: range, mark: float, ending: str, mapped: bool, *, at: int = 0
) -> Path:
    """One context of four candidates a step, a file per step; our names, or another's."""
    own = ("utility.r", "context", "step", "log_mu")
    names = ("rew", "pid", "it", "lp") if mapped else own
    folder.mkdir(parents=True)
    for step in steps:
        rows = [dict(zip(names, (mark + i, "q", step, -1.0 - i), strict=True)) for i in range(4)]
        path = folder / f"{step}.{ending}"
        if ending == "parquet":
            pl.DataFrame(rows).write_parquet(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.utime(path, ns=(0, at + step))
    return folder


def load(paths: Any, mapped: bool, **more: Any) -> Any:
    names = {role: name for role, name in MAPPING.items() if role != "candidate"}
    return read(paths, mapping=names if mapped else None, **more)


def marks(reading: Any) -> list[float]:
    """The mark of every context, which has exactly its four candidates."""
    assert set(reading.contexts.sizes.tolist()) == {4}
    (utility,) = reading.utility.values()
    return utility[::4].tolist()


@pytest.mark.parametrize(("ending", "mapped"), KINDS)
def test_two_runs_are_refused(tmp_path: Path, ending: str, mapped: bool) -> None:
    """Named apart, found in one directory, or one step of them."""
    one = write(tmp_path / "my runs/a", range(1, 4), 0.0, ending, mapped)
    two = write(tmp_path / "my runs/b", range(1, 4), 10.0, ending, mapped)
    for paths in ([one, two], tmp_path / "my runs"):
        with pytest.raises(DataError, match="never mixed") as caught:
            load(paths, mapped)
        assert "3 steps (1 to 3)" in str(caught.value)
        way = "--json FILE" if mapped else f"`tod report '{one}' '{two}'`"
        assert way in str(caught.value)
    with pytest.raises(DataError, match=r"step 2, .*never mixed"):
        load([one, two], mapped, steps="2:2")
    assert marks(load(one, mapped)) == [0.0] * 3


@pytest.mark.parametrize(("ending", "mapped"), KINDS)
def test_a_resumed_run_keeps_its_later_part(tmp_path: Path, ending: str, mapped: bool) -> None:
    """No candidate column is needed for it; the steps asked for do not change which is later."""
    parts = [
        write(tmp_path / "part1", range(1, 6), 0.0, ending, mapped),
        write(tmp_path / "part2", range(4, 9), 10.0, ending, mapped, at=100),
    ]
    reading = load(parts, mapped)
    assert marks(reading) == [0.0] * 3 + [10.0] * 5
    assert reading.source.rows == 32
    (note,) = reading.source.notes
    assert note.startswith("2 steps (4 to 5) written twice (resumed run): ")
    assert str(parts[1]) in note.split("kept")[0]
    assert marks(load(parts, mapped, steps="4:5")) == [10.0, 10.0]
    assert marks(load(parts, mapped, steps="1:3")) == [0.0] * 3


@pytest.mark.parametrize(("ending", "mapped"), KINDS)
def test_a_copy_counts_once(tmp_path: Path, ending: str, mapped: bool) -> None:
    first = write(tmp_path / "x/run", range(1, 4), 0.0, ending, mapped)
    shutil.copytree(first, tmp_path / "y/run")
    assert marks(load([first, tmp_path / "y/run"], mapped)) == [0.0] * 3


def test_shards_in_one_directory_are_one_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", range(1, 3), 0.0, "jsonl", False)
    other = write(tmp_path / "b", range(1, 3), 10.0, "jsonl", False)
    for path in other.iterdir():
        path.rename(folder / f"shard2-{path.name}")
    assert load(folder, False).contexts.sizes.tolist() == [8, 8]
