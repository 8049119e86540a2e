"""The table of rows names only what is there, and all seven and six rows; its commands run."""

import re
import shlex
from pathlib import Path

import pytest

from tod.atlas import RECIPES
from tod.atlas.grid import OPERATORS, TARGETS, row_of
from tod.engine.settings import RunSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "atlas" / "rows.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in TEXT.splitlines()
    if re.match(r"\| (?!row|form|-)", line)
]
FULL = [row for row in ROWS if len(row) == 5]
COMMANDS = re.findall(r"`tod run (configs/[^`]+)`", TEXT)


def loaded(command: str) -> RunSettings:
    path, *overrides = shlex.split(command)
    return RunSettings.load(ROOT / path, tuple(overrides))


def test_every_file_exists() -> None:
    named = re.findall(r"((?:configs|tests|scripts)/[\w/.]+\.(?:py|yaml))", TEXT)
    assert len(named) >= 20
    assert [path for path in named if not (ROOT / path).exists()] == []
    linked = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert [to for to in linked if not (ROOT / "docs" / "atlas" / to).exists()] == []


def test_every_recipe_exists() -> None:
    named = {name for row in FULL for name in re.findall(r"`(\w+)`", row[2])}
    assert named
    assert named <= set(RECIPES)


def test_every_recipe_stands_in_the_row_of_its_family() -> None:
    rows = {row[0].lower(): set(re.findall(r"`(\w+)`", row[2])) for row in FULL[len(TARGETS) :]}
    for family, title in OPERATORS.items():
        theirs = {name for name, entry in RECIPES.items() if entry.family == family}
        assert rows[title.lower()] == theirs


@pytest.mark.parametrize("row", FULL[: len(TARGETS)], ids=lambda row: row[1])
def test_the_recipes_of_a_target_row_aim_there(row: list[str]) -> None:
    named = re.findall(r"`(\w+)`", row[2])
    assert named
    assert {row_of(RECIPES[name]) for name in named} == {row[1].strip("`")}


def test_all_rows_are_there_with_a_command_and_a_test() -> None:
    assert len(FULL) == len(TARGETS) + len(OPERATORS)
    assert all(row[3].startswith("`tod run ") and row[4].startswith("`tests/") for row in FULL)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_a_recipe_that_loads(command: str) -> None:
    assert loaded(command).name


@pytest.mark.parametrize("row", FULL[: len(TARGETS)], ids=lambda row: row[1])
def test_the_command_of_a_target_row_aims_there(row: list[str]) -> None:
    command = row[3].strip("`").removeprefix("tod run ")
    assert loaded(command).target.kind == row[1].strip("`")


@pytest.mark.parametrize("row", FULL[len(TARGETS) :], ids=lambda row: row[0])
def test_the_command_of_an_operator_row_is_of_its_family(row: list[str]) -> None:
    name = re.search(r"configs/(\w+)\.yaml", row[3])
    assert name is not None
    assert OPERATORS[RECIPES[name[1]].family].lower() == row[0].lower()
