"""Jobs over processes: failures, lost workers, Ctrl-C, and an end with the parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tod.base import SpecError
from tod.study.processes import Failure, over_processes


def begin() -> None:
    """Nothing to make ready."""


def work(job, tell):
    """What the name of a job says."""
    name, folder = job
    if name == "ours":
        raise SpecError("told on purpose")
    if name == "fault":
        raise KeyError("x")
    if name == "lost":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "waits":
        try:  # Ctrl-C may come as soon as it is told
            tell(os.getpid())
            time.sleep(600)
        except KeyboardInterrupt:
            (Path(folder) / "saved").touch()
            raise
    tell(os.getpid())
    (Path(folder) / name).touch()


def done(jobs, processes=1, **more):
    """Job → why it failed, and the processes that told."""
    ends, told = {}, []
    over_processes(
        work,
        jobs,
        processes,
        begin=begin,
        ended=lambda job, failure: ends.setdefault(job[0], failure),
        told=lambda _job, pid: told.append(pid),
        **more,
    )
    return ends, told


def test_what_fails_or_is_lost_stops_nothing_else(tmp_path):
    names = ["a", "ours", "fault", "lost", "b"]
    ends, told = done([(name, str(tmp_path)) for name in names])
    assert list(ends) == names
    assert ends["a"] is None
    assert ends["b"] is None
    assert (ends["ours"].said, ends["ours"].ours) == ("told on purpose", True)
    assert ends["fault"].said == "KeyError: 'x'"
    assert not ends["fault"].ours
    assert "in work" in ends["fault"].where
    assert "SIGKILL" in ends["lost"].said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert len(set(told)) == 2, "one process does all jobs until it is lost"
    assert os.getpid() not in told


def test_no_job_starts_no_process():
    assert done([]) == ({}, [])


def test_a_failure_names_what_was_raised():
    assert Failure.of(ValueError("")).said == "ValueError: no message"


# a job in the background of a shell ignores Ctrl-C, and so do the processes that it starts
SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {folder!r})
import test_processes as t
from tod.study.processes import over_processes
if __name__ == "__main__":
    over_processes(t.work, [("waits", sys.argv[1])], 1, begin=t.begin, ended=lambda *x: None,
                   told=lambda _, pid: print(pid, flush=True), patient=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_worker_ends_with_the_one_who_made_it(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    worker = int(parent.stdout.readline())
    os.kill(parent.pid, how)
    parent.communicate(timeout=120)
    limit = time.monotonic() + 120
    while _alive(worker) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not _alive(worker)
    assert (tmp_path / "saved").exists() == (how == signal.SIGINT), "Ctrl-C is passed on"


def _alive(pid):
    """Whether a process is there and no mere entry of one that ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
