"""What frameworks do to their own dumps, and what the readers make of it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tod.base import DataError
from tod.diagnosis import diagnose
from tod.formats import read
from tod.formats.row_by_row import runs
from tolerance import rounding


def trl_table(step: int, prompts: list[str], rewards: list[float], **extra: Any) -> pd.DataFrame:
    r = np.array(rewards).reshape(-1, 4)
    advantage = (r - r.mean(1, keepdims=True)).ravel()
    return pd.DataFrame(
        {
            "step": [step] * len(prompts),
            "prompt": prompts,
            "completion": [f"{step}-{i}" for i in range(len(prompts))],
            "right": [float(x) for x in rewards],
            **extra,
            "advantage": advantage,
        }
    )


def save(table: pd.DataFrame, root: Path, step: int) -> None:
    (root / "completions").mkdir(parents=True, exist_ok=True)
    table.to_parquet(root / "completions" / f"completions_{step:05d}.parquet")


def test_trl_rows_written_again_under_a_new_step_count_once(tmp_path: Path) -> None:
    first = trl_table(1, ["a"] * 4 + ["b"] * 4, [1, 0, 0, 0, 1, 1, 0, 1])
    again = first.assign(step=2)
    later = trl_table(3, ["c"] * 4 + ["d"] * 4, [0, 0, 1, 1, 0, 0, 0, 1])
    for step, table in ((1, first), (2, again), (3, later)):
        save(table, tmp_path, step)
    reading = read(tmp_path)
    assert reading.labels.step.tolist() == [1, 1, 3, 3]
    assert reading.source.rows == 16
    assert any("written again" in note for note in reading.source.notes)


def test_trl_repetitions_are_one_note(tmp_path: Path) -> None:
    for step in range(1, 13):
        of = (step + 3) // 4
        table = trl_table(of, [f"{of}a"] * 4 + [f"{of}b"] * 4, [1, 0, 0, 0, 1, 1, 0, 1])
        save(table.assign(step=step), tmp_path, step)
    reading = read(tmp_path, mapping={"evaluation": "keep"})
    assert reading.source.rows == 3 * 8
    (note,) = reading.source.notes
    assert note.startswith("72 rows of 9 files (completions_00002.parquet, ")
    assert "and 6 more" in note
    (note,) = read(tmp_path, steps="1:2", mapping={"evaluation": "keep"}).source.notes
    assert note.startswith("8 rows of 1 file (")


def test_trl_queue_that_kept_half_of_the_last_step(tmp_path: Path) -> None:
    first = trl_table(1, ["a"] * 4 + ["b"] * 4, [1, 0, 0, 0, 1, 1, 0, 1])
    new = trl_table(2, ["c"] * 4, [1, 1, 0, 0])
    save(first, tmp_path, 1)
    save(pd.concat([first[4:].assign(step=2), new]), tmp_path, 2)
    reading = read(tmp_path)
    assert reading.labels.step.tolist() == [1, 1, 2]
    assert [t.completion for t in reading.texts([2])[2]] == ["2-0", "2-1", "2-2", "2-3"]


def test_trl_neighbouring_equal_prompts_are_two_groups(tmp_path: Path) -> None:
    save(trl_table(1, ["a"] * 8 + ["b"] * 4, [1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1]), tmp_path, 1)
    assert read(tmp_path).contexts.sizes.tolist() == [4, 4, 4]
    save(trl_table(1, ["a"] * 8, [1, 0, 0, 0, 1, 1, 0, 1]), tmp_path, 1)
    assert read(tmp_path, mapping={"group_size": "4"}).contexts.sizes.tolist() == [4, 4]


def test_trl_group_size_is_found_where_every_prompt_repeats(tmp_path: Path) -> None:
    """A data set of one prompt: the advantages of a true group add up to zero."""
    save(trl_table(1, ["a"] * 8, [1, 0, 0, 0, 1, 1, 0, 1]), tmp_path, 1)
    assert read(tmp_path).contexts.sizes.tolist() == [4, 4]


def test_trl_evaluation_rows_are_pointed_out(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(
            trl_table(step, [f"{step}a"] * 4 + [f"{step}b"] * 4, [1, 0, 0, 0, 1, 1, 0, 1]),
            tmp_path,
            step,
        )
    evaluation = pd.DataFrame(
        {"step": [2] * 4, "prompt": ["x", "x", "y", "y"], "completion": list("pqrs")}
        | {"right": [1.0, 0.0, 0.0, 0.0], "advantage": [0.5, -0.5, 0.0, 0.0]}
    )
    save(evaluation, tmp_path, 2)
    notes = read(tmp_path).source.notes
    assert any("completions_00002" in note and "evaluation" in note for note in notes)


def test_trl_rewards_that_do_not_apply_count_as_zero(tmp_path: Path) -> None:
    table = trl_table(1, ["a"] * 4, [1, 0, 0, 0])
    table.insert(4, "style", [np.nan, 1.0, np.nan, np.nan])
    total = np.array([1.0, 1.0, 0.0, 0.0])
    table["advantage"] = total - total.mean()
    save(table, tmp_path, 1)
    reading = read(tmp_path)
    assert reading.utilities("reward").tolist() == total.tolist()
    assert set(reading.utility) == {"reward", "right"}
    assert any("style" in note and "left out" in note for note in reading.source.notes)


def test_trl_logged_extras_are_not_rewards(tmp_path: Path) -> None:
    extra = {"length": np.arange(8, dtype=float) ** 2}
    save(trl_table(1, ["a"] * 4 + ["b"] * 4, [1, 0, 0, 0, 1, 1, 0, 1], **extra), tmp_path, 1)
    reading = read(tmp_path)
    assert set(reading.utility) == {"right"}
    assert any("length" in note for note in reading.source.notes)


def test_trl_conversations_group_by_their_content(tmp_path: Path) -> None:
    chat = [[{"role": "user", "content": x}] for x in "aaaabbbb"]
    table = trl_table(1, ["x"] * 8, [1, 0, 0, 0, 1, 1, 0, 1]).assign(prompt=chat)
    save(table, tmp_path, 1)
    reading = read(tmp_path)
    assert reading.contexts.sizes.tolist() == [4, 4]
    assert reading.texts([1])[1][0].prompt == "user: b"


def test_runs_split_by_their_common_size() -> None:
    assert runs(list("aabbbbcc")) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert runs(list("aaabb")) == [0, 0, 0, 1, 1]
    assert runs([]) == []


def test_a_step_written_twice_by_a_resumed_run_counts_once(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    writers.write_nemo(world, tmp_path)
    old = tmp_path / "exp_001" / "train_data_step2.jsonl"
    new = tmp_path / "exp_002" / "train_data_step2.jsonl"
    new.parent.mkdir()
    rows = [json.loads(line) for line in old.read_text().splitlines()]
    for row in rows:
        row["rewards"] = [7.0]
    new.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(new, ns=(0, old.stat().st_mtime_ns + 1))
    reading = read(tmp_path)
    assert reading.source.rows == len(world.rollouts)
    second = reading.take(np.flatnonzero(reading.labels.step == 2))
    assert set(second.utilities("reward").tolist()) == {7.0}
    assert any("resumed" in note for note in reading.source.notes)


def test_appended_again_by_a_resumed_run_the_last_one_counts(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    writers.write_open_instruct(world, tmp_path)
    last = tmp_path / "run_rollouts_000001.jsonl"
    rows = [json.loads(line) for line in last.read_text().splitlines()]
    again = [{**row, "reward": 5.0} for row in rows if row["step"] == 3]
    last.write_text("".join(json.dumps(row) + "\n" for row in rows + again))
    reading = read(tmp_path)
    assert reading.source.rows == len(world.rollouts)
    third = reading.take(np.flatnonzero(reading.labels.step == 3))
    assert set(third.utilities("reward").tolist()) == {5.0}


def test_swift_steps_logged_again_count_once(writers: Any, world: Any, tmp_path: Path) -> None:
    root = writers.write_swift(world, tmp_path)
    path = root / "completions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows.append({**rows[1], "MathAccuracy": [9.0] * len(rows[1]["step"])})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = read(root)
    assert reading.source.rows == len(world.rollouts)
    second = reading.take(np.flatnonzero(reading.labels.step == 2))
    assert set(second.utilities("MathAccuracy").tolist()) == {9.0}


def test_nemo_trains_on_filtered_rewards(writers: Any, world: Any, tmp_path: Path) -> None:
    writers.write_nemo(world, tmp_path)
    for path in tmp_path.glob("exp_001/train_data_step*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["filtered_rewards"], row["rewards"] = row["rewards"], [123.0]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = read(tmp_path)
    assert 123.0 not in reading.utilities("reward")
    assert sorted(reading.utilities("reward")) == sorted(r.reward for r in world.rollouts)


def test_skyrl_leaves_out_padding_rows_and_reads_bf16(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    reading = read(writers.write_skyrl(world, tmp_path, pad_size=3, bf16=True))
    assert reading.source.rows == len(world.rollouts)
    exact = read(writers.write_skyrl(world, tmp_path / "exact", pad_size=0))
    np.testing.assert_allclose(reading.log_mu, exact.log_mu, rtol=rounding("bfloat16", 1))
    assert not np.array_equal(reading.log_mu, exact.log_mu)


def test_skyrl_advantages_of_a_critic_are_no_rewards(
    writers: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    root = writers.write_skyrl(world, tmp_path)
    module = writers.skyrl_module()
    for path in root.glob("*/*.pkl"):
        state = pickle.loads(path.read_bytes())  # noqa: S301 - written above
        rows, width = state["batch_dict"]["loss_mask"]["shape"]
        noise = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
        state["batch_dict"]["advantages"]["data"] = noise.tobytes()
        path.write_bytes(pickle.dumps(module.TrainingInputBatch(state)))
    reading = read(root)
    assert reading.source.tier == "E"
    assert reading.utility == {}
    assert any(item.what == "target" for item in reading.cannot)


def test_slime_train_dump_alone_needs_a_group_size(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    root = writers.write_slime(world, tmp_path)
    with pytest.raises(DataError, match="group_size"):
        read(root / "train_data")
    reading = read(root / "train_data", mapping={"group_size": str(world.k)})
    assert reading.contexts.sizes.tolist() == [world.k] * 18
    assert reading.source.tier == "A"


def test_prime_reads_the_batch_that_was_trained_on(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    reading = read(writers.write_prime(world, tmp_path))
    assert reading.source.rows == len(world.rollouts)
    assert any("effective" in note for note in reading.source.notes)
    alone = read(tmp_path / "token_exports")
    assert alone.source.tier == "E"
    assert len(alone) == len(world.rollouts)
    # version 0.1: so many singletons, "draw several candidates"; nothing says which share a prompt
    found = diagnose(alone)
    counts = found.summary.contexts
    assert (counts.singleton, counts.informative) == (None, None)
    needs = {item.what: item for item in found.cannot}
    assert needs["ess_rel"].lacks in ("context", "utility")
    assert not any("several candidates" in r.remedy for r in found.regime.reasons)
    assert any("group or prompt id" in r.remedy for r in found.regime.reasons)


def test_tinker_capture_alone_says_what_is_missing(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    root = writers.write_tinker(world, tmp_path)
    with pytest.raises(DataError, match="rollout_summaries"):
        read(root / "capture.db")


def test_lag_keeps_staleness_out_of_the_mismatch(writers: Any, world: Any, tmp_path: Path) -> None:
    import torch

    from tod.diagnosis import diagnose

    root = writers.write_slime(world, tmp_path)
    fresh = diagnose(read(root)).summary.mismatch
    for path in (root / "rollout_data").glob("[0-9]*.pt"):
        data = torch.load(path)
        for sample in data["samples"]:
            if sample["group_index"] < 3:
                sample["weight_versions"] = ["0"]
        torch.save(data, path)
    mixed = diagnose(read(root)).summary.mismatch
    assert mixed is not None
    assert fresh is not None
    kept = [r for r in world.rollouts if r.group >= 3]
    gaps = [a - b for r in kept for a, b in zip(r.old, r.mu, strict=True)]
    assert mixed.tokens == len(gaps) < fresh.tokens
    assert mixed.k1 == pytest.approx(-sum(gaps) / len(gaps))


def test_several_runs_are_not_mixed(writers: Any, world: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        writers.write_tod(world, tmp_path / name / "rollouts")
        (tmp_path / name / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="2 run directories"):
        read(tmp_path)


def test_two_formats_in_one_directory_are_told_apart(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    writers.write_verl(world, tmp_path / "a")
    writers.write_areal(world, tmp_path / "b")
    with pytest.raises(DataError, match="3 of verl, 18 of areal"):
        read(tmp_path)
    assert read(tmp_path, format="areal").source.rows == len(world.rollouts)


def test_unknown_lag_is_said_where_two_policies_could_differ_by_it(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    from tod.diagnosis import diagnose

    def missing(root: Path) -> list[str]:
        return [item.needs for item in diagnose(read(root)).cannot if item.what == "lag"]

    (need,) = missing(writers.write_nemo(world, tmp_path / "nemo"))
    assert "async_grpo" in need
    assert missing(writers.write_prime(world, tmp_path / "prime")) == []
    assert missing(writers.write_open_instruct(world, tmp_path / "open")) == []
