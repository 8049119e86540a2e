"""Advantages, failures and cut answers, from the files to the findings."""

import json

import numpy as np
import polars as pl
import pytest

import tod
from tod.findings import TrainingRun, find, rollouts_of

ROWS, K = 64, 4


def table(path, **columns):
    """Rows of a plain table with the columns, a file of JSON lines or Parquet."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "step": 1 + i // 16,
            "group": f"{i // K}",
            "reward": float(rng.random() < 0.5),
            **{name: values[i] for name, values in columns.items()},
        }
        for i in range(ROWS)
    ]
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    roles = {"context": "group", "step": "step", "utility": "reward"}
    return rows, rollouts_of(tod.read(path, "mapping", mapping=roles))


@pytest.mark.parametrize("name", ["rollouts.jsonl", "rollouts.parquet"])
def test_columns_come_in_the_order_of_the_rollouts(tmp_path, name):
    rng = np.random.default_rng(1)
    advantage, cut = rng.normal(0, 1, ROWS).tolist(), (rng.random(ROWS) < 0.3).tolist()
    error = ["" if x else "timeout" for x in rng.random(ROWS) < 0.8]
    rows, got = table(tmp_path / name, advantage=advantage, is_truncated=cut, error=error)
    assert got.reward.tolist() == [row["reward"] for row in rows]
    assert got.advantage.tolist() == advantage
    assert got.truncated.tolist() == cut
    assert got.error.tolist() == [text != "" for text in error]
    assert got.evaluation is None


def test_what_no_file_holds_is_unknown(tmp_path):
    _, got = table(tmp_path / "rollouts.jsonl")
    assert (got.advantage, got.truncated, got.error) == (None, None, None)
    _, got = table(tmp_path / "texts.jsonl", advantage=["high"] * ROWS, truncated=[2] * ROWS)
    assert (got.advantage, got.truncated) == (None, None)


def test_completions_of_trl_say_which_rule_made_their_advantages(tmp_path):
    rng = np.random.default_rng(2)
    folder = tmp_path / "completions"
    folder.mkdir()
    for step in range(1, 5):
        reward = rng.random((8, K)) < 0.5
        centred = reward - reward.mean(axis=1, keepdims=True)
        advantage = centred / (reward.std(axis=1, ddof=1, keepdims=True) + 1e-4)
        pl.DataFrame(
            {
                "step": [step] * 8 * K,
                "prompt": np.repeat([f"{step} {i}" for i in range(8)], K),
                "completion": [f"answer {i}" for i in range(8 * K)],
                "correct": reward.astype(float).reshape(-1),
                "advantage": advantage.reshape(-1),
            }
        ).write_parquet(folder / f"completions_{step:05d}.parquet")
    found = find(TrainingRun(rollouts=rollouts_of(tod.read(folder))), only=["advantages"])
    assert [f.headline for f in found.all] == ["The advantages are: z-scored within the prompt."]
