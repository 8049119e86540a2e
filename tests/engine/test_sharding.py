"""Models in shards: two processes do what one does, hold half of it, and stop and go on exactly."""

import json
import os
import signal
import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_resume import tensors
from test_world_cases import LATER, check_gradients, check_records

import warm
from tod.base import ModelError, RunError, SpecError
from tod.engine import checkpoint, shard_files
from tod.engine.distributed import World
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.sharding import Turns, shard
from tod.engine.train import train
from tod.runs import RunDirectory, comparable
from tolerance import of_gradient, stated

HERE = Path(__file__).parent
SCRIPT = HERE / "sharding_script.py"
SPEC = spec_from_file_location("sharding_script", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
MADE = module_from_spec(SPEC)
SPEC.loader.exec_module(MADE)
ALONE = World(0, 1, torch.device("cpu"))


def together(*words: str, size: int = 2, **how: Any) -> None:
    """Run the script in processes of one world."""
    ends = warm.training().run_together(size, *words, script=SCRIPT, **how)
    assert [done.returncode for done in ends] == [0] * size, ends[0].stderr[-3000:]


def test_two_processes_step_as_one(tmp_path: Path) -> None:
    """Uneven draws and micro-batches, a norm that is clipped; every tensor is sliced for real."""
    MADE.steps(tmp_path, ALONE, None)
    together("steps", str(tmp_path), "fsdp2")
    one, first, second = (np.load(tmp_path / f"{name}.npz") for name in ("1-0", "2-0", "2-1"))
    near = of_gradient("float64")
    assert not one["sharded"].any()
    for rank in (first, second):
        assert rank["sharded"].all()
        assert rank["share"].max() < 1, "a parameter, gradient or moment is whole"
        assert np.linalg.norm(rank["norms"] - one["norms"]) <= near * one["norms"].max()
        assert one["norms"].min() > MADE.MAX_NORM
        clipped = np.linalg.norm(rank["clipped"], axis=1)
        factor = MADE.MAX_NORM / (one["norms"] + stated(1e-6, "torch.nn.utils.clip_grad_norm_"))
        assert (np.abs(clipped - factor * one["norms"]) <= 2 * near * clipped).all()
        apart = np.linalg.norm(rank["clipped"] - one["clipped"], axis=1)
        assert (apart <= near * clipped).all()
        apart = np.abs(rank["parameters"] - one["parameters"]).max()
        assert apart <= MADE.STEPS * LATER < 1e-6
    assert first["share"] + second["share"] == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["critic", "turns", "mixture", "whole_step"])
def test_two_processes_are_one_in_every_other_case(tmp_path: Path, name: str) -> None:
    cases = HERE / "world_cases.py"
    for size, dtype in ((1, "float64"), (2, "float64-fsdp2")):
        (tmp_path / str(size)).mkdir()
        words = [str(tmp_path / str(size)), dtype, name]
        ends = warm.training().run_together(size, *words, script=cases)
        assert [done.returncode for done in ends] == [0] * size, ends[0].stderr[-3000:]
    check_gradients(tmp_path / "1", tmp_path / "2", name, "float64")
    check_records(tmp_path / "1", tmp_path / "2", name)


@pytest.mark.slow
def test_a_process_holds_at_most_six_tenths(tmp_path: Path) -> None:
    MADE.write_model(tmp_path / "model")
    together("memory", str(tmp_path), "whole", size=1)
    together("memory", str(tmp_path), "fsdp2")
    (whole, all_told), *halves = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    )
    for held, told in halves:
        assert held <= 0.6 * whole
        assert told <= 0.6 * all_told
        assert 0.5 <= held / told <= 1.25, "as the forecast promises of every peak"


def run(folder: Path, name: str, sharding: str, size: int, steps: int, *more: str) -> None:
    changes = json.dumps({"train": {"steps": steps}})
    together("run", str(folder), sharding, name, changes, *more, size=size)


def same_run(first: Path, second: Path) -> None:
    """Bit for bit, of two runs in shards."""
    one, two = RunDirectory.open(first), RunDirectory.open(second)
    assert [comparable(r) for r in one.steps.read()] == [comparable(r) for r in two.steps.read()]
    ours, theirs = one.latest_checkpoint(), two.latest_checkpoint()
    assert ours is not None
    assert theirs is not None
    files = sorted((ours / "shards").iterdir())
    assert len(files) == 2
    for file in files:
        a, b = load_file(file), load_file(theirs / "shards" / file.name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_adapters_are_sliced_and_written_whole(tmp_path: Path) -> None:
    """Of rank 1, whose one row is one process's: the other has none of it."""
    changes = json.dumps({"peft": {"kind": "lora", "rank": 1}})
    for name, sharding, size in (("one", "whole", 1), ("two", "fsdp2", 2)):
        together("run", str(tmp_path), sharding, name, changes, size=size)
    one, two = (
        load_file(tmp_path / name / "model" / "adapter_model.safetensors")
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert value.shape == two[name].shape
        assert (value - two[name]).abs().max() <= MADE.STEPS * LATER < 1e-6
    assert any(value.abs().max() > 0 for name, value in one.items() if "lora_B" in name)


@pytest.mark.slow
def test_killed_and_resumed_bit_for_bit(tmp_path: Path) -> None:
    run(tmp_path, "whole", "fsdp2", 2, 5)
    words = ("run", str(tmp_path), "fsdp2", "broken", json.dumps({"train": {"steps": 5}}))
    for wanted in (1, 3):
        going = wanted > 1
        processes = warm.training().start_together(
            2, *words, *(["resume"] if going else []), script=SCRIPT
        )
        while not _done(tmp_path / "broken", wanted):
            time.sleep(0.01)
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        assert [p.wait().returncode for p in processes] == [-signal.SIGKILL] * 2
    together(*words, "resume")
    same_run(tmp_path / "whole", tmp_path / "broken")


def _done(run: Path, steps: int) -> bool:
    file = run / "steps.jsonl"
    return file.exists() and file.read_bytes().count(b"\n") >= steps


@pytest.mark.slow
def test_the_number_of_processes_may_change(tmp_path: Path) -> None:
    """Begun whole, then 2, 1, 2 in shards, then whole again: the run of one process."""
    run(tmp_path, "one", "whole", 1, 5)
    turns = (("whole", 1), ("fsdp2", 2), ("fsdp2", 1), ("fsdp2", 2), ("whole", 1))
    for steps, (sharding, size) in enumerate(turns, 1):
        run(tmp_path, "many", sharding, size, steps, *(["resume"] if steps > 1 else []))
    one, many = tensors(tmp_path / "one"), tensors(tmp_path / "many")
    assert one.keys() == many.keys()
    for name, value in one.items():
        if name.startswith("policy/"):
            assert np.abs(value - many[name]).max() <= 5 * LATER < 1e-6
    sizes = [r["world_size"] for r in RunDirectory.open(tmp_path / "many").steps.read()]
    assert sizes == [1, 2, 1, 2, 1]
    exported = [load_file(tmp_path / n / "model" / "model.safetensors") for n in ("one", "many")]
    assert exported[0].keys() == exported[1].keys()


def small(folder: Path, **changes: Any) -> RunSettings:
    settings: RunSettings = MADE.settings_of(folder, "fsdp2", **changes)
    return settings


def test_one_process_writes_shards_and_both_kinds_are_read(tmp_path: Path) -> None:
    """A checkpoint of an earlier version, then one in shards, then none: the run without any."""
    whole: Callable[[str, int], RunSettings] = lambda name, n: MADE.settings_of(  # noqa: E731
        tmp_path / name, None, train={"steps": n}
    )
    train(whole("plain", 3))
    train(whole("mixed", 1))
    train(small(tmp_path / "mixed", train={"steps": 2}), resume=True)
    latest = RunDirectory.open(tmp_path / "mixed").latest_checkpoint()
    assert latest is not None
    assert json.loads((latest / "state.json").read_text())["schema"] == "tod.checkpoint/2"
    assert {p.name for p in latest.iterdir()} == {"state.json", "complete.json", "shards"}
    train(whole("mixed", 3), resume=True)
    ours, theirs = tensors(tmp_path / "plain"), tensors(tmp_path / "mixed")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    train(small(tmp_path / "run"))
    checkpoint = tmp_path / "run" / "checkpoints" / "step-2"
    (file,) = (checkpoint / "shards").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])
    again = small(tmp_path / "run", train={"steps": 3})
    with pytest.warns(UserWarning, match=rf"{file.name} has .* going on from .*before it, step 1"):
        train(again, resume=True)
    latest = RunDirectory.open(tmp_path / "run").latest_checkpoint()
    assert latest is not None
    (file,) = (latest / "shards").iterdir()
    whole = file.read_bytes()
    file.write_bytes(b"\xff" * 8 + whole[8:])  # its size is what it was
    again = again.revised(train=again.train.revised(steps=4))
    with pytest.warns(UserWarning, match=rf"{file.name} is not what was written .*, step 2"):
        train(again, resume=True)


def test_a_damaged_shard_that_no_digest_tells_of_is_named(tmp_path: Path) -> None:
    """Checkpoints of older versions list sizes alone: the header of the file is what fails."""
    settings = small(tmp_path / "run", train={"steps": 2})
    train(settings)
    for listing in (tmp_path / "run" / "checkpoints").glob("*/complete.json"):
        told = json.loads(listing.read_text())
        listing.write_text(json.dumps({name: entry["size"] for name, entry in told.items()}))
        (file,) = (listing.parent / "shards").iterdir()
        file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])
    with pytest.raises(RunError, match=rf"{file.name} cannot be read"):
        train(settings.revised(train=settings.train.revised(steps=4)), resume=True)


def test_a_slice_that_is_missing_is_named(tmp_path: Path) -> None:
    shard_files.write({"a": torch.zeros(4, 3), "b": torch.zeros(2)}, tmp_path)
    assert shard_files.sizes(tmp_path) == {"a": (4, 3), "b": (2,)}
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    # the header tells that the slice begins at row 4: of 8 rows the first half is then not there
    moved = data.replace(b"[0, 0]", b"[4, 0]")
    assert moved != data
    file.write_bytes(moved)
    with pytest.raises(RunError, match="holds 12 of 24 numbers of 'a'"):
        shard_files.sizes(tmp_path)


@pytest.mark.parametrize("which", ["policy/", "optimiser/"])
def test_the_last_rows_of_a_process_whose_file_is_missing_are_named(
    which: str, tmp_path: Path
) -> None:
    """Nothing lies behind a gap: what is there looks like smaller tensors."""
    settings = small(tmp_path / "run", train={"steps": 1})
    train(settings)
    place = tmp_path / "run" / "checkpoints" / "step-1"
    (file,) = (place / "shards").iterdir()
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    first = {
        name: value[: -(-len(value) // 2)].clone() if name.startswith(which) else value
        for name, value in load_file(file).items()
    }
    save_file(first, file, metadata)
    session = open_session(settings, ALONE)
    with pytest.raises(RunError, match=rf"holds \d+ of \d+ rows of '{which}.*is missing"):
        checkpoint.load(session, place)
    session.close()


def test_files_of_another_machine_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list of the folder may be old; a checkpoint without them would be called whole."""
    written = {"a": torch.zeros(4, 3), "b": torch.zeros(2)}
    shard_files.write(written, tmp_path)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "unseen")
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        (tmp_path / "unseen").rename(file)

    monkeypatch.setattr(shard_files.time, "sleep", nap)
    shard_files.wait_until_seen(written, tmp_path)
    assert len(naps) == 1
    monkeypatch.setattr(shard_files, "SEEN_WITHIN", -1.0)
    with pytest.raises(OSError, match="do all machines share it"):
        shard_files.wait_until_seen({**written, "c": torch.zeros(1)}, tmp_path)


def test_a_shard_is_on_the_device_before_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[str, int] = {}
    monkeypatch.setattr(
        shard_files, "sync", lambda path: synced.update({path.name: path.stat().st_size})
    )
    shard_files.write({"a": torch.zeros(4, 3)}, tmp_path)
    assert synced == {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert len(synced) == 1


def test_another_model_is_refused(tmp_path: Path) -> None:
    train(small(tmp_path / "run", train={"steps": 1}))
    manifest = tmp_path / "run" / "manifest.json"
    page = json.loads(manifest.read_text())
    page["recipe"]["peft"] = {"kind": "lora", "rank": 2}
    session = open_session(RunSettings.parse(page["recipe"]), ALONE)
    with pytest.raises(RunError, match="is on one side only"):
        checkpoint.load(session, tmp_path / "run" / "checkpoints" / "step-1")
    session.close()


def test_servers_are_sent_no_slices(tmp_path: Path) -> None:
    served = {"policy": {"server": "http://localhost:1", "model": "m"}, "peft": {"kind": "lora"}}
    with pytest.raises(SpecError, match="remove one of the two"):
        small(tmp_path / "run", **served)


def test_a_model_that_is_not_forwarded_once_is_refused() -> None:
    config = hf.Gemma2Config(
        vocab_size=21, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=16, pad_token_id=0,
    )  # fmt: skip
    model = hf.Gemma2ForCausalLM(config)
    with pytest.raises(ModelError, match=r"layout .* Run without it"):
        shard(model, torch.device("cpu"), Turns(), trained=True)
