"""Which numeric columns are rewards: decided once over all files, by the logged advantages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tod.formats import read
from tod.formats.columns import Rows
from tod.formats.rewards import LoggedColumns, rewards_among, utilities

K, GROUPS, STEPS = 8, 4, 6


def run(seed: int = 2, tied: tuple[int, ...] = (1,)) -> list[dict[str, Any]]:
    """Accuracy is what was trained on, by z-scores; a length and a weightless format beside it."""
    rng = np.random.default_rng(seed)
    rows = []
    for step in range(1, STEPS + 1):
        for group in range(GROUPS):
            right = rng.permutation(np.arange(K) < rng.integers(1, K)).astype(float)
            right = np.ones(K) if step in tied else right
            advantage = (right - right.mean()) / (right.std(ddof=1) + 1e-4)
            form = rng.integers(0, 2, K).astype(float) if step > 3 else np.ones(K)
            rows += [
                {"step": step, "prompt": f"q{step} {group}", "completion": f"{rng.random()}"}
                | {"accuracy": right[i], "form": form[i], "length": float(rng.integers(9, 99))}
                | {"advantage": advantage[i]}
                for i in range(K)
            ]
    return rows


def save_trl(rows: list[dict[str, Any]], root: Path, *columns: str) -> Path:
    root.mkdir()
    table = pl.DataFrame(rows).select("step", "prompt", "completion", *columns, "advantage")
    for (step,), part in table.group_by("step"):
        part.write_parquet(root / f"completions_{step:05d}.parquet")
    return root


def save_swift(rows: list[dict[str, Any]], root: Path, *columns: str) -> Path:
    root.mkdir()
    with open(root / "completions.jsonl", "w") as file:
        for step in range(1, STEPS + 1):
            mine = [row for row in rows if row["step"] == step]
            line: dict[str, Any] = {"step": [str(step)] * len(mine)}
            line |= {k: [row[k] for row in mine] for k in ("prompt", "completion", *columns)}
            line["advantages"] = [row["advantage"] for row in mine]
            file.write(json.dumps(line) + "\n")
    return root


@pytest.fixture(params=[save_trl, save_swift], ids=["trl", "ms-swift"])
def save(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("beside", ["length", "form"])
@pytest.mark.parametrize("steps", [None, "1:1", "3:4"])
def test_a_column_beside_the_reward_is_none_at_any_step(
    save: Any, tmp_path: Path, beside: str, steps: str | None
) -> None:
    """Step 1 is tied, and the format differs from step 4 on: no file alone can tell."""
    rows = run()
    reading = read(save(rows, tmp_path / "run", "accuracy", beside), steps=steps)
    first, last = map(int, (steps or f"1:{STEPS}").split(":"))
    assert list(reading.utility) == ["accuracy"]
    wanted = [row["accuracy"] for row in rows if first <= row["step"] <= last]
    assert reading.utilities("accuracy").tolist() == wanted
    assert reading.source.rejected == 0
    (note,) = [note for note in reading.source.notes if beside in note]
    assert "do not enter the advantages" in note


def test_two_rewards_are_summed_and_the_rest_is_not(save: Any, tmp_path: Path) -> None:
    rows = run(tied=())
    for at in range(0, len(rows), K):
        total = np.array([row["accuracy"] + row["form"] for row in rows[at : at + K]])
        for row, a in zip(rows[at:], total - total.mean(), strict=False):
            row["advantage"] = a
    reading = read(save(rows, tmp_path / "run", "length", "accuracy", "form"))
    assert list(reading.utility) == ["reward", "accuracy", "form"]
    wanted = [row["accuracy"] + row["form"] for row in rows]
    assert reading.utilities("reward").tolist() == wanted


def test_a_column_that_the_person_names_is_read(save: Any, tmp_path: Path) -> None:
    rows = run()
    root = save(rows, tmp_path / "run", "accuracy", "length")
    reading = read(root, mapping={"utility": "length"})
    assert list(reading.utility) == ["length", "accuracy"]
    assert reading.utilities("length").tolist() == [row["length"] for row in rows]


def test_no_spread_at_all_is_said(save: Any, tmp_path: Path) -> None:
    rows = [row | {"accuracy": 1.0, "form": 1.0, "advantage": 0.0} for row in run()]
    reading = read(save(rows, tmp_path / "run", "accuracy", "form"))
    assert set(reading.utilities("reward").tolist()) == {2.0}
    assert any("all ties" in note for note in reading.source.notes)


def test_weighted_rewards_are_said(save: Any, tmp_path: Path) -> None:
    rows = [r | {"advantage": r["advantage"] + 0.3 * r["length"]} for r in run()]
    reading = read(save(rows, tmp_path / "run", "accuracy", "form", "length"))
    assert any("do not follow a sum" in note for note in reading.source.notes)


def test_a_damaged_file_of_another_step_does_not_stop_the_reading(tmp_path: Path) -> None:
    root = save_trl(run(), tmp_path / "run", "accuracy")
    second = root / "completions_00002.parquet"
    second.write_bytes(b"PAR1" + b"\xff" * 90 + second.read_bytes()[94:])  # pages, not the footer
    reading = read(root, steps="3:")
    assert reading.source.steps == (3, STEPS)
    assert any("completions_00002" in note for note in reading.source.notes)


def chosen(columns: dict[str, Any], advantage: Any, size: int = K) -> tuple[list[str], list[str]]:
    rows, n = Rows(), len(advantage)
    logged = LoggedColumns(
        {k: np.array(v) for k, v in columns.items()}, advantage, np.arange(n) // size
    )
    return rewards_among(logged, rows), rows.notes


def test_a_small_penalty_is_told_from_none() -> None:
    """A cosine of 0.9999 is not enough where another sum has 1."""
    rng = np.random.default_rng(0)
    a, tiny = rng.integers(0, 2, 800).astype(float), 0.01 * rng.random(800)
    total = (a + tiny).reshape(-1, K)
    with_penalty = (total - total.mean(1, keepdims=True)).ravel()
    only = a.reshape(-1, K) - a.reshape(-1, K).mean(1, keepdims=True)
    assert chosen({"a": a, "tiny": tiny}, with_penalty)[0] == ["a", "tiny"]
    assert chosen({"a": a, "tiny": tiny}, only.ravel())[0] == ["a"]


def test_parallel_columns_are_not_decided_in_silence() -> None:
    a = np.random.default_rng(0).random(80)
    centred = (a.reshape(-1, K) - a.reshape(-1, K).mean(1, keepdims=True)).ravel()
    found, notes = chosen({"a": a, "twice": 2 * a}, centred)
    assert found == ["a", "twice"]
    assert any("a or twice would explain" in note for note in notes)


def test_ties_in_single_precision_are_ties() -> None:
    """0.1 eight times: a mean that is off by one ulp gives a z-score of 1e-4, not 0."""
    rng = np.random.default_rng(1)
    a = rng.random((50, K))
    a[::2] = 0.1
    z = (a - a.mean(1, keepdims=True)) / (a.std(1, keepdims=True) + 1e-4)
    z[::2] = 7e-5
    z[::2, 0] = -7e-5
    found, notes = chosen({"a": a.ravel(), "extra": rng.random(400)}, z.ravel())
    assert found == ["a"]
    assert notes == ["extra: logged beside the rewards, do not enter the advantages"]


def test_many_rows_are_decided_as_few_are() -> None:
    rng = np.random.default_rng(3)
    columns = {f"c{i}": rng.random(40_000) for i in range(6)}
    total = (columns["c1"] + columns["c4"]).reshape(-1, K)
    advantage = (total - total.mean(1, keepdims=True)).ravel()
    assert chosen(columns, advantage)[0] == ["c1", "c4"]


def test_the_sum_takes_another_name_where_its_own_is_taken() -> None:
    columns = {"reward": np.array([1.0, np.nan]), "b": np.array([np.nan, np.nan])}
    found = utilities(["reward", "b"], columns, Rows())
    assert list(found) == ["total", "reward", "b"]
    assert found["total"].tolist()[0] == 1.0
    assert np.isnan(found["total"][1])
