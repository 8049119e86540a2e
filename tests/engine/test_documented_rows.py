"""Every command of the table of rows runs, not only loads: a few prompts, two steps each."""

import math
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tod.cli.main import app
from tod.runs import RunDirectory

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "atlas" / "rows.md").read_text(encoding="utf-8")
LINES = [re.findall(r"`(tod run [^`]+)`", line) for line in TEXT.splitlines()]
CHAINS = list(dict.fromkeys(tuple(found) for found in LINES if found))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the repository's configurations and examples."""
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shortened(command: str) -> list[str]:
    """The arguments of a command, made to last less than a second."""
    _, *arguments = shlex.split(command)
    text = (ROOT / arguments[1]).read_text(encoding="utf-8")
    small = ["search.contexts=4"] if "\nsearch:" in text else ["train.steps=2", "evaluate=null"]
    return [*arguments, *small, "operator.proposal.prompts=2", "--no-html", "--threads=1"]


@pytest.mark.filterwarnings("ignore:.*left out .* the text has other tokens")  # said of a pool
@pytest.mark.parametrize("chain", CHAINS, ids=" then ".join)
def test_the_commands_of_a_row_run(chain: tuple[str, ...], root: Path) -> None:
    for command in chain:
        done = CliRunner().invoke(app, shortened(command))
        assert done.exit_code == 0, done.output
    runs = [RunDirectory.open(path) for path in (root / "runs").iterdir()]
    assert len(runs) == len(chain)
    for run in runs:
        last = list(run.steps.read())[-1]
        assert last["step"] > 0
        norm = (last["optimiser"] or {}).get("grad_norm")
        assert norm is None or math.isfinite(norm)
