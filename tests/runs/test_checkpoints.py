"""The last good checkpoint is never touched."""

import json

import pytest

from tod.base import RunError
from tod.runs import (
    Manifest,
    RunDirectory,
    checkpoint_steps,
    latest_checkpoint,
    prune_checkpoints,
)
from tod.runs.atomic import remove_directory
from tod.runs.checkpoints import damaged_checkpoints, is_complete, new_checkpoint


def save(directory, *steps):
    for step in steps:
        with new_checkpoint(directory, step) as path:
            (path / "model").mkdir()
            (path / "model" / "weights").write_bytes(bytes(step))


def test_newest_by_number_not_by_name(tmp_path):
    save(tmp_path, 2, 10, 9)
    assert checkpoint_steps(tmp_path) == [2, 9, 10]
    assert latest_checkpoint(tmp_path).name == "step-10"


def test_none_yet(tmp_path):
    assert latest_checkpoint(tmp_path / "checkpoints") is None


@pytest.mark.parametrize("damage", ["shorter", "gone", "no marker", "bad marker"])
def test_incomplete_ones_are_passed_over(tmp_path, damage):
    save(tmp_path, 1, 2)
    broken = tmp_path / "step-2"
    if damage == "shorter":
        (broken / "model" / "weights").write_bytes(b"")
    elif damage == "gone":
        (broken / "model" / "weights").unlink()
    elif damage == "no marker":
        (broken / "complete.json").unlink()
    else:
        (broken / "complete.json").write_text("{")
    assert not is_complete(broken)
    assert latest_checkpoint(tmp_path).name == "step-1"
    save(tmp_path, 2)
    assert latest_checkpoint(tmp_path).name == "step-2"


def test_a_changed_byte_is_seen_and_the_one_before_taken(tmp_path):
    """Of equal size: a disk or a copy may do that, and training would go on from it."""
    save(tmp_path, 1, 2, 3)
    for step in (3, 2):
        (tmp_path / f"step-{step}" / "model" / "weights").write_bytes(bytes(step - 1) + b"\x01")
        assert checkpoint_steps(tmp_path) == [1, 2, 3]
        assert latest_checkpoint(tmp_path).name == f"step-{step - 1}"
    assert list(damaged_checkpoints(tmp_path)) == [2, 3]


def test_lists_of_sizes_alone_are_read(tmp_path):
    """As versions before 0.2 wrote them."""
    save(tmp_path, 1)
    marker = tmp_path / "step-1" / "complete.json"
    marker.write_text(json.dumps({name: told["size"] for name, told in read(marker).items()}))
    assert latest_checkpoint(tmp_path).name == "step-1"
    (tmp_path / "step-1" / "model" / "weights").write_bytes(b"12")
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("told", [[], "x", {}, {"size": 1}, {"size": [], "sha256": ""}, None])
def test_a_list_of_another_form_is_a_damaged_one(tmp_path, told):
    save(tmp_path, 1)
    marker = tmp_path / "step-1" / "complete.json"
    marker.write_text(json.dumps(dict.fromkeys(read(marker), told)))
    assert latest_checkpoint(tmp_path) is None
    assert "cannot be read" in damaged_checkpoints(tmp_path)[1]


def read(marker):
    return json.loads(marker.read_text())


def test_failure_while_saving_keeps_the_last(tmp_path):
    save(tmp_path, 1)

    def failing():
        with new_checkpoint(tmp_path, 2) as path:
            (path / "half").touch()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        failing()
    assert [item.name for item in tmp_path.iterdir()] == ["step-1"]


def test_a_complete_one_is_not_rewritten(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(RunError, match="never written over"):
        save(tmp_path, 1)


def test_prune_keeps_the_last_good_ones(tmp_path):
    save(tmp_path, 1, 2, 3, 4)
    (tmp_path / "step-4" / "complete.json").unlink()
    assert prune_checkpoints(tmp_path, keep=2) == [1]
    assert checkpoint_steps(tmp_path) == [2, 3]
    with pytest.raises(RunError, match="last good"):
        prune_checkpoints(tmp_path, keep=0)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_bytes(b""), "weights has 0 bytes, written were 2"),
        (lambda path: path.unlink(), "weights is missing"),
        (lambda path: path.write_bytes(b"\x00\x01"), "weights is not what was written"),
        (lambda path: (path.parents[1] / "complete.json").write_text("{"), "cannot be read"),
    ],
)
def test_a_damaged_one_is_named_and_nothing_begins_anew_over_its_records(tmp_path, damage, why):
    run = RunDirectory.create(tmp_path / "run", Manifest.of("demo", {}, {"train": 0}))
    save(run.checkpoints, 1, 2)
    assert run.check_checkpoints() is None
    damage(run.checkpoints / "step-2" / "model" / "weights")
    assert why in (said := run.check_checkpoints())
    assert said.endswith("going on from the checkpoint before it, step 1")
    remove_directory(run.checkpoints / "step-1")
    with pytest.raises(RunError, match="would begin at step 0") as refused:
        run.check_checkpoints()
    assert why in str(refused.value)
