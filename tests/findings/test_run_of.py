"""Sources of one run are joined; sources that cannot be of one run are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from tod.base import DataError
from tod.findings import find, run_of
from tod.formats import read
from tod.logs import read_log


def state(folder: Path, level: float, first: int = 1) -> Path:
    folder.mkdir(parents=True)
    steps = range(first, first + 30)
    history = [{"step": step, "reward": level, "kl": level * step} for step in steps]
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history}))
    return path


def rollouts(folder: Path, steps: int) -> Path:
    rng, path = np.random.default_rng(0), folder / "rollouts.jsonl"
    rows = [
        {"step": s, "context": f"{s}-{c}", "completion": f"{s} {c} {i}", "utility.r": rng.random()}
        for s in range(1, steps + 1)
        for c in range(4)
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_logs_of_two_runs_are_refused_with_both_files(tmp_path: Path) -> None:
    one, two = state(tmp_path / "a", 0.5), state(tmp_path / "b", 0.7)
    with pytest.raises(DataError, match=r"a/trainer_state.json and .*b/.* differs at 30 of 30"):
        run_of(logs=[read_log(one), read_log(two)])


def test_the_same_log_twice_is_one(tmp_path: Path) -> None:
    one, two = state(tmp_path / "a", 0.5), state(tmp_path / "b", 0.5)
    assert len(run_of(logs=[read_log(one), read_log(two)]).steps) == 30


def test_a_log_without_a_step_of_the_rollouts_is_refused(tmp_path: Path) -> None:
    path = rollouts(tmp_path, 6)
    with pytest.raises(DataError, match="steps 1 to 6, the log of 101 to 130: none in common"):
        run_of(read([path]), [read_log(state(tmp_path / "a", 0.5, first=101))])
    joined = run_of(read([path]), [read_log(state(tmp_path / "b", 0.5))])
    assert joined.rollouts is not None
    assert "kl" in joined.series


def test_a_limit_of_tokens_cannot_be_seen_in_characters(tmp_path: Path) -> None:
    run = run_of(read([rollouts(tmp_path, 6)]))
    assert run.rollouts is not None
    assert run.rollouts.length_unit == "characters"
    assert "truncation" in find(run).unknown
