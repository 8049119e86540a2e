"""Lines are read as columns of whole chunks: what a row says must stay with its row."""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from tod.formats import read
from tolerance import double


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def verl(step: int, prompt: str, **more: Any) -> dict[str, Any]:
    return {"input": prompt, "output": "a", "gts": "4", "score": 1.0, "step": step} | more


def test_the_names_of_contexts_are_those_of_the_rows_that_stay(tmp_path: Path) -> None:
    prompts = [(1, "left out"), (2, "first"), (1, "left out"), (2, "second"), (2, "first")]
    path = written(tmp_path / "all.jsonl", [verl(step, prompt) for step, prompt in prompts])
    reading = read(path, steps="2")
    names = [
        blake2b(json.dumps(p).encode(), digest_size=8).hexdigest() for p in ("first", "second")
    ]
    assert reading.labels.context == tuple(names)
    assert reading.row.tolist() == [2, 5, 4]


def test_a_row_that_is_no_use_counts_only_at_the_steps_asked_for(tmp_path: Path) -> None:
    rows = [verl(1, "p", uid="bad"), verl(2, "p", uid="g_0_0"), verl(2, "p", uid="worse")]
    path = written(tmp_path / "all.jsonl", rows)
    told = read(path, steps="2", max_rejected=1.0).source.rejections
    assert [(r.row, r.name, r.value) for r in told] == [(3, "uid", "'worse'")]
    assert len(read(path, max_rejected=1.0).source.rejections) == 2


def test_a_lag_that_four_bytes_do_not_hold_is_refused(tmp_path: Path) -> None:
    row = {"group_idx": 0, "total_reward": 1.0, "sampling_client_step": 0}
    steps = [3, 2**31 - 1, 2**31, 4]
    rows = [row | {"iteration": step, "traj_idx": i} for i, step in enumerate(steps)]
    path = written(tmp_path / "iteration_3" / "train_rollout_summaries.jsonl", rows)
    reading = read(path, max_rejected=1.0)
    assert reading.lag is not None
    assert reading.lag.tolist() == [3, 4, 2**31 - 1]
    told = reading.source.rejections
    assert [(r.row, r.name, r.value, r.why) for r in told] == [
        (3, "lag", str(2**31), "out of range")
    ]


def test_groups_of_nemo_rl_are_runs_in_the_order_of_idx(tmp_path: Path) -> None:
    """Six prompts of four samples each; the lines of the file are in any order."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "idx": idx,
            "rewards": [float(idx)],
            "token_ids": [[idx // 4, 9, 7, 7]],
            "token_loss_mask": [[0, 0, 1, 1]],
            "generation_logprobs": [[0.0, 0.0, -0.5, -0.25 * idx]],
        }
        for idx in range(24)
    ]
    path = written(tmp_path / "train_data_step1.jsonl", [rows[i] for i in rng.permutation(24)])
    reading = read(path)
    assert reading.contexts.sizes.tolist() == [4] * 6
    for members in reading.contexts.split(reading.utility["reward"]):
        assert len({int(reward) // 4 for reward in members}) == 1
    np.testing.assert_allclose(
        reading.log_mu, -0.5 - 0.25 * reading.utility["reward"], rtol=double(2), atol=0
    )
