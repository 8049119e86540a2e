"""One writer for a directory: who is refused, who takes over, and what is left."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tod.base import RunError
from tod.runs import DirectoryLock, Manifest, RunDirectory
from tod.runs import lock as locks

HOLD = """
import sys, time
from tod.runs import DirectoryLock
lock = DirectoryLock.acquire(sys.argv[1], "run")
print("held", flush=True)
time.sleep(60)
"""


def holder(path):
    """Another process that holds the lock of ``path``."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    return child


def kill(child):
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_a_second_writer_is_refused_by_host_and_process(tmp_path):
    child = holder(tmp_path / "r")
    before = (tmp_path / "r" / ".lock").read_bytes()
    with pytest.raises(RunError) as caught:
        DirectoryLock.acquire(tmp_path / "r", "run")
    assert f"process {child.pid} on {socket.gethostname()}" in str(caught.value)
    with pytest.raises(RunError, match=str(child.pid)):
        RunDirectory.claim(tmp_path / "r")
    assert (tmp_path / "r" / ".lock").read_bytes() == before
    kill(child)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    child = holder(tmp_path / "r")
    kill(child)
    assert json.loads((tmp_path / "r" / ".lock").read_text())["pid"] == child.pid
    with DirectoryLock.acquire(tmp_path / "r", "run") as lock:
        assert lock.earlier.pid == child.pid
        assert json.loads((tmp_path / "r" / ".lock").read_text())["pid"] == os.getpid()
    assert (tmp_path / "r").exists()  # it was there before
    assert not (tmp_path / "r" / ".lock").exists()


def test_one_process_is_one_writer_too(tmp_path):
    first = DirectoryLock.acquire(tmp_path / "r", "run")
    with pytest.raises(RunError, match=f"process {os.getpid()} "):
        DirectoryLock.acquire(tmp_path / "r", "run")
    first.release()
    assert not (tmp_path / "r").exists()  # made by the lock and empty
    DirectoryLock.acquire(tmp_path / "r", "run").release()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    lock = DirectoryLock.acquire(tmp_path, "run")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # inherits the open file; waits until it is told to end
        lock.release()
        os.read(read, 1)
        os._exit(0)
    time.sleep(0.2)
    assert (tmp_path / ".lock").exists()  # the child's release is not the parent's
    lock.release()
    DirectoryLock.acquire(tmp_path, "run").release()
    os.write(write, b"x")
    os.waitpid(child, 0)


def foreign(path, **changes):
    """A lock that a process on another machine left."""
    writer = {
        **vars(locks.LockHolder.this("run")),
        "machine": "elsewhere",
        "host": "node-7",
        "pid": 1,
    }
    path.mkdir(exist_ok=True)
    (path / ".lock").write_text(json.dumps({**writer, **changes}))


def test_a_silent_writer_on_another_machine_is_taken_for_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "WATCH", 0.3)
    foreign(tmp_path / "r")
    with DirectoryLock.acquire(tmp_path / "r", "run") as lock:
        assert lock.earlier.host == "node-7"


def test_a_writer_on_another_machine_that_beats_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "WATCH", 20.0)
    foreign(tmp_path / "r")
    beat = f"import os, time; time.sleep(1); os.utime({str(tmp_path / 'r' / '.lock')!r})"
    child = subprocess.Popen([sys.executable, "-c", beat])
    with pytest.raises(RunError, match="process 1 on node-7"):
        DirectoryLock.acquire(tmp_path / "r", "run")
    child.wait()


def test_it_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.05)
    with DirectoryLock.acquire(tmp_path, "run"):
        os.utime(tmp_path / ".lock", (1.0, 1.0))
        until = time.monotonic() + 10
        while (tmp_path / ".lock").stat().st_mtime == 1.0:
            assert time.monotonic() < until, "no sign of life"
            time.sleep(0.01)


def unsupported(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def test_without_flock_the_process_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", unsupported)
    child = holder(tmp_path / "r")
    with pytest.raises(RunError, match=f"process {child.pid} "):
        DirectoryLock.acquire(tmp_path / "r", "run")
    kill(child)
    DirectoryLock.acquire(tmp_path / "r", "run").release()


def test_without_flock_a_number_used_again_is_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", unsupported)
    ours = vars(locks.LockHolder.this("run"))
    (tmp_path / ".lock").write_text(json.dumps({**ours, "pid": os.getppid(), "process": "1"}))
    DirectoryLock.acquire(tmp_path, "run").release()


def test_who_was_taken_for_dead_writes_nothing_more(tmp_path):
    lock = RunDirectory.claim(tmp_path / "r")
    run = RunDirectory.create(tmp_path / "r", Manifest.of("demo", {}, {}), lock=lock)
    run.record({"step": 1})
    foreign(tmp_path / "r", pid=99)
    with pytest.raises(RunError, match=r"process 99 on node-7.*taken for dead"):
        run.record({"step": 2})
    assert [record["step"] for record in run.steps.read()] == [1]
    lock.release()
    assert (tmp_path / "r" / ".lock").exists()  # it is the other one's


def test_a_run_killed_before_its_manifest_is_not_begun(tmp_path):
    child = holder(tmp_path / "r")
    kill(child)
    (tmp_path / "r" / ".manifest.json.tmp").write_text("{")
    (tmp_path / "r" / "steps.jsonl").write_text("")
    for resume in (True, False):
        with RunDirectory.claim(tmp_path / "r", resume=resume) as lock:
            assert not RunDirectory.begun(tmp_path / "r")
            assert lock.earlier is not None or not resume
            if not resume:
                continue
            made = RunDirectory.create(tmp_path / "r", Manifest.of("d", {}, {}), lock=lock)
            assert sorted(p.name for p in made.path.iterdir()) == [".lock", "manifest.json"]
            (made.path / "manifest.json").unlink()


def test_what_is_not_a_run_is_not_claimed(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(RunError, match="not a run"):
            RunDirectory.claim(tmp_path, **flags)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    foreign(tmp_path, machine=locks.LockHolder.this("run").machine)  # even with a dead run's lock
    with pytest.raises(RunError, match="not a run"):
        RunDirectory.claim(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()
