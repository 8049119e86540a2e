"""verl's rollout cache: what it holds, what is joined to it, and what is refused."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.base import DataError
from tod.diagnosis import diagnose
from tod.formats import read

REAL = Path(__file__).parent / "verl_queue"


def test_a_batch_that_tensordict_wrote() -> None:
    """The fixture is by tensordict 0.15.3 and torch, see ``verl_queue_run.py``."""
    reading = read(REAL)
    assert reading.source.format == "verl"
    assert reading.source.tier == "C"
    assert reading.source.steps == (3, 3)
    assert reading.labels.context == ("u0", "u1")
    assert reading.contexts.sizes.tolist() == [2, 2]
    assert reading.utility["score"].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert reading.utility["acc"].tolist() == [0.0, 1.0, 0.0, 1.0]
    # -1/8 - 2/8; 1 + 2 + 4 + 5 eighths, as the third token is a tool's; ...
    assert reading.log_mu.tolist() == [-0.375, -1.5, -0.125, -0.75]
    assert reading.labels.length.tolist() == [2, 4, 1, 3]
    assert reading.lag.tolist() == [0, 0, 0, 1]
    assert reading.prompts([0, 1]) == {0: "user: q0", 1: "user: q1"}


@pytest.mark.parametrize("strided", [False, True])
def test_values_are_those_of_the_world(
    writers: Any, world: Any, tmp_path: Path, strided: bool
) -> None:
    reading = read(writers.write_verl_batch(world, tmp_path, strided=strided))
    assert reading.source.rows == len(world.rollouts)
    wanted = sorted(
        (r.step, f"{r.step:04x}-{r.group:04x}", round(sum(r.mu), 4), r.reward, int(r.group == 2))
        for r in world.rollouts
    )
    owner = reading.contexts.owner
    names = [reading.labels.context[at] for at in owner]
    steps = reading.steps[owner].tolist()
    mu = [round(float(x), 4) for x in reading.log_mu]
    found = zip(steps, names, mu, reading.utility["score"].tolist(), reading.lag, strict=True)
    assert sorted(found) == wanted


def test_the_jsonl_of_the_same_step_gives_the_missing_rewards(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    queue = writers.write_verl_batch(world, tmp_path / "cache", rewards=False)
    with pytest.raises(DataError, match="rm_scores"):
        read(queue)
    for step in world.steps:
        rows = [
            {"input": r.prompt, "output": r.completion, "gts": None, "score": r.reward}
            | {"step": step, "uid": f"{r.step:04x}-{r.group:04x}_{r.place}_0"}
            for r in world.of_step(step)
        ]
        writers.lines(tmp_path / "rollouts" / f"{step}.jsonl", rows)
    joined = read(tmp_path)
    assert joined.source.rows == len(world.rollouts)
    assert joined.source.tier == "C"
    assert sorted(joined.utility["score"]) == sorted(r.reward for r in world.rollouts)
    whole = read(writers.write_verl_batch(world, tmp_path / "whole"))
    pairs = [sorted(zip(x.log_mu, x.utility["score"], strict=True)) for x in (joined, whole)]
    assert pairs[0] == pairs[1]
    assert any("not from their JSONL" in note for note in joined.source.notes)


def test_the_batch_counts_where_both_hold_rewards(writers: Any, world: Any, tmp_path: Path) -> None:
    writers.write_verl_batch(world, tmp_path / "cache")
    writers.write_verl(world, tmp_path / "rollouts")
    (tmp_path / "rollouts/3.jsonl").rename(tmp_path / "rollouts/4.jsonl")
    reading = read(tmp_path, steps=":3")
    assert reading.source.rows == len(world.rollouts)


def test_without_log_probs_it_is_tier_d_and_names_the_switch(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    reading = read(writers.write_verl_batch(world, tmp_path, log_probs=False))
    assert reading.source.tier == "D"
    assert any("calculate_log_probs" in item.needs for item in reading.cannot)


def test_old_weights_are_kept_out_of_nothing_but_said(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    reading = read(writers.write_verl_batch(world, tmp_path))
    assert reading.lag.sum() == sum(r.group == 2 for r in world.rollouts)
    assert any("older weights" in note for note in reading.source.notes)
    assert diagnose(reading, eta=1.0).summary.contexts.total == 18


def test_steps_are_selected(writers: Any, world: Any, tmp_path: Path) -> None:
    reading = read(writers.write_verl_batch(world, tmp_path), steps="2:")
    assert reading.source.steps == (2, 3)


def test_the_old_cache_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "exp/GBS4_N4/1"
    folder.mkdir(parents=True)
    (folder / "gen_batch.dp").write_bytes(b"\x80\x04N.")
    (folder / "meta.json").write_text(json.dumps({"global_steps": 1}))
    with pytest.raises(DataError, match=r"DataProto.*skip\.rollout_tq"):
        read(tmp_path)


def test_another_name_is_refused(tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> Any:
            return print, ("hello",)

    torch.save({"keys": ["a_0_0"], "tensordict": Evil()}, tmp_path / "tq_batch.pt")
    with pytest.raises(DataError, match=r"builtin.*\.print"):
        read(tmp_path)


def test_offsets_beyond_the_values_are_damage(tmp_path: Path) -> None:
    """Offsets are numbers of the file like any other: they are checked before they slice."""
    from tod.formats.untrusted.tensordicts import jagged, strided

    parts = {"values": np.arange(4.0), "lengths": None, "_ragged_idx": 1}
    assert [row.tolist() for row in jagged({**parts, "offsets": np.array([0, 1, 4])})] == [
        [0.0],
        [1.0, 2.0, 3.0],
    ]
    for offsets in ([0, 9], [-1, 2], [3, 1]):
        with pytest.raises(ValueError, match="nested tensor"):
            jagged({**parts, "offsets": np.array(offsets)})
    with pytest.raises(ValueError, match="nested tensor"):
        strided(np.arange(4.0), np.array([[9]]), np.array([[1]]), np.array([0]))
    holes = {**parts, "offsets": np.array([0, 2, 4]), "lengths": np.array([1, 2])}
    assert [row.tolist() for row in jagged(holes)] == [[0.0], [2.0, 3.0]]


def test_a_deep_object_cannot_grow_when_it_is_shown(tmp_path: Path) -> None:
    """Lists that share their parts: short in a pickle, 2^60 entries when written out."""
    from tod.formats.columns import shorten
    from tod.formats.untrusted.tensordicts import plain

    deep: list[Any] = ["x"]
    for _ in range(60):
        deep = [deep, deep]
    assert len(shorten(deep)) < 100
    assert shorten(1 << 100_000) == "a huge number"
    with pytest.raises(ValueError, match="without end"):
        plain(deep)


def test_a_zip_that_is_no_batch_says_so(tmp_path: Path) -> None:
    import torch

    torch.save({"weights": [1.0]}, tmp_path / "tq_batch.pt")
    with pytest.raises(DataError, match="queue batch"):
        read(tmp_path)
    with zipfile.ZipFile(tmp_path / "tq_batch.pt", "w") as archive:
        archive.writestr("x", b"")
    with pytest.raises(DataError, match=r"data\.pkl"):
        read(tmp_path)
