"""Manners of the command line: versions, quiet, colour, exit codes, help, completion."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import tod
from every_command import COMMANDS
from tod.base.streams import guarded, is_hushed
from tod.cli.exits import EXITS
from tod.cli.main import app
from tod.cli.manners import manners
from tod.show.screen import Screen

ROOT = Path(__file__).parents[2]
WIDTH = 80
ROOM = 65
"""Columns of a summary beside the longest name of a command, two blanks on each side of it."""


def groups(group: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found = {path: group}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= groups(command, (*path, name))
    return found


GROUPS = groups(typer.main.get_command(app))


def told(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": str(WIDTH)})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_the_summary_of_every_command_is_one_whole_line(words: tuple[str, ...]) -> None:
    help_text = told(*words, "--help")
    for name, command in GROUPS[words].commands.items():
        first = command.help.strip().partition("\n\n")[0].replace("\n", " ")
        assert re.search(rf"^  {name} +{re.escape(first.rstrip('.'))}\.?$", help_text, re.M), name
        assert len(first) <= ROOM, f"{name}: {len(first)} characters, at most {ROOM}"


@pytest.mark.parametrize("words", [*GROUPS, *COMMANDS], ids=" ".join)
def test_every_help_fits_a_terminal(words: tuple[str, ...]) -> None:
    lines = told(*words, "--help").splitlines()
    assert lines[0].startswith(f"Usage: {' '.join(('tod', *words))} ")
    assert max(map(len, lines)) <= WIDTH


def test_the_commands_stand_in_panels_before_the_options() -> None:
    heads = re.findall(r"^(\w[\w ]+):$", told("--help"), re.M)
    assert heads[-2:] == ["Options", "Exit codes"]
    assert "Commands" not in heads, "every command names its panel"


def test_the_exit_codes_are_told_in_the_help_and_in_the_docs() -> None:
    shown = re.sub(r"\s+", " ", told("--help").partition("Exit codes:")[2])
    page = (ROOT / "docs/commands.md").read_text()
    for code, meaning in EXITS.items():
        assert f"{code} {meaning}" in shown
        assert f"| {code} | {meaning} |" in page
    rows = re.findall(r"^\| (\d+) \|", page, re.M)
    assert [int(code) for code in rows] == list(EXITS)


def test_no_code_is_used_that_the_table_lacks() -> None:
    """Every number in an ``EXITS`` of a command or after ``Exit(`` is one of the table."""
    for path in (ROOT / "src/tod/cli").glob("*.py"):
        text = path.read_text()
        codes = re.findall(r"(?:Exit|sys\.exit)\((\d+)\)", text)
        for table in re.findall(r"^EXITS = (\{.*\})$", text, re.M):
            codes += re.findall(r": (\d+)", table)
        assert {int(code) for code in codes} <= set(EXITS), path


def test_versions_are_told_without_importing_what_is_named() -> None:
    script = (
        "import sys; from tod.cli.main import app\n"
        "try: app(['--version'])\n"
        "except SystemExit as end: assert not end.code\n"
        "import tod; print(tod.__version__)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    first, version, loaded = done.stdout.splitlines()
    assert re.fullmatch(
        rf"tod {re.escape(version)}, python 3\.\d+\.\d+, numpy [\d.]+, torch \S.*", first
    )
    assert loaded == "False"
    assert version == tod.__version__


def test_what_is_not_installed_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def lacking(name: str) -> str:
        if name == "torch":
            raise PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr("tod.cli.manners.version", lacking)
    assert told("--version").strip().endswith("numpy 1.2, torch not installed")


@pytest.mark.parametrize(
    ("line", "rest", "quiet", "plain"),
    [
        (["run", "a", "--quiet"], ["run", "a"], True, False),
        (["--no-color", "report", "r"], ["report", "r"], False, True),
        (["run", "--", "--quiet"], ["run", "--", "--quiet"], False, False),
        (["run", "a=--quiet"], ["run", "a=--quiet"], False, False),
    ],
)
def test_manners_are_taken_off_the_line(
    line: list[str], rest: list[str], quiet: bool, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with manners(line) as left:
        assert (left, is_hushed(), "NO_COLOR" in os.environ) == (rest, quiet, plain)
        assert Screen(stderr=True).quiet is quiet
        assert Screen(force_terminal=True).no_color is plain
        assert not Screen().quiet, "results are printed all the same"
    assert not is_hushed()
    assert "NO_COLOR" not in os.environ


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_leaves_out_progress_and_warnings(
    quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with manners(["--quiet"] if quiet else []), guarded():
        with warnings.catch_warnings(record=True) as warned:
            warnings.warn("look out", stacklevel=1)
        Screen(stderr=True).print("half done")
        Screen().print("the result")
    said = capsys.readouterr()
    assert len(warned) == (not quiet)
    assert said.err == ("" if quiet else "half done\n")
    assert said.out == "the result\n"


def test_the_shell_completes_commands_options_and_recipes() -> None:
    def completed(line: str) -> list[str]:
        words = {"_TOD_COMPLETE": "complete_bash", "COMP_WORDS": line}
        words["COMP_CWORD"] = str(line.count(" "))
        return CliRunner().invoke(app, [], prog_name="tod", env=words).stdout.split()

    assert "diagnose" in completed("tod dia")
    assert "--no-color" in completed("tod --no")
    assert completed("tod run gspo") == ["gspo", "gspo_soft", "gspo_token"]
    assert completed("tod atlas show grp") == ["grpo"]


@pytest.mark.parametrize("words", [("diagnose",), ("report",), ("atlas", "translate"), ("check",)])
def test_a_command_without_its_argument_shows_an_example(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words])
    assert done.exit_code == 2
    assert re.search(rf"^Example: tod {' '.join(words)} ", done.output, re.M)


def test_a_dry_run_is_a_screen_and_a_verbose_one_the_recipe() -> None:
    screen = told("run", "grpo", "--dry-run").splitlines()
    assert len(screen) <= 24
    assert max(map(len, screen)) <= WIDTH
    assert "q* ∝ π_old^0.75·π_ref^0.25·exp(5·correct)" in screen[1]
    assert "two_anchor" in told("run", "grpo", "--dry-run", "-v")


def test_a_comparison_is_a_screen_and_a_verbose_one_everything() -> None:
    screen = told("atlas", "compare", "ppo", "kto").splitlines()
    assert len(screen) <= 24
    assert max(map(len, screen)) <= WIDTH
    whole = told("atlas", "compare", "ppo", "kto", "-v").splitlines()
    assert len(whole) > len(screen)
    assert not any(line.endswith(" …") for line in whole)


def test_no_screen_counts_one_in_the_plural() -> None:
    """Counts before a plural go through `counted`, which knows one."""
    counts = re.compile(r"\{len\([^{}]*\)\} (steps|settings)\b")
    for folder in ("findings/detectors", "show/terminal", "study/sweep"):
        for path in (ROOT / "src/tod" / folder).glob("*.py"):
            assert not counts.search(path.read_text()), path
