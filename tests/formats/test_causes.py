"""What is said of files of no format, of steps that are not there, and of roles that are none."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tod.base import DataError, SpecError
from tod.formats import files as _files
from tod.formats import jsonl as _json
from tod.formats import read


def rows(count: int = 400) -> list[dict[str, Any]]:
    return [
        {"step": 1 + i // 200, "prompt_id": i // 4, "reward": float(i % 3), "logp": -1.0 - i % 5}
        for i in range(count)
    ]


def text(table: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table).encode()


def cut_zst(data: bytes) -> bytes:
    import zstandard

    packed = zstandard.ZstdCompressor().compress(data)
    return packed[:-20]


CAUSES: dict[str, tuple[str, Any, str]] = {
    "cut gzip": ("x.jsonl.gz", lambda d: gzip.compress(d)[:-40], "compressed data is damaged"),
    "no gzip": ("x.jsonl.gz", lambda _: bytes(500), "not gzip"),
    "zst": ("x.jsonl.zst", cut_zst, "compressed data is damaged"),
    "utf-16": ("x.jsonl", lambda d: d.decode().encode("utf-16"), "UTF-16.*iconv"),
    "latin": ("x.jsonl", lambda d: b'{"\xe9": 1}\n' + d[:9], "line 1 is not UTF-8"),
    "array": ("x.json", lambda d: json.dumps([json.loads(d.split(b"\n")[0])]).encode(), "jq -c"),
    "number": ("x.jsonl", lambda _: b"1\n2\n3\n", "line 1 is '1'; one JSON object a line"),
    "blank": ("x.jsonl", lambda _: b"\n\n\n", "nothing but blank lines"),
    "no json": ("x.jsonl", lambda _: b"\nreward,step\n1,2\n", "line 2 is not JSON"),
    "deep": ("x.jsonl", lambda _: b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
    "one line": ("x.jsonl", lambda d: d.replace(b"\n", b" "), "line 1 is longer than .* MiB"),
    "parquet": ("x.parquet", lambda _: b"PAR1" + bytes(500) + b"PAR1", "cannot be read as Parquet"),
    "torch": ("x.pt.gz", lambda d: gzip.compress(d)[:-40], "compressed data is damaged"),
}


@pytest.mark.parametrize("case", list(CAUSES))
def test_the_cause_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    name, spoil, cause = CAUSES[case]
    if case == "one line":
        for module in (_files, _json):
            monkeypatch.setattr(module, "MAX_LINE", 1000)
        monkeypatch.setattr(_files, "_CHUNK", 100)
    path = tmp_path / name
    path.write_bytes(spoil(text(rows(40))))
    with pytest.raises(DataError, match=cause) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["plain", "checked", "frames", "skipped", "streamed"])
def test_a_cut_zst_is_told_from_a_whole_one_at_every_byte(tmp_path: Path, kind: str) -> None:
    import zstandard

    data = text(rows(300))
    packer = zstandard.ZstdCompressor(write_checksum=kind == "checked")
    packed = packer.compress(data)
    if kind == "streamed":
        maker = packer.compressobj()
        pieces = [maker.compress(data[:5000]), maker.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
        packed = b"".join([*pieces, maker.compress(data[5000:]), maker.flush()])
    ends = {0, len(packed)}
    if kind == "frames":
        ends |= {2 * len(packed)}
        packed += packed
    if kind == "skipped":
        packed += b"\x53\x2a\x4d\x18" + (7).to_bytes(4, "little") + bytes(7)
        ends |= {len(packed)}
    path = tmp_path / "x.jsonl.zst"
    for cut in (*range(1, len(packed), 7), *ends):
        path.write_bytes(packed[:cut])
        try:
            got = b"".join(chunk.data for chunk in _files.chunks(path))
        except DataError:
            assert cut not in ends
        else:
            assert cut in ends
            assert got == data * min(2, round(cut / sorted(ends)[1]))


def test_a_damaged_file_among_good_ones_is_said(writers: Any, world: Any, tmp_path: Path) -> None:
    root = writers.write_trl(world, tmp_path)
    (root / "completions/completions_00002.parquet").write_bytes(b"PAR1 and no more")
    notes = read(root).source.notes
    assert any(n.startswith("left out: ") and "completions_00002" in n for n in notes)


def test_steps_that_are_there_are_named(writers: Any, world: Any, tmp_path: Path) -> None:
    there = "other steps there: 1 to 3"
    for name in ("verl", "trl", "nemo", "slime", "skyrl", "swift", "areal", "open_instruct", "tod"):
        root = getattr(writers, f"write_{name}")(world, tmp_path / name)
        with pytest.raises(DataError, match=rf"steps asked for \(7:9\); {there}"):
            read(root, steps="7:9")
    with pytest.raises(DataError, match=rf"steps asked for \(:0\); {there}"):
        read(tmp_path / "tod", steps=":0")


def test_a_slime_file_without_a_number_has_its_rollout_id(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    root = writers.write_slime(world, tmp_path)
    wanted = read(root / "rollout_data")
    (root / "rollout_data/2.pt").rename(root / "rollout_data/second.pt")
    found = read(root / "rollout_data")
    assert found.steps.tolist() == wanted.steps.tolist()
    assert found.utilities("reward").tolist() == wanted.utilities("reward").tolist()


def test_a_torch_file_without_a_number_that_would_run_code(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Harm:
        def __reduce__(self) -> Any:
            return os.system, ("true",)

    torch.save({"rollout_id": 4, "samples": [Harm()]}, tmp_path / "y.pt")
    with pytest.raises(DataError, match=r"posix\.system"):
        read(tmp_path / "y.pt")


def test_a_name_without_a_step_is_said(writers: Any, world: Any, tmp_path: Path) -> None:
    root = writers.write_nemo(world, tmp_path)
    folder = root / "exp_001"
    (folder / "train_data_step2.jsonl").rename(folder / "train_data_second.jsonl")
    reading = read(root)
    assert set(reading.steps.tolist()) == {1, 3}
    assert any("no step in the name of train_data_second" in n for n in reading.source.notes)
    with pytest.raises(DataError, match=r"no rollouts.*no step in the name"):
        read(folder / "train_data_second.jsonl")


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"utility": "rewrd"}, "utility=reward"),
        ({"context": "promptid"}, "context=prompt_id"),
        ({"step": "stp"}, "step=step"),
        ({"log_mu": "logpp"}, "log_mu=logp"),
        ({"lag": "logpp"}, "lag=logp"),
    ],
)
def test_an_absent_column_is_refused_once_with_the_names_that_are_there(
    tmp_path: Path, name: str, wrong: dict[str, str], right: str
) -> None:
    import polars as pl

    path = tmp_path / name
    if path.suffix == ".parquet":
        pl.DataFrame(rows()).write_parquet(path)
    else:
        path.write_bytes(text(rows()))
    with pytest.raises(DataError) as caught:
        read(path, mapping={"utility": "reward", "context": "prompt_id", **wrong})
    assert "It holds step, prompt_id, reward, logp." in str(caught.value)
    assert f"--map {right}" in str(caught.value)


def test_a_column_that_only_some_rows_have_is_there(tmp_path: Path) -> None:
    table = rows()
    for row in table[:3]:
        del row["logp"]
    path = tmp_path / "x.jsonl"
    path.write_bytes(text(table))
    mapping = {"utility": "reward", "context": "prompt_id", "log_mu": "logp"}
    assert read(path, mapping=mapping).source.rejected == 3


@pytest.mark.parametrize(
    ("role", "right"), [("ctx", "context"), ("utilty", "utility"), ("log_my", "log_mu")]
)
def test_an_unknown_role_is_refused_with_the_nearest(
    writers: Any, world: Any, tmp_path: Path, role: str, right: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text(rows()))
    for given in ({"utility": "reward"}, {"utility": "reward", "context": "prompt_id"}, {}):
        with pytest.raises(SpecError, match=f"no role '{role}'. Did you mean {right}=c?"):
            read(path, mapping={**given, role: "c"})
    with pytest.raises(SpecError, match=f"Did you mean {right}"):
        read(writers.write_verl(world, tmp_path / "verl"), mapping={role: "c"})


def test_a_mapping_that_lacks_a_role_says_which(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text(rows()))
    with pytest.raises(DataError, match="names utility, step: add context=COLUMN"):
        read(path, mapping={"utility": "reward", "step": "step"})
    with pytest.raises(DataError, match="names context: add utility=COLUMN"):
        read(path, mapping={"context": "prompt_id"})


def test_utilities_by_name_alone_are_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text(rows()))
    reading = read(path, mapping={"utility.r": "reward", "context": "prompt_id"})
    assert reading.utilities("r").tolist() == [row["reward"] for row in rows()]


@pytest.mark.parametrize("size", ["four", "0", "-1", "4.0", ""])
def test_a_group_size_that_is_none(writers: Any, world: Any, tmp_path: Path, size: str) -> None:
    root = writers.write_trl(world, tmp_path)
    with pytest.raises(SpecError, match="group_size"):
        read(root, mapping={"group_size": size})


def test_a_setting_that_nothing_looks_at_is_refused(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="no such setting"):
        read(writers.write_verl(world, tmp_path), mapping={"group_size": "4"})


def test_one_column_may_play_several_roles(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(text(rows()))
    named = {"utility": "reward", "context": "prompt_id", "log_mu": "logp", "log_ref": "logp"}
    found = read(tmp_path / "x.jsonl", mapping=named)
    assert found.log_mu is not None
    assert found.log_mu.tolist() == found.log_anchor["ref"].tolist()
    assert found.log_mu.tolist() == [row["logp"] for row in rows()]
