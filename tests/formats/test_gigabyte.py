"""A gigabyte on one line: skipped or refused, in a process whose peak memory is read at its end."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 1 << 30
MOST = 300 << 10
"""Peak memory allowed, KiB: 62 MB for a small file, and two copies of the longest line kept."""
SCRIPT = """
import re, sys
from tod.base import TodError
from tod.formats import read
try:
    source = read(sys.argv[1], max_rejected=1.0).source
    print(source.rows, [(r.row, r.why) for r in source.rejections])
except TodError as error:
    print("refused:", error)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def rows(start: int, count: int = 50) -> bytes:
    return b"".join(
        json.dumps(
            {
                "input": f"q{i // 4}",
                "output": "a",
                "gts": "4",
                "score": float(i % 3 == 0),
                "step": 1,
            }
            | {"uid": f"g{i // 4}_0_{i % 4}"}
        ).encode()
        + b"\n"
        for i in range(start, start + count)
    )


def peak(path: Path) -> tuple[str, int]:
    """What a fresh process says of the file, and its peak resident memory in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told, kib = done.stdout.strip().rsplit("\n", 1)
    return told, int(kib)


@pytest.mark.slow
@pytest.mark.parametrize("filler", ["text", "hole"])
def test_a_gigabyte_among_good_lines_is_skipped(tmp_path: Path, filler: str) -> None:
    path = tmp_path / "1.jsonl"
    with path.open("wb") as file:
        file.write(rows(0) + b'{"input": "')
        if filler == "hole":
            file.seek(SIZE, 1)
        else:
            for _ in range(SIZE >> 20):
                file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + rows(52))
    told, kib = peak(path)
    assert told == "100 [(51, 'longer than 64 MiB')]"
    assert kib < MOST


@pytest.mark.slow
def test_nothing_but_a_gigabyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    with path.open("wb") as file:
        file.write(b'{"uid": "a_0_0", "score": 1, "step": 1, "input": "')
        file.truncate(SIZE)
    told, kib = peak(path)
    assert told.startswith("refused:")
    assert kib < MOST


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_gigabyte_that_was_packed_small_is_skipped(tmp_path: Path, suffix: str) -> None:
    import zstandard

    path = tmp_path / f"1.jsonl{suffix}"
    packer = gzip.open if suffix == ".gz" else zstandard.open
    with packer(path, "wb") as file:
        file.write(rows(0) + b'{"input": "')
        for _ in range(SIZE >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + rows(52))
    assert path.stat().st_size < SIZE >> 7
    told, kib = peak(path)
    assert told == "100 [(51, 'longer than 64 MiB')]"
    assert kib < MOST


@pytest.mark.slow
def test_a_step_of_nemo_rl_is_summed_on_the_way(tmp_path: Path) -> None:
    """Half a gigabyte of one step, whose log-probs as doubles are more than is allowed.

    Two arrays of doubles hold 16 bytes a token, Python's lists ten times that.
    """
    path = tmp_path / "train_data_step1.jsonl"
    tokens, count = 20_000, 1200
    listed = [-0.5] * tokens
    row = {
        "rewards": [1.0],
        "token_ids": [[5] + [7] * tokens],
        "token_loss_mask": [[0] + [1] * tokens],
        "generation_logprobs": [[0.0, *listed]],
        "prev_logprobs": [[0.0, *listed]],
    }
    body = json.dumps(row).encode()[:-1]
    with path.open("wb") as file:
        for idx in range(count):
            file.write(body + b', "idx": %d}\n' % idx)
    told, kib = peak(path)
    assert told == f"{count} []"
    assert count * tokens * 16 > MOST << 10
    assert kib < MOST
