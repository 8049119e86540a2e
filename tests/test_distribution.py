"""Wheel and source archive: built, checked, and installed into an empty environment."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bare_checkout import copied
from every_command import COMMANDS

ROOT = Path(__file__).parents[1]
CLEAN = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def ran(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=cwd, env=CLEAN | {"COLUMNS": "80"}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` leaves; it builds the wheel from the archive, and runs twine's checks."""
    checkout = copied(tmp_path_factory.mktemp("dist") / "tod")
    done = ran("make", "dist", f"PYTHON={sys.executable}", cwd=checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("PASSED") == 2
    return checkout / "dist"


@pytest.fixture(scope="module")
def empty(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and no extra."""
    place = tmp_path_factory.mktemp("empty")
    (wheel,) = dist.glob("*.whl")
    done = ran(sys.executable, "-m", "venv", "env", cwd=place)
    pip = place / "env/bin/pip"
    done = ran(pip, "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "env/bin"


@pytest.mark.slow
def test_both_hold_what_runs_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (archive,) = dist.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"tod", "tod_posttrain"}
    package = ROOT / "src/tod"
    written = {
        path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()
    }
    assert {name for name in written if ".pyc" not in name} == {
        name.removeprefix("tod/") for name in names if name.startswith("tod/")
    }
    assert "tod/py.typed" in names
    with tarfile.open(archive) as packed:
        tops = {name.split("/")[1] for name in packed.getnames() if "/" in name}
    assert {"src", "docs", "README.md", "LICENSE", "CHANGELOG.md"} <= tops
    assert "tests" not in tops


@pytest.mark.slow
def test_an_empty_environment_can_do_what_needs_no_model(empty: Path, tmp_path: Path) -> None:
    rows = [
        {
            "step": step,
            "context": f"{step}-{prompt}",
            "completion": f"{i}",
            "utility.correct": i % 2,
        }
        for step in range(1, 5)
        for prompt in range(8)
        for i in range(8)
    ]
    (tmp_path / "rollouts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for words, said in (
        (["--version"], "torch not installed"),
        (["run"], "quickstart"),
        (["init", "gspo", "-o", "mine.yaml"], "mine.yaml"),
        (["diagnose", "rollouts.jsonl"], "32 prompts, K = 8"),
        (["plan", "rollouts.jsonl", "--eta", "1"], "eta"),
        (["rerank", "rollouts.jsonl", "-o", "answers.jsonl"], "answers.jsonl: 32 prompts"),
        (["check", "mine.yaml"], "Ready"),
        (["schema"], "tod.plan/1"),
        (["atlas", "list"], "gspo"),
        (["atlas", "locate", "mine.yaml"], "Aims at"),
    ):
        done = ran(empty / "tod", *words, cwd=tmp_path)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        assert said in done.stdout + done.stderr, words
        assert max(map(len, done.stdout.splitlines())) <= 80, words


@pytest.mark.slow
def test_every_command_explains_itself_there(empty: Path, tmp_path: Path) -> None:
    asked = [[*words, "--help"] for words in COMMANDS]
    script = (
        "import sys, json; from tod.cli.main import app; from typer.testing import CliRunner\n"
        "asked = json.loads(sys.argv[1])\n"
        "print([line for line in asked if CliRunner().invoke(app, line).exit_code])"
    )
    done = ran(empty / "python", "-c", script, json.dumps(asked), cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["run", "quickstart"],
        ["demo"],
        ["search", "best_of_k"],
        ["sweep", "weighted_mle", "target.eta=1,2"],
    ],
    ids=" ".join,
)
def test_what_needs_an_extra_names_it_in_one_line(
    empty: Path, tmp_path: Path, words: list[str]
) -> None:
    done = ran(empty / "tod", *words, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "pip install" in line
    assert "[train]" in line
    assert list(tmp_path.iterdir()) == []
