"""`tod watch` from the outside: what it prints, when it ends, and what it runs for a finding."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from findings.test_watching import failing, tod_order, verl
from tod.cli import watch as module
from tod.cli.main import app
from tod.cli.watch import run_for
from tod.findings import Finding, Onset

HOSTILE = "$(touch planted) `touch planted`; touch planted \x1b[2J\n\u202e'\""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return verl(tmp_path_factory.mktemp("source"))


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, ["watch", *map(str, words)], env={"COLUMNS": "200"})


class Grows:
    """Stands for the time between two looks: a file more each time, then Ctrl-C."""

    def __init__(self, source: Path, target: Path, files: int | None = None) -> None:
        self.files = sorted(source.glob("*.jsonl"), key=tod_order)[:files]
        self.target = target
        target.mkdir(exist_ok=True)

    def __call__(self, seconds: float) -> None:
        if not self.files:
            raise KeyboardInterrupt
        file = self.files.pop(0)
        shutil.copyfile(file, self.target / file.name)


@pytest.fixture
def grows(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grows:
    grown = Grows(source, tmp_path / "run")
    monkeypatch.setattr(module, "sleep", grown)
    return grown


def test_a_finding_is_one_line_and_the_end_a_summary(grows: Grows) -> None:
    done = invoke(grows.target)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "waiting: " in lines[0]
    told = [line for line in lines if "CRITICAL Learning stopped at step" in line]
    assert len(told) == 1
    assert "Checked, nothing seen" in done.output
    assert sum("step 14, 14 files, 448 answers" in line for line in lines) == 1
    assert sum("1 to be confirmed" in line for line in lines) == 1


def test_it_ends_at_a_step(grows: Grows) -> None:
    done = invoke(grows.target, "--until-step", 3)
    assert done.exit_code == 0
    assert len(list(grows.target.iterdir())) == 3


def test_a_look_that_fails_is_said_and_the_next_one_tries_again(
    grows: Grows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tod.findings import watching

    real, calls = watching.find, []

    def fails_twice(run: Any) -> Any:
        calls.append(1)
        if len(calls) in (3, 4):
            raise RuntimeError("planted")
        return real(run)

    monkeypatch.setattr(watching, "find", fails_twice)
    done = invoke(grows.target)
    assert done.exit_code == 0
    assert done.output.count("RuntimeError: planted") == 1
    assert "CRITICAL Learning stopped" in done.output


def test_one_look_is_no_finding_where_two_are_asked(grows: Grows) -> None:
    """With as many looks as there are files, nothing can be told."""
    done = invoke(grows.target, "--looks", 15)
    assert not any(line[9:17] == "CRITICAL" for line in done.output.splitlines())


def test_a_command_runs_once_per_finding_with_the_finding_in_its_environment(
    grows: Grows, tmp_path: Path
) -> None:
    out = tmp_path / "told"
    command = f'echo "$TOD_FINDING|$TOD_SEVERITY|$TOD_STEP|$TOD_HEADLINE" >> {out}'
    done = invoke(grows.target, "--exec", command)
    assert done.exit_code == 0, done.output
    lines = [line.split("|") for line in out.read_text().splitlines()]
    assert len({line[0] for line in lines}) == len(lines)
    (failed,) = (line for line in lines if line[0] == "all_fail")
    assert failed[1] == "critical"
    assert failed[2] == "8"
    assert failed[3] in done.output


def test_a_command_that_fails_is_said_and_stops_nothing(grows: Grows) -> None:
    done = invoke(grows.target, "--exec", "exit 7")
    assert "--exec failed for all_fail: it ended with exit code 7" in done.output
    assert "step 14, " in done.output


def test_nothing_of_a_file_reaches_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finding = Finding("all_fail", "critical", HOSTILE, Onset(9, 8, 10))
    assert run_for(finding, 'printf %s "$TOD_HEADLINE" > told') is None
    told = (tmp_path / "told").read_text()
    assert told == "$(touch planted) `touch planted`; touch planted ␛[2J �'\""
    assert not (tmp_path / "planted").exists()


def test_a_command_that_hangs_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "late"
    finding = Finding("a", "note", "a.")
    began = time.monotonic()
    problem = run_for(finding, f"(sleep 2; touch {mark}) & wait", patience=0.2)
    assert problem == "it was stopped after 0.2 seconds"
    assert time.monotonic() - began < 2
    time.sleep(2.2)
    assert not mark.exists()


def test_once_exits_by_severity_as_diagnose_does(source: Path, tmp_path: Path) -> None:
    done = invoke(source, "--once")
    assert done.exit_code == 4
    same = CliRunner().invoke(app, ["diagnose", str(source), "--exit-code"])
    assert same.exit_code == 4
    healthy = verl(tmp_path / "healthy", failing(at=99))
    done = invoke(healthy, "--once")
    assert done.exit_code == 0
    assert "no fault" in done.output


def test_once_with_a_state_tells_a_finding_when_it_comes_again(
    source: Path, tmp_path: Path
) -> None:
    grown, state = Grows(source, tmp_path / "run", 12), tmp_path / "state"
    for _ in range(11):
        grown(0)
    codes, told = [], []
    for _ in range(3):
        done = invoke(grown.target, "--once", "--state", state)
        codes.append(done.exit_code)
        told.append("CRITICAL" in done.output)
        if grown.files:
            grown(0)
    assert codes == [0, 4, 4]
    assert told == [False, True, False]


def test_what_is_not_there_is_bad_input(tmp_path: Path) -> None:
    for words in ((tmp_path / "none",), (tmp_path / "none", "--once")):
        done = subprocess.run(
            [sys.executable, "-m", "tod.cli.main", "watch", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "no such file or directory" in done.stderr


def test_a_state_of_another_kind_is_refused(source: Path) -> None:
    file = next(source.glob("*.jsonl"))
    before = file.read_bytes()
    done = invoke(source, "--state", file)
    assert "no state that `tod watch` wrote" in str(done.exception)
    assert file.read_bytes() == before


def test_a_terminal_has_one_status_line_and_nothing_of_a_file_steers_it(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    (folder / "3\x1b[31m.jsonl").write_text('{"score": 1, ')
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tod.cli.main", "watch", str(folder), "--every", "0.3"],
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        # a shell's background jobs ignore it, and what they start would too
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    os.close(follower)
    seen = b""
    while b"step 14, " not in seen:  # a busy machine takes long to come to its first look
        seen += os.read(leader, 1 << 16)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    try:
        while data := os.read(leader, 1 << 16):
            seen += data
    except OSError:  # the other end is closed
        pass
    assert process.wait(30) == 0
    text = seen.decode()
    assert "step 14, " in text
    assert "\x1b[31m.jsonl" not in text
    assert text.count("\n") < 60


def test_the_rows_that_cannot_be_used_are_counted(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    file = folder / "3.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["score"] = None
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "1 row rejected" in invoke(folder, "--once").output
