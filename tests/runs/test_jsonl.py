"""Append-only records that survive a torn end."""

import errno
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError
from tod.runs import JsonLines


@pytest.fixture
def lines(tmp_path):
    return JsonLines(tmp_path / "steps.jsonl")


def test_round_trip(lines):
    records = [{"step": i, "text": 'naïve "quoted"\nline', "x": [0.1, None]} for i in range(3)]
    for record in records:
        lines.append(record)
    assert list(lines.read()) == records


def test_no_file_is_no_records(lines):
    assert list(lines.read()) == []
    assert lines.truncate_after(3) == 0


def test_one_object_a_line_whatever_the_text(lines):
    lines.append({"step": 0, "prompt": "a\nb\u2028c\r"})
    assert lines.path.read_bytes().count(b"\n") == 1


@given(cut=st.integers(min_value=1, max_value=60))
def test_torn_last_line_is_ignored_then_healed(tmp_path_factory, cut):
    lines = JsonLines(tmp_path_factory.mktemp("t") / "steps.jsonl")
    lines.append({"step": 1, "text": "first"})
    whole = lines.path.read_bytes()
    lines.append({"step": 2, "text": "x" * 50})
    os.truncate(lines.path, lines.path.stat().st_size - cut)
    assert [record["step"] for record in lines.read()] == [1]
    lines.append({"step": 2, "text": "again"})
    assert [record["step"] for record in lines.read()] == [1, 2]
    assert lines.path.read_bytes().startswith(whole)


def test_torn_line_longer_than_a_block(lines):
    lines.append({"step": 1})
    with lines.path.open("ab") as file:
        file.write(b'{"step": 2, "text": "' + b"y" * 200_000)
    lines.append({"step": 2})
    assert list(lines.read()) == [{"step": 1}, {"step": 2}]


def test_truncate_keeps_the_bytes_of_what_stays(lines):
    for step in range(5):
        lines.append({"step": step, "x": step / 3})
    before = lines.path.read_bytes()
    assert lines.truncate_after(2) == 2
    after = lines.path.read_bytes()
    assert before.startswith(after)
    assert [json.loads(line)["step"] for line in after.splitlines()] == [0, 1, 2]


def test_truncate_drops_a_torn_end_too(lines):
    lines.append({"step": 1})
    with lines.path.open("ab") as file:
        file.write(b'{"step": 1, "x"')
    lines.truncate_after(1)
    assert lines.path.read_bytes() == b'{"step":1}\n'


def test_nan_and_infinity_are_unknown_never_zero(lines):
    lines.append({"step": 1, "a": math.nan, "b": -math.inf, "c": {"d": [math.inf, 1.0]}})
    assert list(lines.read()) == [{"step": 1, "a": None, "b": None, "c": {"d": [None, 1.0]}}]


def test_a_damaged_line_is_named(lines):
    lines.path.write_text('{"step":1}\nnot json\n{"step":3}\n')
    with pytest.raises(DataError, match="line 2: not JSON"):
        list(lines.read())


@pytest.mark.parametrize("step", ["NaN", "1e999", "1.5", "null", "true", '"2"'])
def test_a_step_that_is_no_whole_number_is_named(lines, step):
    lines.path.write_text(f'{{"step":1}}\n{{"step":{step}}}\n')
    with pytest.raises(DataError, match=r"line 2: step: .*, not a whole number"):
        list(lines.read())
    with pytest.raises(DataError, match="line 2: step: "):
        lines.truncate_after(1)


def test_a_full_device_leaves_the_file_as_it_was(lines, monkeypatch):
    lines.append({"step": 1})
    before, real = lines.path.read_bytes(), os.write

    def fill(descriptor, data):
        real(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="No space"):
        lines.append({"step": 2})
    assert lines.path.read_bytes() == before
