"""Files that are damaged, strange or made to harm: refused with file, row and field."""

import gzip
import json
import os
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.base import DataError, SpecError, TodError
from tod.diagnosis import diagnose
from tod.formats import files as _files
from tod.formats import read


def verl_rows(count: int = 400, k: int = 4) -> list[dict[str, Any]]:
    return [
        {"input": f"q{i // k}", "output": "a", "gts": "4", "score": float(i % 3 == 0), "step": 1}
        | {"uid": f"g{i // k}_0_{i % k}"}
        for i in range(count)
    ]


def dump(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


@pytest.mark.parametrize(
    ("change", "name", "value", "why"),
    [
        ({"score": "high"}, "score", "'high'", "is wanted"),
        ({"score": None}, "score", "null", "is wanted"),
        ({"score": float("nan")}, "score", "nan", "not a number"),
        ({"score": float("inf")}, "score", "inf", "infinite"),
        ({"score": -float("inf")}, "score", "-inf", "infinite"),
        ({"step": 1.5}, "step", "1.5", "is wanted"),
        ({"uid": "nogroup"}, "uid", "'nogroup'", "uid_session_output"),
    ],
)
def test_one_bad_row_is_named(
    tmp_path: Path, change: dict[str, Any], name: str, value: str, why: str
) -> None:
    rows = verl_rows()
    rows[6] |= change
    reading = read(dump(tmp_path / "1.jsonl", rows))
    assert reading.source.rejected == 1
    assert reading.source.rows == len(rows) - 1
    (found,) = reading.source.rejections
    assert (found.row, found.name, found.value) == (7, name, value)
    assert why in found.why
    assert found.file.endswith("1.jsonl")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "is wanted"),
        ('{"score": 1.0}', "missing"),
        ('{"a":' + "[" * 5000 + "]" * 5000 + "}", "nested too deep|missing"),
        ('{"score": 1e999, "step": 1, "uid": "a_b_c"}', "out of range|infinite"),
    ],
)
def test_one_bad_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    import re

    reading = read(dump(tmp_path / "1.jsonl", [*verl_rows(), line]))
    (found,) = reading.source.rejections
    assert found.row == 401
    assert re.search(why, found.why)


def test_too_many_bad_rows_fail_with_examples(tmp_path: Path) -> None:
    rows = verl_rows()
    for row in rows[:5]:
        row["score"] = None
    path = dump(tmp_path / "1.jsonl", rows)
    with pytest.raises(DataError, match=r"5 of 400 rows.*score(.|\n)*row 1: score = null"):
        read(path)
    assert read(path, max_rejected=0.02).source.rejected == 5


def test_nan_in_a_field_that_nobody_needs_is_no_reason(tmp_path: Path) -> None:
    rows = verl_rows()
    rows[3]["gts"] = float("nan")
    assert read(dump(tmp_path / "1.jsonl", rows)).source.rejected == 0


def test_nor_is_it_where_prompts_are_kept_undecoded(tmp_path: Path) -> None:
    """verl V0 groups by the raw bytes of the input, which a line read loosely has no more."""
    rows = [{k: v for k, v in row.items() if k != "uid"} for row in verl_rows()]
    rows[3]["gts"] = float("nan")
    reading = read(dump(tmp_path / "1.jsonl", rows))
    assert reading.source.rejected == 0
    assert reading.contexts.sizes.tolist() == [4] * 100


ODD = ['a"b', "a\\b", "a\nb", "\x1b]0;x\x07", "acc/mean", "utility.", "ä"]


@pytest.mark.parametrize("name", ODD)
def test_a_column_may_have_any_name(tmp_path: Path, name: str) -> None:
    """A generated struct has no field of such a name; JSON and Parquet do."""
    import polars as pl

    own = [
        {"context": f"c{i // 4}", "step": 1, f"utility.{name}": float(i % 2), "log_mu": -1.0}
        for i in range(8)
    ]
    dump(tmp_path / "x.jsonl", own)
    pl.DataFrame(own).write_parquet(tmp_path / "x.parquet")
    for path in (tmp_path / "x.jsonl", tmp_path / "x.parquet"):
        assert read(path).utility[name].tolist() == [0.0, 1.0] * 4
    mapped = [{name: float(i % 2), "q": f"c{i // 4}"} for i in range(8)]
    reading = read(dump(tmp_path / "y.jsonl", mapped), mapping={"utility": name, "context": "q"})
    assert reading.utility[name].tolist() == [0.0, 1.0] * 4
    mapped[5][name] = "x"
    reading = read(
        dump(tmp_path / "y.jsonl", mapped),
        mapping={"utility": name, "context": "q"},
        max_rejected=0.5,
    )
    (refused,) = reading.source.rejections
    assert (refused.row, refused.name, refused.value) == (6, name, "'x'")
    verl = [{k: v for k, v in row.items() if k != "uid"} | {name: 0.5} for row in verl_rows(8)]
    assert read(dump(tmp_path / "1.jsonl", verl)).utility[name].tolist() == [0.5] * 8


def test_torn_last_line_is_counted_but_does_not_fail(tmp_path: Path) -> None:
    path = dump(tmp_path / "1.jsonl", verl_rows(8))
    with path.open("a") as file:
        file.write('{"input": "q", "sco')
    reading = read(path)
    assert (reading.source.rows, reading.source.rejected) == (8, 1)
    assert "torn" in reading.source.rejections[0].why


def test_a_line_that_never_ends_is_skipped_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracemalloc

    monkeypatch.setattr(_files, "MAX_LINE", 1 << 20)
    path = tmp_path / "1.jsonl"
    with path.open("w") as file:
        for row in verl_rows(200):
            file.write(json.dumps(row) + "\n")
        file.write('{"input": "' + "x" * (40 << 20) + '"}\n')
        for row in verl_rows(200):
            file.write(json.dumps(row | {"uid": "later_" + row["uid"]}) + "\n")
    tracemalloc.start()
    reading = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.source.rows == 400
    assert "longer than" in reading.source.rejections[0].why
    assert reading.source.rejections[0].row == 201
    assert peak < 20 << 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wrong_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in verl_rows()), encoding=encoding)
    with pytest.raises(DataError, match="UTF-8"):
        read(path, format="verl")


def test_latin_bytes_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in verl_rows())
    path = tmp_path / "1.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(path).source.rejected == 0
    path.write_bytes(text.replace('"q0"', '"\xfc"').encode("latin-1"))
    assert read(path).source.rows + read(path).source.rejected == 400


def test_empty_and_missing(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").touch()
    with pytest.raises(DataError, match="empty"):
        read(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match="no file matches"):
        read(f"{tmp_path}/*.parquet")
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match="no rollout file"):
        read(tmp_path / "sub")


@pytest.mark.parametrize("name", ["train.log", "nohup.out", "err.txt"])
def test_output_without_a_step_shows_its_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(
        "loading shards\n" * 2000 + "  0%|   | 0/4\rNotImplementedError: \x1b[31mno\n\n"
    )
    with pytest.raises(DataError) as caught:
        read(path)
    said = str(caught.value)
    assert "no line of it holds figures of a step" in said
    assert said.endswith("Its last line is: NotImplementedError: ␛[31mno")


def test_unknown_format_shows_what_is_in_it(tmp_path: Path) -> None:
    path = dump(tmp_path / "x.jsonl", [{"foo": 1, "bar": 2}])
    with pytest.raises(DataError, match=r"foo, bar(.|\n)*--map utility="):
        read(path)
    with pytest.raises(SpecError, match="Did you mean 'verl'"):
        read(path, format="verk")
    with pytest.raises(SpecError, match="a:b"):
        read(path, steps="x:y")


def test_mapping_to_a_column_that_is_not_there(tmp_path: Path) -> None:
    import polars as pl

    pl.DataFrame({"r": [1.0], "q": ["a"]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"no column 'qq'.*r, q"):
        read(tmp_path / "x.parquet", mapping={"utility": "r", "context": "qq"})
    with pytest.raises(SpecError, match="'utility' and 'reward' name one role"):
        read(tmp_path / "x.parquet", mapping={"utility": "r", "context": "q", "reward": "r"})


def test_mixed_schemas(tmp_path: Path) -> None:
    dump(tmp_path / "1.jsonl", verl_rows())
    other = [{**row, "step": 2, "uid": "b" + row["uid"]} for row in verl_rows()]
    for row in other:
        del row["score"]
        row["reward"] = 1.0
    dump(tmp_path / "2.jsonl", other)
    reading = read(tmp_path)
    assert reading.source.rows == 400
    with pytest.raises(DataError, match="score: missing"):
        read([tmp_path / "1.jsonl", tmp_path / "2.jsonl"], format="verl")


def open_instruct_rows(count: int = 400) -> list[dict[str, Any]]:
    return [
        {"step": 1, "sample_idx": i % 4, "prompt_idx": i // 4, "prompt_tokens": [1]}
        | {"response_tokens": [5, 6], "reward": float(i % 2), "logprobs": [-0.5, -0.25]}
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("logprobs", "why"),
    [
        ([-0.5], "another length"),
        ([-0.5, 0.5], "positive"),
        ([-0.5, float("nan")], "not a number"),
        ([-0.5, "x"], "is wanted"),
        ([-0.5, -float("inf")], "cannot have drawn"),
    ],
)
def test_log_probs_that_cannot_be(tmp_path: Path, logprobs: list[Any], why: str) -> None:
    rows = open_instruct_rows()
    rows[9]["logprobs"] = logprobs
    reading = read(dump(tmp_path / "x.jsonl", rows))
    (found,) = reading.source.rejections
    assert found.row == 10
    assert why in found.why


def test_groups_of_one_are_singletons(tmp_path: Path) -> None:
    found = diagnose(read(dump(tmp_path / "1.jsonl", verl_rows(40, k=1))))
    assert found.summary.contexts.singleton == 40
    assert found.regime.verdict == "undetermined"


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/should-not-exist-tod",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "global_step_1_training_input.pkl"
    path.write_bytes(pickle.dumps({"batch_dict": Evil()}, protocol=protocol))
    pattern = "posix.system|nt.system|opcode"
    with pytest.raises(DataError, match=pattern) as caught:
        read(path)
    if protocol >= 2:
        assert "posix.system" in str(caught.value)
    (tmp_path / "evil.pkl").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=pattern):
        read(tmp_path / "evil.pkl")
    assert not Path("/tmp/should-not-exist-tod").exists()


def test_a_torch_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"rollout_id": 1, "samples": [Evil()]}, tmp_path / "1.pt")
    with pytest.raises(DataError, match=r"posix\.system"):
        read(tmp_path / "1.pt")
    assert not Path("/tmp/should-not-exist-tod").exists()


@pytest.mark.parametrize(
    "name",
    ["builtins.eval", "builtins.getattr", "torch.load", "skyrl.backends.skyrl_train.os.system"],
)
def test_exactly_three_names_are_admitted(tmp_path: Path, name: str) -> None:
    from tod.formats.skyrl import NAMES

    assert len(NAMES) == 3
    module, _, function = name.rpartition(".")
    code = f"\x80\x04\x8c{chr(len(module))}{module}\x8c{chr(len(function))}{function}\x93)R."
    path = tmp_path / "x.pkl"
    path.write_bytes(code.encode("latin-1"))
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read(path)


def test_a_pickle_cannot_call_what_it_made(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04\x8c\x01a)R.")
    with pytest.raises(DataError, match="not named"):
        read(path)


def test_a_memo_index_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(DataError, match="batch_dict"):
        read(path)


def test_a_tensor_may_not_reach_beyond_its_storage(tmp_path: Path) -> None:
    from tod.formats.untrusted.torch_files import Storage, rebuild_tensor

    storage = Storage(np.arange(4.0).tobytes(), np.dtype("<f8"))
    assert rebuild_tensor(storage, 1, (3,), (1,)).tolist() == [1.0, 2.0, 3.0]
    assert rebuild_tensor(storage, 3, (), ()).tolist() == 3.0
    assert rebuild_tensor(storage, 0, (0, 3), (3, 1)).shape == (0, 3)
    for offset, size, stride in (
        (2, (3,), (1,)),
        (0, (10**9,), (0,)),
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (2, 2), (1 << 62, 1)),
        (0, (3, 3), ((1 << 61) + 1, 1)),
        (1 << 61, (), ()),
        (0, (1 << 40, 0), (1, 1)),
        (0, (2,), (1, 1)),
        (0, (True,), (1,)),
        (0.0, (1,), (1,)),
    ):
        with pytest.raises(ValueError, match="tensor"):
            rebuild_tensor(storage, offset, size, stride)
    for thing in (rebuild_tensor(storage, 0, (4,), (1,)), (np.arange(4.0), "DoubleStorage"), None):
        with pytest.raises(TypeError, match="no storage of this file"):
            rebuild_tensor(thing, 0, (2,), (1,))


def test_a_deflated_torch_file_is_refused(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "1.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1/data.pkl", b"\x80\x02" + b"N0" * 100000 + b"N.")
    with pytest.raises(DataError, match="deflated"):
        read(path)


def test_links_out_of_a_directory_are_not_followed(tmp_path: Path) -> None:
    secret = dump(tmp_path / "secret.jsonl", verl_rows())
    inside = tmp_path / "dump"
    inside.mkdir()
    dump(inside / "1.jsonl", verl_rows())
    (inside / "2.jsonl").symlink_to(secret)
    (inside / "loop").symlink_to(inside, target_is_directory=True)
    (inside / "3.jsonl").symlink_to(inside / "gone.jsonl")
    os.mkfifo(inside / "4.jsonl")
    reading = read(inside)
    assert reading.source.files == 1
    assert any("outside" in note for note in reading.source.notes)
    assert read(inside / "2.jsonl").source.rows == 400
    with pytest.raises(DataError, match="not a regular file"):
        read(inside / "4.jsonl")
    with pytest.raises(DataError, match="does not exist"):
        read(inside / "3.jsonl")


def test_damaged_compression_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [{**row, "output": rng.bytes(200).hex()} for row in verl_rows()]
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    path = tmp_path / "1.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="damaged"):
        read(path, format="verl")


def test_damaged_parquet_and_sqlite_are_named(tmp_path: Path) -> None:
    import polars as pl

    path = tmp_path / "x.parquet"
    pl.DataFrame({"context": ["a"] * 50, "step": [1] * 50, "utility.r": [0.5] * 50}).write_parquet(
        path
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"Parquet|not known"):
        read(path, format="tod")
    store = tmp_path / "x.db"
    store.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(DataError, match=r"rewards|SQLite"):
        read(store)


def test_a_view_in_the_place_of_the_table_is_refused(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    root = writers.write_tinker(world, tmp_path, capture=False)
    with sqlite3.connect(root / "capture.db") as store:
        store.execute(
            "CREATE VIEW wire_rows AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) "
            "SELECT x AS cursor FROM n"
        )
    store.close()
    with pytest.raises(DataError, match="not a table"):
        read(root)


def test_every_refusal_is_ours(tmp_path: Path) -> None:
    for name in ("a.pkl", "a.pt", "a.db", "a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        path = tmp_path / name
        for content in (b"", b"\0", b"garbage" * 100, b"PK\x03\x04" + b"\0" * 100):
            path.write_bytes(content)
            with pytest.raises(TodError):
                read(path)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_parquet_headers_of_other_writers_pass_the_check(tmp_path: Path, version: str) -> None:
    import polars as pl
    import pyarrow.parquet as pq

    from tod.formats.untrusted.parquet_pages import check

    path = tmp_path / "x.parquet"
    lists = [list(range(i % 5)) for i in range(500)]
    frame = pl.DataFrame({"a": ["x", None] * 250, "b": [0.5] * 500, "c": lists})
    for table in (frame, frame.head(0), frame.head(1)):
        pq.write_table(table.to_arrow(), path, data_page_version=version, row_group_size=100)
        check(path)
        table.write_parquet(path)
        check(path)


def test_a_page_of_negative_size_does_not_reach_the_decoder(tmp_path: Path) -> None:
    """The decoder would ask for 2^61 bytes and end the process."""
    import polars as pl

    path = tmp_path / "x.parquet"
    pl.DataFrame({"context": ["a"] * 4, "utility.r": [0.5] * 4}).write_parquet(path)
    whole = bytearray(path.read_bytes())
    data = whole.index(b"\x15\x00\x15")
    refused = 0
    for at in range(data, data + 40):
        for bit in range(8):
            wounded = bytearray(whole)
            wounded[at] ^= 1 << bit
            path.write_bytes(wounded)
            try:
                read(path)
            except TodError:
                refused += 1
    assert refused > 20
