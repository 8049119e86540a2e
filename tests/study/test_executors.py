"""Tasks over processes: failures, lost workers, Ctrl-C, and an end with the parent."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_tasks import begin, work

from tod.base import BeingWritten, MissingPackage, SpecError
from tod.study.executors import ExecutorTask, Failure, On, Tally, Work, carry_out
from tod.study.executors.news_file import NewsReader, NewsWriter
from tod.study.executors.on_submitit import ended
from tod.study.executors.processes import Processes
from tod.study.executors.remote import Remote, RemoteTask
from tod.study.executors.task import News


def tasks_of(names, folder):
    return [ExecutorTask(name, (name, str(folder))) for name in names]


def done(names, folder, executor=None, **more):
    """Task → why it failed, the processes that told, the tasks begun again, and the tally."""
    ends, told, again, tally = {}, [], [], Tally()

    def end(job, failure):
        assert job[0] not in ends, "no task ends twice"
        ends[job[0]] = failure

    carry_out(
        executor or Processes(1),
        Work(work, begin),
        tasks_of(names, folder),
        ended=end,
        told=lambda _job, pid: told.append(pid),
        again=lambda job, _why: again.append(job[0]),
        tally=tally,
        **more,
    )
    return ends, told, again, tally


def check_ends(names, ends, again, folder):
    assert sorted(ends) == sorted(names)
    assert ends["a"] is None
    assert ends["b"] is None
    assert ends["lost once"] is None
    assert (ends["ours"].said, ends["ours"].ours) == ("told on purpose", True)
    assert ends["fault"].said == "KeyError: 'x'"
    assert not ends["fault"].ours
    assert "in work" in ends["fault"].where
    assert "the last of 2 tries" in ends["lost"].said
    assert ends["lost"].where == ""
    assert sorted(again) == ["lost", "lost once"]
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "first try", "lost once"]


NAMES = ["a", "ours", "fault", "lost", "lost once", "b"]


def test_what_fails_or_is_lost_stops_nothing_else(tmp_path):
    ends, told, again, tally = done(NAMES, tmp_path, tries=2)
    assert list(ends) == NAMES
    check_ends(NAMES, ends, again, tmp_path)
    assert "SIGKILL" in ends["lost"].said
    assert len(set(told)) == 2, "one process does all jobs until it is lost"
    assert os.getpid() not in told
    assert (tally.finished, tally.lost) == (3, {"lost": 2, "lost once": 1})
    assert list(tally.failed) == ["ours", "fault", "lost"]
    assert not tally.under_way


def test_no_job_starts_no_process(tmp_path):
    assert done([], tmp_path)[:3] == ({}, [], [])


def test_a_failure_names_what_was_raised():
    assert Failure.of(ValueError("")).said == "ValueError: no message"


# a job in the background of a shell ignores Ctrl-C, and so do the processes that it starts
SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {folder!r})
import test_executors as t
if __name__ == "__main__":
    t.carry_out(t.Processes(1), t.Work(t.work, t.begin), t.tasks_of(["waits"], sys.argv[1]),
                ended=lambda *x: None, told=lambda _, pid: print(pid, flush=True), patient=True)
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


class Scripted:
    """An executor that says what it is told to, an answer for every attempt that is begun."""

    def __init__(self, *answers, at_once=1):
        self.at_once, self._answers, self._said = at_once, list(answers), []

    def open(self, work, put):
        self._put = put

    def start(self, attempt, job):
        self._said.append((attempt, self._answers.pop(0)))

    def listen(self):
        attempt, answers = self._said.pop(0)
        for kind, said, *number in answers:
            self._put(News(replace(attempt, number=(number or [attempt.number])[0]), kind, said))

    def close(self):
        self.closed = True


def test_what_a_lost_worker_still_says_is_not_heard(tmp_path):
    """A machine that was cut off comes back, ends its task, and says so."""
    began, told, well = ("began", "m, process 1"), ("told", 1), ("ended", None)
    lost = ("lost", "no answer")
    late = [("told", 0, 1), ("ended", Failure("of the first try"), 1), ("lost", "again", 1)]
    executor = Scripted(
        [began, told, lost, told, well], [began, *late, told, *late, well, well], [well]
    )
    ends, heard, again, tally = done(["x", "y"], tmp_path, executor)
    assert ends == {"x": None, "y": None}
    assert heard == [1, 1], "one word a try"
    assert again == ["x"]
    assert (tally.finished, tally.lost) == (2, {"x": 1})
    assert executor.closed


def test_a_task_that_loses_every_worker_is_named_after_its_tries(tmp_path):
    lost = [("lost", "no answer")]
    ends, _, again, tally = done(["x"], tmp_path, Scripted(lost, lost), tries=2)
    assert ends["x"].said == "no answer (the last of 2 tries)"
    assert again == ["x"]
    assert tally.failed == {"x": ends["x"].said}


def test_ctrl_c_while_a_worker_starts_stops_those_that_began(tmp_path):
    """What was not begun is nobody's, and no word of it is waited for."""

    class Interrupted(Scripted):
        def start(self, attempt, job):
            if not self._answers:
                raise KeyboardInterrupt
            super().start(attempt, job)

        def ask_to_stop(self):
            self._said = [(attempt, [("stopped", None)]) for attempt, _ in self._said]

    executor, tally = Interrupted([], at_once=2), Tally()
    ends = []
    with pytest.raises(KeyboardInterrupt):
        carry_out(
            executor,
            Work(work, begin),
            tasks_of(["x", "y", "z"], tmp_path),
            ended=lambda job, why: ends.append(job),
            tally=tally,
            patient=True,
        )
    assert executor.closed
    assert (ends, tally.under_way, tally.failed) == ([], {}, {})


def test_a_lock_of_the_lost_worker_is_waited_for_and_that_of_another_is_not(tmp_path):
    """The first try still writes while the second begins; of a first try it is someone else's."""
    locked = ("ended", Failure.of(BeingWritten("r is being written by process 7")))
    lost, well = ("lost", "no answer"), ("ended", None)
    executor = Scripted([lost], [locked], [well], [locked])
    ends, _, again, tally = done(["x", "y"], tmp_path, executor)
    assert ends == {"x": None, "y": locked[1]}
    assert again == ["x", "x"]
    assert tally.lost == {"x": 2}


class Calls:
    """Calls that are made when they are handed over, of which those of a name die after a word."""

    settle = 0.0

    def __init__(self, dying):
        self._dying = list(dying)

    def open(self, folder):
        self.cancelled = []

    def submit(self, call):
        if call.job[0] in self._dying:
            self._dying.remove(call.job[0])
            writer = NewsWriter(Path(call.news))
            writer.write("began", "elsewhere")
            writer._file.write(b'["told", 12')  # killed while it wrote
            writer.close()
        else:
            before = signal.getsignal(signal.SIGINT), Path.cwd()
            call()
            signal.signal(signal.SIGINT, before[0])
            os.chdir(before[1])
        return call

    def gone(self, call):
        return "it is gone"

    def cancel(self, call):
        self.cancelled.append(call)

    def close(self):
        pass


def test_words_come_by_files_and_half_of_one_is_none(tmp_path):
    (tmp_path / "out").mkdir()
    executor = Remote(Calls(["a", "b", "b", "b"]), 2, tmp_path)
    ends, told, again, _ = done(["a", "ours", "b"], tmp_path / "out", executor)
    assert ends["a"] is None
    assert ends["ours"].ours
    assert ends["b"].said == "it is gone (the last of 3 tries)"
    assert told == [os.getpid()]
    assert sorted(again) == ["a", "b", "b"]
    assert [call.job[0] for call in executor._host.cancelled] == ["a", "b", "b", "b"], (
        "and no other"
    )
    assert len(list(tmp_path.glob("tasks/*/*.jsonl"))) == 6, "what was said before a loss stays"
    (tmp_path / "again").mkdir()
    done(["a"], tmp_path / "out", Remote(Calls([]), 2, tmp_path / "again"))
    assert not (tmp_path / "again/tasks").exists(), "else it is removed at the end"


def test_a_worker_that_is_asked_to_stop_does_so_at_its_next_word(tmp_path):
    (tmp_path / "stop").touch()
    file = tmp_path / "0-1.jsonl"
    before = signal.getsignal(signal.SIGINT)
    RemoteTask(Work(work, begin), ("a", str(tmp_path)), str(file), str(Path.cwd()))()
    signal.signal(signal.SIGINT, before)
    assert [kind for kind, _ in NewsReader(file).lines()] == ["began", "told", "stopped"]
    assert not (tmp_path / "a").exists()


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path, monkeypatch):
    file, before = tmp_path / "0-1.jsonl", signal.getsignal(signal.SIGINT)
    monkeypatch.chdir(tmp_path)
    RemoteTask(Work(work, begin), ("a", str(tmp_path)), str(file), str(tmp_path / "elsewhere"))()
    signal.signal(signal.SIGINT, before)
    (_, (kind, failure)) = NewsReader(file).lines()
    assert (kind, failure["ours"]) == ("ended", True)
    assert "elsewhere (No such file or directory)" in failure["said"]
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("cloud", [], "one of local, ray, submitit"),
        ("local", ["a=1"], "takes no options"),
        ("ray", ["a"], "is not key=value"),
    ],
)
def test_a_place_that_cannot_be_is_named(kind, words, said):
    with pytest.raises(SpecError, match=said):
        On.parse(kind, words)


@pytest.mark.parametrize("kind", ["ray", "submitit"])
def test_a_library_that_is_missing_is_named_with_its_extra(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(MissingPackage, match=f"this needs {kind}, which is not installed: pip"):
        On(kind).executor(tmp_path)


@pytest.mark.parametrize(("kind", "options"), [("ray", {}), ("submitit", {"cluster": "local"})])
@pytest.mark.slow
def test_ray_and_submitit_do_the_same(kind, options, tmp_path, monkeypatch):
    pytest.importorskip(kind)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    (tmp_path / "out").mkdir()
    executor = On(kind, 2, 1, options).executor(tmp_path)
    ends, told, again, tally = done(NAMES, tmp_path / "out", executor, tries=2)
    check_ends(NAMES, ends, again, tmp_path / "out")
    assert os.getpid() not in told
    assert (tally.finished, tally.lost) == (3, {"lost": 2, "lost once": 1})


@pytest.mark.slow
def test_options_that_the_place_does_not_know_are_named(tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("submitit")
    with pytest.raises(SpecError, match="Ray takes address and num_gpus"):
        On("ray", options={"partition": 1}).executor(tmp_path)
    with pytest.raises(SpecError, match="partition"):
        On("submitit", options={"cluster": "local", "partition": "a"}).executor(tmp_path)
    with pytest.raises(SpecError, match="local, slurm"):
        On("submitit", options={"cluster": "moon"}).executor(tmp_path)


def test_a_job_that_ended_without_a_word_is_described_by_its_last_line():
    job = SimpleNamespace(
        job_id="12", state="FAILED", done=lambda: True, stderr=lambda: "a\nslain\n"
    )
    assert ended(job) == "job 12 ended (FAILED) before its run did, and said 'slain' last"
    job.stderr = lambda: None
    assert ended(job).endswith("and said nothing")
    job.done = lambda: False
    assert ended(job) is None
