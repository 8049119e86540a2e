"""Pickles, tensor archives, YAML, column and file names made to harm, and the faults that were.

Each case that once read foreign memory, hung or crashed is here by itself; the grammar of
``scripts/hostile_files`` makes the rest, in child processes with limits of time and memory.
"""

import os
import random
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tod
from hostile_files import emit
from hostile_files.children import SECONDS, run
from hostile_files.emit import storage, tensor
from tod.base import DataError
from tod.formats import read
from tod.formats.untrusted import pickles, tensordicts, torch_files
from tod.formats.untrusted.pickles import load

FLOATS = np.linspace(-1, -0.1, 1000, dtype=np.float32).tobytes()


def torch_file(path: Path, value: Any, **storages: bytes) -> Path:
    made = b"\x80\x02" + emit.emit(value) + b"."
    held = {"0": FLOATS, **storages}
    path.write_bytes(emit.archive(made, held, random.Random(1)))
    return path


def pickled(path: Path, raw: bytes) -> Path:
    path.write_bytes(b"\x80\x02" + raw + b".")
    return path


def test_an_array_of_the_file_is_no_storage(tmp_path: Path) -> None:
    """1000 elements over one float, then an array over that array: 999 floats of foreign heap."""
    first = tensor(storage("0"), (1000,), (0,), 999)
    over = tensor((first, "FloatStorage"), (1000,), (1,), 0)
    for forged in (over, tensor(first, (1000,), (1,), 0), tensor((FLOATS, "FloatStorage"), (4,))):
        path = torch_file(tmp_path / "1.pt", {"rollout_id": 1, "samples": [{"x": forged}]})
        with pytest.raises(DataError, match="no storage of this file"):
            torch_files.load_torch(path, path)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((1000,), (1,), 1),
        ((2,), (-1,), 1),
        ((2, 2), ((1 << 61) + 1, 1), 0),
        ((1 << 40, 0), (1, 1), 0),
        ((1001,), (0,), 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(
    tmp_path: Path, size: Any, stride: Any, offset: int
) -> None:
    path = torch_file(tmp_path / "1.pt", tensor(storage("0"), size, stride, offset))
    with pytest.raises(DataError, match=r"1\.pt: not a whole pickle .*tensor"):
        torch_files.load_torch(path, path)


def test_one_storage_under_two_types_is_refused(tmp_path: Path) -> None:
    pair = [tensor(storage("0"), (2,)), tensor(storage("0", "DoubleStorage"), (2,))]
    path = torch_file(tmp_path / "1.pt", pair)
    with pytest.raises(DataError, match="two types"):
        torch_files.load_torch(path, path)


def test_offsets_of_a_nested_tensor_cannot_wrap(tmp_path: Path) -> None:
    """2^63 − 1 + 1 is −2^63 in eight bytes, which is below every bound."""
    most = np.array([(1 << 63) - 1, 1], dtype=np.int64).tobytes()
    whole = tensor(storage("9", "LongStorage"), (1,), (1,), 0)
    one = tensor(storage("9", "LongStorage"), (1,), (1,), 1)
    fields = {"values": tensor(storage("0"), (4,)), "offsets": whole, "lengths": one}
    nested = emit.call(
        "torch.nested._internal.nested_tensor._rebuild_njt", {**fields, "_ragged_idx": 1}
    )
    path = torch_file(tmp_path / "1.pt", nested, **{"9": most})
    with pytest.raises(DataError, match="nested tensor"):
        torch_files.load_torch(path, path, tensordicts.NAMES)


DOUBLING = b")" + b"2\x86" * 60
DEEP = b")" + b"\x85" * 100_000
LISTS = b"](" * 5000 + b"e" * 5000
HARMFUL = {
    "a key that doubles 60 times": (b"}" + DOUBLING + b"Ns", "a key"),
    "a member of a set that does": (b"\x8f(" + DOUBLING + b"\x90", "a key"),
    "a member of a frozen set": (b"(" + DOUBLING + b"\x91", "a key"),
    "a key 10^5 deep": (b"}" + DEEP + b"Ns", "a key"),
    "a key of 2^8000": (b"}" + emit.number(1 << 8000) + b"Ns", "a key"),
    "an object of 2^60 items": (DOUBLING, "stand for more"),
    "an object 10^5 deep": (DEEP, "deeper than 64"),
    "lists 5000 deep": (LISTS, "deeper than 64"),
    "an object inside of itself": (b"]r\0\0\2\0j\0\0\2\0a", "holds itself"),
    "a number of 10 kB": (emit.number(1 << 80_000), "whole number of"),
    "text of 4 GiB": (b"X" + struct.pack("<I", 0xFFFFFFFF), "bytes wanted"),
    "bytes of 2^64": (b"\x8e" + struct.pack("<Q", (1 << 64) - 1), "bytes wanted"),
    "an opcode of another protocol": (b"I1\n", "opcode"),
    "something called that is no name": (b"N)R", "not named"),
    "a state for a list": (b"]Nb", "state for plain data"),
    "no mark": (b"e", "no mark|index out of range"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_pickle_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    raw, why = HARMFUL[name]
    path = pickled(tmp_path / "x.pkl", raw)
    with pytest.raises(DataError, match=f"(?s)x[.]pkl.*({why})"):
        read(path)


@pytest.mark.parametrize("raw", [DOUBLING, DEEP, b"]r\0\0\2\0j\0\0\2\0a"])
def test_stand_ins_do_not_walk_what_they_are_given(raw: bytes) -> None:
    """``str`` of an object that doubles 60 times has 2^60 characters."""
    one = b"\x80\x02%b" + raw + b"\x85R."
    assert load(memoryview(one % emit.name("numpy.dtype")), tensordicts.NAMES, "a.pt").code == ""
    for function in ("torch.Size", "builtins.set"):
        with pytest.raises(DataError, match=r"a\.pt"):
            load(memoryview(one % emit.name(function)), tensordicts.NAMES, "a.pt")


def test_what_is_shared_may_not_be_copied_without_end() -> None:
    """A megabyte of text, made bytes ten thousand times by forty kilobytes of calls."""
    text = emit.text("a" * (1 << 20)) + b"r\0\0\1\0000"
    latin = emit.text("latin1") + b"r\0\0\2\0000"
    once = b"c_codecs\nencode\nj\0\0\1\0j\0\0\2\0\x86R0"
    data = memoryview(b"\x80\x02" + text + latin + once * 10_000 + b"N.")
    with pytest.raises(DataError, match="too many for its size"):
        load(data, tensordicts.NAMES, "a.pt")


@pytest.mark.parametrize("code", [b"\x8f", b"]", b"}", b"(t", b"N\x85", b"(\x91", b"N\x94"])
def test_containers_are_counted(monkeypatch: pytest.MonkeyPatch, code: bytes) -> None:
    """An empty set of 216 bytes is one byte on disk."""
    monkeypatch.setattr(pickles, "MOST_BOXES", 100)
    with pytest.raises(DataError, match=r"containers|memo entries"):
        load(memoryview(b"\x80\x02" + code * 150 + b"."), {}, "a.pkl")


def test_entries_of_an_archive_that_overlap_are_read_once(tmp_path: Path) -> None:
    """A kilobyte of directory that names one megabyte forty times."""
    path = tmp_path / "1.pt"
    names = [f"k{i:02d}" for i in range(40)]
    value = [tensor(storage(name), (4,)) for name in names]
    torch_file(path, value, **dict.fromkeys(names, b""), big=bytes(1 << 20))
    data = bytearray(path.read_bytes())
    big = data.find(b"x/data/big") - 30
    for name in names:
        at = data.rfind(f"x/data/{name}".encode()) - 46
        data[at + 20 : at + 28] = struct.pack("<II", 1 << 20, 1 << 20)
        data[at + 42 : at + 46] = struct.pack("<I", big)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"1\.pt"):
        torch_files.load_torch(path, path)


def test_prompt_boundaries_that_overlap_are_refused(tmp_path: Path) -> None:
    """10^5 of them over all rows each took rows × boundaries steps."""
    from hostile_files.grammar import skyrl

    state = skyrl()
    state["metadata"]["policy_prompt_boundaries"] = [(0, 4)] * 5
    path = pickled(tmp_path / "global_step_1_training_input.pkl", emit.emit(state))
    with pytest.raises(DataError, match="overlap"):
        read(path)


def test_the_words_of_the_grammar_are_admitted_where_they_are_whole(tmp_path: Path) -> None:
    """What the grammar spoils is valid before: the readers are reached, not their doors alone."""
    from hostile_files import grammar

    held = {"0": FLOATS, "offsets": np.array([0, 2, 4, 6, 8]).tobytes()}
    for name, made in (("1.pt", grammar.slime_rollout), ("tq_batch.pt", grammar.verl_queue)):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        reading = read(torch_file(folder / name, made(), **held))
        assert (len(reading), reading.source.rejected) == (4, 0), reading.source.rejections
        assert reading.log_mu is not None
    train = torch_file(tmp_path / "2.pt", grammar.slime_train())
    assert read(train, mapping={"group_size": "2"}).source.rejected == 0
    path = tmp_path / "global_step_1_training_input.pkl"
    assert len(read(pickled(path, emit.emit(grammar.skyrl())))) == 4


@pytest.mark.parametrize("kind", ["pickles", "yaml", "keys", "names"])
def test_files_of_the_grammar_are_answered_or_refused(kind: str) -> None:
    told = run(kind, 0, 400)
    assert not told.faults, next(iter(told.faults.items()))
    assert sum(told.counts.values()) == 400
    assert len(told.counts) > 1


def test_texts_of_a_sample_that_is_no_mapping_are_empty() -> None:
    """One of 25 000 pickles had a set for a sample, and its second reading asked that for text."""
    assert not run("pickles", 15299, 1).faults


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pickles", "yaml", "keys", "names"])
def test_a_hundred_thousand_files_of_the_grammar(kind: str) -> None:
    told = run(kind, 0, 100_000)
    assert not told.faults, next(iter(told.faults.items()))
    assert told.longest[0] < SECONDS


def test_a_case_that_crashes_or_hangs_is_an_outcome() -> None:
    """The harness itself: a child that ends by a signal, one that never ends, and what follows."""
    told = run("planted", 0, 6, seconds=3)
    assert told.counts == {"answer": 3}
    assert sorted(told.faults) == [1, 3, 4]
    assert "ended with -11" in told.faults[1]
    assert "hangs" in told.faults[3]
    assert "ZeroDivisionError" in told.faults[4]


def test_one_place_reads_pickles() -> None:
    """Another one would run what a file says; a child process of our own is no file."""
    pattern = re.compile(
        r"\bpickle\.\w*loads?\b|\bUnpickler\b|\btorch\.load\b|\bmarshal\b"
        r"|\bmultiprocessing\.connection\b"
    )
    root = Path(tod.__file__).parent
    files = {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*.py")}
    assert {n for n, text in files.items() if pattern.search(text)} == {
        "engine/utilities/worker.py",
        "live/trl/generated.py",
        "study/executors/processes.py",
    }


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    import polars as pl

    path = tmp_path / os.fsdecode(b"x\xff.parquet")
    pl.DataFrame({"context": ["a"], "utility.r": [0.5]}).write_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").rename(path)
    with pytest.raises(DataError, match="its name is not UTF-8"):
        read(path)
