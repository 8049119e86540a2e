"""The demo in a small terminal: what it shows fits, and what it says next works."""

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tod.cli.demo import following

pytest.importorskip("torch")
SMALL = ["train.steps=12", "operator.proposal.prompts=4", "operator.proposal.size=4"]
SMALL += ["evaluate.held_out_prompts=4", "evaluate.samples_per_prompt=2"]
ROWS, COLUMNS = 24, 80


def in_a_terminal(words: list[str], folder: Path) -> str:
    """Everything that ``tod WORDS`` writes to a terminal of 80 columns and 24 lines."""
    master, slave = pty.openpty()
    size = {"LINES": str(ROWS), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["tod", *words],
        cwd=folder,
        env={**os.environ, **size, "OMP_NUM_THREADS": "1", "PATH": scripts},
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    got = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        got += data
    os.close(master)
    assert process.wait(120) == 0, got.decode()
    return got.decode()


def screen(raw: str) -> list[str]:
    """The lines as they stand in the end: a line is erased, and the cursor goes up."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", raw):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row, column = row + 1, column
            lines += [""] * (row + 1 - len(lines))
        elif piece.startswith("\x1b"):
            count = int(re.sub(r"\D", "", piece) or 1)
            if piece.endswith("A"):
                row -= count
            elif piece.endswith("K"):
                lines[row] = ""
        else:
            lines[row] = (
                lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            )
            column += len(piece)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def test_it_fits_a_small_terminal_and_says_what_is_next(tmp_path: Path) -> None:
    lines = screen(in_a_terminal(["demo", *SMALL, "--threads", "1"], tmp_path))
    assert len(lines) < ROWS, lines
    assert max(map(len, lines)) <= COLUMNS, lines
    text = "\n".join(lines)
    assert "Open runs/demo/report.html" in text
    assert (tmp_path / "runs/demo/report.html").exists()
    wanted = following(Path("runs/demo"), "tod")
    assert lines[-len(wanted) :] == wanted


@pytest.mark.slow
def test_what_it_says_next_works(tmp_path: Path) -> None:
    tod = [sys.executable, "-m", "tod.cli.main"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = [[*tod, "demo", *SMALL]]
    said = following(Path("runs/demo"), "TOD")
    first += [[*tod, *shlex.split(line)[1:]] for line in said if line.startswith("  TOD ")]
    first[3] += ["evaluate=null", "operator.proposal.prompts=4"]
    assert len(first) == 5
    for words in first:
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, (words, done.stderr)
