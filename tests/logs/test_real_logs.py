"""Logs that the real libraries wrote, against what they were handed.

``given`` holds what each writer was handed, a row a call, or for trainers their state is read as
plain JSON; what a log must say is worked out from that here. ``real/README.md`` has the versions.
"""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.logs import Log, detect, names, read_log

HERE = Path(__file__).parent
REAL = HERE / "real"
STEPS = ("train/global_step", "step")
FLOAT32 = 2.0**-24
"""Half a unit in the last place of a float of four bytes, relative: TensorBoard writes those."""


def given(name: str) -> list[dict[str, Any]]:
    lines = (HERE / "given" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def by_step(rows: list[dict[str, Any]]) -> tuple[list[int], dict[str, dict[int, float]]]:
    """Steps, and key → step → the last number that was handed for it."""
    figures: dict[str, dict[int, float]] = defaultdict(dict)
    steps = []
    for row in rows:
        step = next(row[key] for key in STEPS if key in row)
        steps.append(step)
        for key, value in flat(row):
            if key not in STEPS and not isinstance(value, str) and value is not None:
                figures[key][step] = value
    return sorted(set(steps)), figures


def flat(row: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    out = []
    for key, value in row.items():
        name = before + key
        out += flat(value, name + "/") if isinstance(value, dict) else [(name, value)]
    return out


def check(log: Log, rows: list[dict[str, Any]], relative: float = 0.0) -> None:
    """Every figure that was handed stands in the log at its step, and nothing else does."""
    steps, figures = by_step(rows)
    assert log.steps.tolist() == steps
    own = {key: log.values[name] for name, key in log.keys.items()} | dict(log.other)
    transformed = {m.key for m in names().matches(own, log.framework).values() if m.alias.transform}
    assert set(own) == figures.keys() - {"training/global_step", "progress/batch"}  # count steps
    for key, column in own.items():
        want = [figures[key].get(step, math.nan) for step in steps]
        want = [value if math.isfinite(value) else math.nan for value in want]
        if key not in transformed:
            assert np.allclose(column, want, rtol=relative, atol=0, equal_nan=True), key
        broken = [s for s in steps if not math.isfinite(figures[key].get(s, 0.0))]
        assert log.not_finite.get(key, np.array([])).tolist() == broken, key
    assert log.rejected == ()


def test_wandb_offline_run() -> None:
    log = read_log(REAL / "wandb")
    check(log, given("wandb"))
    assert (log.kind, log.framework, log.version) == ("wandb run", "trl", "1.16.0")
    assert log.keys["kl"] == "train/kl"
    assert log.units["kl"] == "nats per token"
    assert log.values["eval.reward"].tolist()[1] == 0.75
    assert log.time is not None
    assert (np.diff(log.time) > 0).all()
    assert any("train/loss is NaN or infinite at 1 step, first at step 3" in n for n in log.notes)


def test_tensorboard_resumed_run() -> None:
    pytest.importorskip("tensorboard", reason="the extra `logs` is not installed")
    log = read_log(REAL / "tensorboard")
    check(log, given("tensorboard"), FLOAT32)
    assert (log.kind, log.framework) == ("tensorboard", "trl")
    assert log.values["reward"].tolist() == [0.125, 0.25, 0.375, 1.0, 1.125]
    assert log.time is not None
    assert len(log.files) == 2
    assert "1 value written again at step 4: the last counts" in log.notes


def test_trackio_store() -> None:
    log = read_log(REAL / "trackio")
    check(log, given("trackio"))
    assert (log.kind, log.framework) == ("trackio", "trl")
    assert any("late, the last, is read; others: early" in note for note in log.notes)
    early = read_log(REAL / "trackio" / "p.db", run="early")
    assert early.values["reward"].tolist() == [0.125, 0.25, 0.375, 0.5]


@pytest.mark.parametrize("file", ["run.jsonl", "console.log"])
def test_verl_file_and_console(file: str) -> None:
    log = read_log(REAL / "verl" / file)
    check(log, given("verl"))
    assert log.kind == {"run.jsonl": "verl file", "console.log": "console"}[file]
    assert log.framework == "verl"
    assert log.keys["reward"] == "critic/score/mean"
    assert log.keys["truncated"] == "response_length/clip_ratio"
    assert "critic/rewards/mean" in log.other
    assert log.values["eval.gsm8k/reward/mean@1"].tolist()[1] == 0.5


def test_tinker_metrics() -> None:
    log = read_log(REAL / "tinker")
    check(log, given("tinker"))
    assert (log.kind, log.framework) == ("json lines", "tinker")
    assert log.values["zero_variance"].tolist() == [0.25] * 4
    assert (log.units["length"], log.remarks["length"]) == ("tokens", "per turn")


def history(path: Path) -> list[dict[str, Any]]:
    return list(json.loads((path / "trainer_state.json").read_text())["log_history"])


def test_trl_state_of_the_newest_checkpoint() -> None:
    log = read_log(REAL / "trl")
    check(log, history(REAL / "trl" / "checkpoint-4"))
    assert (log.kind, log.framework) == ("trainer_state", "trl")
    assert log.checkpoints == tuple((n, REAL / "trl" / f"checkpoint-{n}") for n in (2, 4))
    assert log.files == (REAL / "trl" / "checkpoint-4" / "trainer_state.json",)
    assert {"reward", "reward_std", "reward.digits", "reward.short"} <= set(log.values)
    assert "reward.digits/std" not in log.values
    assert np.isfinite(log.values["eval.loss"]).tolist() == [False, True, False, True]
    assert {"eval_runtime", "eval_samples_per_second"} <= set(log.other)
    one = read_log(REAL / "trl" / "checkpoint-2")
    assert one.steps.tolist() == [1, 2]
    assert one.checkpoints == log.checkpoints


def test_trl_dpo_state() -> None:
    log = read_log(REAL / "trl-dpo")
    check(log, history(REAL / "trl-dpo" / "checkpoint-3"))
    pairs = {"chosen_logp", "rejected_logp", "chosen_reward", "rejected_reward"}
    assert pairs | {"margin", "accuracy"} <= set(log.values)
    margin = log.values["chosen_reward"] - log.values["rejected_reward"]
    # TRL rounds nothing here, but averages margins apart: four-byte floats of size 1e-3
    assert np.allclose(log.values["margin"], margin, rtol=0, atol=8 * FLOAT32 * 2e-3)


@pytest.mark.parametrize("folder", sorted(path.name for path in REAL.iterdir() if path.is_dir()))
def test_every_real_log_is_detected(folder: str) -> None:
    kinds = {
        "tensorboard": "tensorboard",
        "tinker": "json lines",
        "trackio": "trackio",
        "trl": "trainer_state",
        "trl-dpo": "trainer_state",
        "verl": "verl file",
        "wandb": "wandb run",
    }
    assert detect(REAL / folder) == kinds[folder]
