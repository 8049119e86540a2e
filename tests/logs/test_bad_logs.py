"""Logs that are broken or hostile: a sentence each, and nothing else is lost."""

import contextlib
import json
import math
import os
import re
import sqlite3
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wandb_bytes import run_file

from tod.base import DataError, MissingPackage
from tod.base.text import visible
from tod.logs import Log, detect, read_log, text_lines
from tod.logs import rows as rows_module

REAL = Path(__file__).parent / "real"
QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def lines(path: Path, *text: str | bytes) -> Path:
    path.write_bytes(b"".join(t if isinstance(t, bytes) else t.encode() for t in text))
    return path


def test_every_bad_line_is_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "metrics.jsonl",
        '{"step": 1, "loss": 0.5}\n',
        '{"step": 2, "loss": }\n',
        "\n",
        '{"step": 3, "loss": "abc", "kl": 0.25}\n',
        "[1, 2]\n",
        b'{"step": 4, "x": "\xff"}\n',
        '{"step": 4.5, "loss": 1}\n',
        '{"step": 5, "loss": [1, 2]}\n',
        '{"step": 6, "loss": NaN, "kl": Infinity}\n',
        '{"step": 7, "loss": 0.75}\n',
        '{"step": 8, "lo',
    )
    log = read_log(path)
    assert log.steps.tolist() == [1, 3, 5, 6, 7]
    assert log.values["loss"].tolist()[::4] == [0.5, 0.75]
    assert np.isnan(log.values["loss"][1:4]).all()
    assert log.values["kl"].tolist()[1] == 0.25
    named = [(r.line, r.field, r.why) for r in log.rejected]
    assert [(line, field) for line, field, _ in sorted(named)] == [
        (2, "line"),
        (4, "loss"),
        (5, "line"),
        (6, "line"),
        (7, "step"),
        (8, "loss"),
    ]
    assert {r.value for r in log.rejected} >= {"abc", "[1, 2]", "4.5"}
    assert "line 11 is cut off: the writer was stopped in it, or still writes" in log.notes
    assert "6 lines or values could not be used" in log.notes
    assert {key: steps.tolist() for key, steps in log.not_finite.items()} == {
        "loss": [6],
        "kl": [6],
    }
    assert "loss is NaN or infinite at 1 step, first at step 6" in log.notes


def test_a_key_that_is_always_text_is_no_fault_unless_its_name_says_figure(tmp_path: Path) -> None:
    path = lines(tmp_path / "m.jsonl", '{"step": 1, "loss": "high", "run": "a", "kl": 0.5}\n')
    log = read_log(path)
    assert [(r.line, r.field, r.value) for r in log.rejected] == [(1, "loss", "high")]
    assert set(log.other) == set()


def test_control_characters_of_keys_and_values_do_not_reach_a_terminal(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "m.jsonl",
        json.dumps({"step": 1, "loss": 0.5, "a\x1b[31m\nb\u202e": 2.0, "kl": "\x1b[2J\n\t"}) + "\n",
    )
    log = read_log(path)
    assert list(log.other) == ["a␛[31m␊b�"]
    shown = "".join([*log.other, *log.notes, *map(str, log.rejected)])
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert log.rejected[0].value == "␛[2J␊␉"


def test_numbers_beyond_a_double_are_unknown(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "m.jsonl",
        '{"step": 1, "loss": 1e999, "kl": 1}\n',
        '{"step": 2, "loss": ' + "9" * 400 + ', "kl": 1}\n',
        '{"step": 3, "loss": "Infinity", "kl": null}\n',
        '{"step": 4, "loss": "", "kl": ""}\n',
        '{"step": ' + "9" * 400 + ', "loss": 1}\n',
        '{"step": -1, "loss": 1}\n',
    )
    log = read_log(path)
    assert log.steps.tolist() == [1, 2, 3, 4]
    assert log.not_finite["loss"].tolist() == [1, 2, 3]
    assert np.isnan(log.values["kl"][2:]).all()
    assert "kl" not in log.not_finite  # null is unknown, and no number went wrong
    assert [r.field for r in log.rejected] == ["step", "step"]


def test_nesting_ends(tmp_path: Path) -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    path = lines(tmp_path / "m.jsonl", '{"step": 1, "loss": 2, "x": ' + deep + "}\n", deep + "\n")
    lines(tmp_path / "n.jsonl", '{"step": 1, "loss": 2.5}\n', deep + "\n")
    for name in ("m.jsonl", "n.jsonl"):
        with contextlib.suppress(DataError):
            assert read_log(tmp_path / name).steps.tolist() in ([], [1])
    assert read_log(tmp_path / "n.jsonl").values["loss"].tolist() == [2.5]
    assert path.exists()


def test_too_many_keys_and_too_long_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MOST_KEYS", 3)
    rows = [{"step": s, "loss": 1.0, "kl": 0.5, f"once{s}": 2.0, "k" * 600: 1.0} for s in range(5)]
    path = lines(tmp_path / "m.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    log = read_log(path)
    assert {"loss", "kl"} <= set(log.values)
    assert len(log.values) + len(log.other) == 3
    assert any("7 different keys: the 3 with most values are read" in note for note in log.notes)
    assert any("of more than 512 characters left out" in note for note in log.notes)


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_LINE", 3 << 20)
    monkeypatch.setattr("tod.logs.json_lines.LONGEST_LINE", 3 << 20)
    good = '{"step": 1, "loss": 0.5}\n'
    path = lines(tmp_path / "m.jsonl", good, '{"x": "' + "y" * (9 << 20) + '"}\n', good, "[]\n")
    log = read_log(path)
    assert log.values["loss"].tolist() == [0.5]
    named = [(r.line, r.why) for r in log.rejected]
    assert named == [(2, "longer than 3 MiB"), (4, "a list, not an object")]


def test_more_than_a_log_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MOST_BYTES", 100)
    path = lines(tmp_path / "m.jsonl", '{"step": 1, "loss": 0.5}\n' * 10)
    with pytest.raises(DataError, match="which no metric log is"):
        read_log(path)


@pytest.mark.parametrize("name", ["m.jsonl", "m.json", "m.csv", "m.log", "m.db", "m.wandb", "m"])
@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\x00" * 50, b"\xff\xfe{", b"{", b"[1", b"null"]
)
def test_nothing_useful_is_none(tmp_path: Path, name: str, content: bytes) -> None:
    path = lines(tmp_path / name, content)
    assert detect(path) is None
    with pytest.raises(DataError):
        read_log(path)
    assert detect(tmp_path) is None


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.jsonl")
    assert detect(tmp_path / "m.jsonl") is None
    assert detect(tmp_path) is None
    with pytest.raises(DataError, match="not a regular file"):
        read_log(tmp_path / "m.jsonl")


def test_event_files_say_which_extra_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert detect(REAL / "tensorboard") == "tensorboard"
    with pytest.raises(MissingPackage, match="needs tensorboard, which is not installed"):
        read_log(REAL / "tensorboard")


def test_a_torn_event_file_gives_what_is_whole(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `logs` is not installed")
    data = next((REAL / "tensorboard").rglob("*tfevents.1*")).read_bytes()
    path = lines(tmp_path / "events.out.tfevents.1.host", data[:-9])
    log = read_log(path)
    assert log.values["reward"].tolist() == [0.125, 0.25, 0.375, 0.5]
    assert len(log.rejected) == 1
    path.write_bytes(data[:900] + b"\x00\x01" + data[902:])
    log = read_log(path)
    assert [r.why.partition(":")[0] for r in log.rejected] == ["cut off or damaged"]
    assert log.values["reward"].tolist()[0] == 0.125


def wandb_file() -> bytes:
    return next((REAL / "wandb").rglob("*.wandb")).read_bytes()


def test_a_torn_or_damaged_wandb_file(tmp_path: Path) -> None:
    data = wandb_file()
    whole = read_log(lines(tmp_path / "run-1.wandb", data))
    for cut in (len(data) - 3, len(data) // 2):
        log = read_log(lines(tmp_path / "run-1.wandb", data[:cut]))
        assert any("cut off in a record" in note for note in log.notes)
        assert set(log.steps) <= set(whole.steps)
    known = []
    for found in re.finditer(b"train/reward", data):  # in rows of the history, and in summaries
        at = found.start()
        log = read_log(lines(tmp_path / "run-1.wandb", data[:at] + b"X" + data[at + 1 :]))
        assert [r.why for r in log.rejected] == ["damaged (its checksum does not fit)"]
        known.append(int(np.isfinite(log.values["reward"]).sum()))
    assert sorted(set(known)) == [3, 4]  # at most one row is lost, and no other
    assert known.count(3) == 4


def test_records_of_wandb_over_several_blocks(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"_step": n, "loss": n / 7, **({"text": "x" * 70_000} if n == 900 else {})}
        for n in range(2000)
    ]
    data = run_file(rows)
    assert len(data) > 4 * 32768
    log = read_log(lines(tmp_path / "run-1.wandb", data))
    assert log.rejected == ()
    assert log.steps.tolist() == list(range(2000))
    assert log.values["loss"].tolist() == [n / 7 for n in range(2000)]


def test_a_database_of_another_kind_and_a_hostile_one(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE metrics (a)")
        store.commit()
    assert detect(path) is None
    view = tmp_path / "b.db"
    with contextlib.closing(sqlite3.connect(view)) as store:
        store.execute(
            "CREATE VIEW metrics AS SELECT 1 id, 1 run_id, '' timestamp, '' run_name, 1 step, "
            "'{}' metrics"
        )
        store.commit()
    assert detect(view) is None
    bad = tmp_path / "c.db"
    with contextlib.closing(sqlite3.connect(bad)) as store:
        store.execute(
            "CREATE TABLE metrics "
            "(id INTEGER PRIMARY KEY, run_id, timestamp, run_name, step, metrics)"
        )
        values = ['{"loss": 0.5}', "{", "[1]", None, b"\xff", '{"loss": NaN}']
        for step, text in enumerate(values):
            store.execute(
                "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) "
                "VALUES ('1', 'x', 'r', ?, ?)",
                (step, text),
            )
        store.commit()
    log = read_log(bad)
    assert log.steps.tolist() == [0, 5]
    assert log.values["loss"].tolist()[0] == 0.5
    assert [r.line for r in log.rejected] == [2, 3, 4, 5]
    with pytest.raises(DataError, match=r"no run 'x' in it\. There: r"):
        read_log(bad, run="x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["step", "loss", "reward", "train/global_step", "_step", "kl", "time", "data", "eval/x"]
) | st.text(string.printable, max_size=6)


def sound(log: Log) -> None:
    """What holds of every log, whatever was read."""
    assert (np.diff(log.steps) > 0).all()
    assert (log.steps >= 0).all()
    for column in [*log.values.values(), *log.other.values()]:
        assert column.shape == log.steps.shape
        assert column.dtype == np.float64
        assert not np.isinf(column).any()
    assert set(log.keys) == set(log.values) == set(log.units)
    for text in [*log.keys.values(), *log.other, *log.notes, *map(str, log.rejected)]:
        assert visible(text) == text
        assert "\n" not in text


@QUICK
@given(rows=st.lists(st.dictionaries(KEYS, JSON, max_size=5), min_size=1, max_size=12))
def test_any_rows_give_a_sound_log_or_a_sentence(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for name, content in (("m.jsonl", text), ("m.json", json.dumps(rows))):
        path = lines(tmp_path / name, content)
        kind = detect(path)
        if kind is None:
            with pytest.raises(DataError, match="no metric log"):
                read_log(path)
            continue
        with contextlib.suppress(DataError):
            log = read_log(path)
            assert kind == log.kind
            sound(log)


@QUICK
@given(data=st.data())
def test_a_real_file_with_any_bytes_changed(tmp_path: Path, data: st.DataObject) -> None:
    real = data.draw(
        st.sampled_from(
            [
                "trl/checkpoint-4/trainer_state.json",
                "verl/run.jsonl",
                "verl/console.log",
                "tinker/metrics.jsonl",
                "trackio/p.db",
                "wandb/wandb/offline-run-20260101_000000-realrun1/run-realrun1.wandb",
            ]
        )
    )
    content = bytearray((REAL / real).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = lines(tmp_path / Path(real).name, bytes(content))
    detect(path)
    with contextlib.suppress(DataError):
        sound(read_log(path))


@QUICK
@given(
    text=st.lists(
        st.sampled_from(
            ["step:1 - ", "a:1", " - ", "x/y:nan", "\x1b[0m", "{'loss': ", "'0.5'", "}", ", ", "\r"]
        )
        | st.text(max_size=4),
        max_size=30,
    )
)
def test_any_console(tmp_path: Path, text: list[str]) -> None:
    head = "step:0 - critic/score/mean:0.5\n"
    path = lines(tmp_path / "train.log", head + "".join(text).replace("\x00", ""))
    log = read_log(path)
    sound(log)
    assert not math.isnan(log.values["reward"][0]) or len(log.steps) > 1


@QUICK
@given(
    cells=st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=4), max_size=8),
)
def test_any_table(tmp_path: Path, cells: list[list[str]]) -> None:
    rows = "".join(",".join(row).replace("\r", "") + "\n" for row in cells)
    path = lines(tmp_path / "m.csv", "step,loss,kl\n1,0.5,0.25\n" + rows)
    if detect(path) is not None:
        sound(read_log(path))
