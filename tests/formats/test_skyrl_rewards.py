"""SkyRL leaves the rewards out: they are given beside the dump, or read off a critic's returns."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tod.base import DataError, SpecError
from tod.diagnosis import diagnose
from tod.formats import read
from tolerance import of_weights


@pytest.fixture
def dump(writers: Any, world: Any, tmp_path: Path) -> Path:
    return writers.write_skyrl(world, tmp_path / "dump")


def rewards(world: Any) -> list[dict[str, Any]]:
    return [
        {"step": step, "row": row, "reward": r.reward, "length": len(r.ids)}
        for step in world.steps
        for row, r in enumerate(world.of_step(step))
    ]


def save(rows: list[dict[str, Any]], path: Path, writers: Any) -> dict[str, str]:
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        writers.lines(path, rows)
    return {"rewards": str(path)}


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_rewards_beside_the_dump_bring_tier_a(
    writers: Any, world: Any, dump: Path, tmp_path: Path, name: str
) -> None:
    given = rewards(world)
    np.random.default_rng(0).shuffle(given)
    reading = read(dump, mapping=save(given, tmp_path / name, writers))
    assert reading.source.tier == "A"
    assert list(reading.utility) == ["reward", "length"]
    assert reading.utility["reward"].tolist() == [r.reward for r in world.rollouts]
    assert not any("follow" in note or "stands in" in note for note in reading.source.notes)
    own = read(writers.write_tod(world, tmp_path / "own"))
    target = {"anchor": {"ref": 1.0}, "tilts": [{"utility": "reward", "eta": 1.5}]}
    from tod.diagnosis import parse_target

    ours, theirs = (diagnose(x, parse_target(target)) for x in (reading, own))
    found = np.sort(ours.diagnostics.ess_rel)
    np.testing.assert_allclose(
        found, np.sort(theirs.diagnostics.ess_rel), rtol=of_weights("float32", 4, 30)
    )


def test_rewards_in_another_order_are_pointed_out(
    writers: Any, world: Any, dump: Path, tmp_path: Path
) -> None:
    given = rewards(world)
    values = [row["reward"] for row in given]
    for row, value in zip(given, np.random.default_rng(3).permutation(values), strict=True):
        row["reward"] = float(value)
    reading = read(dump, mapping=save(given, tmp_path / "r.jsonl", writers))
    assert any("do not follow the rewards" in note for note in reading.source.notes)


def test_rows_without_a_reward_are_rejected_and_counted(
    writers: Any, world: Any, dump: Path, tmp_path: Path
) -> None:
    given = [*rewards(world)[:-3], {"step": 9, "row": 0, "reward": 1.0}]
    role = save(given, tmp_path / "r.jsonl", writers)
    with pytest.raises(DataError, match="3 of 72 rows"):
        read(dump, mapping=role)
    reading = read(dump, mapping=role, max_rejected=0.1)
    assert reading.source.rejected == 3
    assert any("1 rows are of no row" in note for note in reading.source.notes)


def test_a_file_without_steps_serves_one_dump(
    writers: Any, world: Any, dump: Path, tmp_path: Path
) -> None:
    given = [{"row": row["row"], "utility.r": row["reward"]} for row in rewards(world)[:24]]
    role = save(given, tmp_path / "r.jsonl", writers)
    with pytest.raises(DataError, match="lack `step`"):
        read(dump, mapping=role)
    one = read(dump / "dumped_data/global_step_1_training_input.pkl", mapping=role)
    assert one.utility["r"].tolist() == [r.reward for r in world.of_step(1)]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"step": 1, "reward": 1.0}], "row"),
        ([{"step": 1, "row": 0, "reward": "high"}], "no row"),
        ([], "no row"),
    ],
)
def test_a_file_without_rewards_is_refused(
    writers: Any, dump: Path, tmp_path: Path, rows: list[dict[str, Any]], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        read(dump, mapping=save(rows, tmp_path / "r.jsonl", writers))
    with pytest.raises(DataError, match="no such file"):
        read(dump, mapping={"rewards": str(tmp_path / "gone.jsonl")})


def with_critic(writers: Any, world: Any, dump: Path, slope: float) -> None:
    """Values and returns of a critic: advantages differ from token to token."""
    module = writers.skyrl_module()
    for step in world.steps:
        path = dump / f"dumped_data/global_step_{step}_training_input.pkl"
        state = pickle.loads(path.read_bytes())  # noqa: S301 - written by the fixture
        batch, rng = state["batch_dict"], np.random.default_rng(step)
        shape = batch["loss_mask"]["shape"]
        rows = world.of_step(step)
        rows = rows + rows[: shape[0] - len(rows)]
        returns = np.array([[r.reward] * shape[1] for r in rows], np.float32)
        returns *= 1 + slope * np.arange(shape[1], dtype=np.float32)
        values = rng.normal(size=shape).astype(np.float32)
        for name, array in (
            ("returns", returns),
            ("values", values),
            ("advantages", returns - values),
        ):
            batch[name] = {"format": "numpy", "data": array.tobytes(), "shape": shape}
            batch[name]["dtype"] = "float32"
        path.write_bytes(pickle.dumps(module.TrainingInputBatch(state)))


def test_constant_returns_of_a_critic_are_the_rewards(writers: Any, world: Any, dump: Path) -> None:
    with_critic(writers, world, dump, slope=0.0)
    reading = read(dump)
    assert reading.source.tier == "A"
    np.testing.assert_allclose(reading.utility["return"], [r.reward for r in world.rollouts])
    assert any("gamma = lambda = 1" in note for note in reading.source.notes)


def test_discounted_returns_are_not(writers: Any, world: Any, dump: Path) -> None:
    with_critic(writers, world, dump, slope=0.1)
    reading = read(dump)
    assert reading.source.tier == "E"
    assert any("--map rewards=FILE" in item.needs for item in reading.cannot)


def test_a_setting_that_a_format_does_not_have_is_refused(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    root = writers.write_verl(world, tmp_path / "verl")
    with pytest.raises(SpecError, match="rewards"):
        read(root, mapping={"rewards": "r.jsonl"})
