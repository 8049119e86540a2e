"""Logs that keep one series a figure, one value a row, or several rows a step."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.base import DataError
from tod.logs import Log, detect, read_log

STEPS = [1, 2, 3, 4, 5]
REWARD = [0.1, 0.2, 0.3, 0.4, 0.5]
KL = {1: 0.01, 3: 0.02, 5: 0.03}

SHAPES: dict[str, Any] = {
    "lists side by side": {
        "steps": STEPS,
        "reward": REWARD,
        "kl": [KL.get(step) for step in STEPS],
    },
    "pairs": {
        "reward": list(zip(STEPS, REWARD, strict=True)),
        "kl": [list(pair) for pair in KL.items()],
    },
    "triples of time, step and value": {
        "reward": [[1.7e9 + s, s, r] for s, r in zip(STEPS, REWARD, strict=True)],
        "kl": [[1.7e9 + s, s, k] for s, k in KL.items()],
    },
    "objects by name": {
        "metrics": {
            "reward": {"steps": STEPS, "values": REWARD},
            "kl": {"steps": list(KL), "values": list(KL.values())},
        }
    },
    "named series": [
        {"name": "reward", "step": STEPS, "values": REWARD},
        {"name": "kl", "step": list(KL), "values": list(KL.values())},
    ],
    "a value a row (MLflow)": {
        "metrics": [
            {"key": "reward", "value": r, "timestamp": 1700000000000 + s, "step": s}
            for s, r in zip(STEPS, REWARD, strict=True)
        ]
        + [{"key": "kl", "value": k, "timestamp": 1700000000000, "step": s} for s, k in KL.items()]
    },
}


def same(log: Log) -> None:
    assert log.steps.tolist() == STEPS
    np.testing.assert_array_equal(log.values["reward"], REWARD)
    np.testing.assert_array_equal(log.values["kl"], [KL.get(s, np.nan) for s in STEPS])


@pytest.mark.parametrize("shape", SHAPES)
def test_one_series_a_figure_is_read(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(SHAPES[shape]), encoding="utf-8")
    assert detect(path) == "json"
    same(read_log(path))


def test_one_value_a_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": s, "name": "reward", "value": r} for s, r in zip(STEPS, REWARD, strict=True)]
    rows += [{"step": s, "name": "kl", "value": k} for s, k in KL.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    same(read_log(path))
    several = [
        {
            "step": s,
            "metrics": [
                {"name": n, "value": v}
                for n, v in (("reward", r), ("kl", KL.get(s)))
                if v is not None
            ],
        }
        for s, r in zip(STEPS, REWARD, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in several), encoding="utf-8")
    same(read_log(path))


def test_tensorboards_page_names_the_scalar_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run-.-tag-critic_score_mean.json"
    path.write_text(json.dumps([[1.7e9 + s, s, r] for s, r in zip(STEPS, REWARD, strict=True)]))
    log = read_log(path)
    assert log.steps.tolist() == STEPS
    figures = {**log.values, **log.other}
    assert [values.tolist() for values in figures.values()] == [REWARD]


@pytest.mark.parametrize("name", ["log.json", "log.jsonl"])
def test_several_rows_a_step_count_by_their_mean(name: str, tmp_path: Path) -> None:
    """Two updates a step on three ranks; a log that goes on after a restart is no such thing."""
    rows = [
        {"step": s, "loss": 0.1 * s + 0.01 * i, "grad_norm": float(i)}
        for s in STEPS
        for i in range(6)
    ]
    path = tmp_path / name
    text = json.dumps(rows) if name == "log.json" else "".join(json.dumps(r) + "\n" for r in rows)
    path.write_text(text, encoding="utf-8")
    log = read_log(path)
    assert log.values["grad_norm"].tolist() == [2.5] * 5
    assert any("several rows a step" in note for note in log.notes)
    again = [{"step": s, "loss": float(i), "grad_norm": 1.0} for i in (1, 2) for s in STEPS]
    path = tmp_path / "again.json"
    path.write_text(json.dumps(again), encoding="utf-8")
    resumed = read_log(path)
    assert resumed.values["loss"].tolist() == [2.0] * 5
    assert any("the last counts" in note for note in resumed.notes)


def test_rollouts_are_no_metric_log(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for extra in ({}, {"kl": 0.1}, {"kl": 0.1, "entropy": 1.0, "prompt_id": 3}):
        rows = [{"step": s, "reward": 1.0, **extra} for s in STEPS for _ in range(6)]
        path.write_text(json.dumps(rows), encoding="utf-8")
        assert detect(path) is None
    path.write_text(json.dumps([{"prompt": "q", "responses": ["a"], "values": [1.0]}]))
    assert detect(path) is None
    with pytest.raises(DataError, match="no metric log"):
        read_log(path)


def test_lists_of_unequal_length_are_no_series(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"step": [1, 2, 3], "reward": [0.1, 0.2], "kl": [0.1, 0.2, 0.3]}))
    assert detect(path) is None
