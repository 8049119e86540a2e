"""A reader sees the old thing or the new thing, never half of one."""

import errno
import os
import resource
import stat
import subprocess
import sys

import pytest

from tod.base import RunError
from tod.runs.atomic import (
    atomic_directory,
    explained,
    filled,
    remove_directory,
    sweep,
    write_atomic,
)


def names(path):
    return sorted(item.name for item in path.iterdir())


def test_write_replaces_whole_content(tmp_path):
    target = tmp_path / "a.json"
    write_atomic(target, "long old content")
    write_atomic(target, "new")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


def test_a_pipe_is_written_into_and_stays(tmp_path):
    """As a device does: a rename would put a file in the place of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomic(pipe, "whole")
        with filled(pipe) as file:
            file.write(b" and in pieces")
        assert os.read(reader, 99) == b"whole and in pieces"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    write_atomic(target, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    write_atomic(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_directory_appears_only_when_whole(tmp_path):
    target = tmp_path / "deep" / "step-1"
    with atomic_directory(target) as path:
        (path / "sub").mkdir()
        (path / "sub" / "weights").write_bytes(b"w")
        assert not target.exists()
    assert (target / "sub" / "weights").read_bytes() == b"w"
    assert names(target.parent) == ["step-1"]


def test_directory_of_a_failed_block_vanishes(tmp_path):
    def interrupted():
        with atomic_directory(tmp_path / "step-1") as path:
            (path / "weights").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_complete_directory_is_never_replaced(tmp_path):
    (tmp_path / "step-1").mkdir()
    with pytest.raises(RunError, match="never written over"), atomic_directory(tmp_path / "step-1"):
        pass


def test_sweep_removes_only_rubbish(tmp_path):
    (tmp_path / ".step-2.tmp").mkdir()
    (tmp_path / ".step-2.tmp" / "x").touch()
    (tmp_path / ".a.json.tmp").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "kept.tmp").touch()
    sweep(tmp_path)
    assert names(tmp_path) == [".hidden", "kept.tmp"]


def test_remove_directory(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    remove_directory(tmp_path / "run")
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_says_what_is_kept(code):
    said = r"No room to write x.*Kept: step 3.*--resume"
    with pytest.raises(RunError, match=said), explained("x", lambda: "step 3"):
        raise OSError(code, os.strerror(code))


def test_other_errors_pass_unchanged():
    with pytest.raises(PermissionError), explained("x", lambda: "all"):
        raise PermissionError(errno.EACCES, "no")


LIMITED = """
import resource, signal, sys
from pathlib import Path
from tod.runs import JsonLines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
lines = JsonLines(Path(sys.argv[1]))
written = 0
try:
    while True:
        lines.append({"step": written, "text": "x" * 90})
        written += 1
except OSError as error:
    print(written, error.errno)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs file size limits")
def test_a_truly_exhausted_file_keeps_whole_lines(tmp_path):
    """The kernel itself cuts the write short; no line is torn and nothing written is lost."""
    path = tmp_path / "steps.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    written, code = map(int, done.stdout.split())
    assert code == errno.EFBIG
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == written > 0
    assert all(line.endswith(b"}\n") for line in lines)
