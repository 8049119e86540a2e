"""The schema that editors read, and `tod init`: true of every recipe of the package."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from tod.atlas.annotated import annotated
from tod.atlas.entries import EDITOR, FOLDER, SCHEMA, editor_line, own_copy
from tod.base import SpecError, read_yaml
from tod.cli.main import app
from tod.engine.recipe_schema import recipe_schema
from tod.engine.settings import RunSettings

FILES = sorted(FOLDER.glob("*.yaml"))
CHECK = Draft7Validator(recipe_schema())


def complaints(data: Any) -> list[str]:
    return [error.message for error in CHECK.iter_errors(data)]


def test_the_file_that_editors_read_is_the_generated_one() -> None:
    assert json.loads(SCHEMA.read_text()) == recipe_schema(), "run `make schemas`"
    Draft7Validator.check_schema(recipe_schema())
    printed = CliRunner().invoke(app, ["schema", "recipe"]).output
    assert json.loads(printed) == recipe_schema()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_names_the_schema_and_keeps_to_it(path: Path) -> None:
    first = path.read_text().partition("\n")[0]
    assert first.startswith(EDITOR)
    assert (path.parent / first.removeprefix(EDITOR)).resolve() == SCHEMA
    assert complaints(read_yaml(path)) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("train", {"stps": 3}),
        ("train", {"steps": 0}),
        ("target", {"kind": "two_ancor"}),
        ("target", {"kind": "two_anchor", "tau": 0.1, "utility": "correct"}),
        ("operator", {"action": {"kind": "policy_gradient", "advantage": "group_men"}}),
        ("task", "countdown"),
        ("heading", "x"),
    ],
)
def test_the_schema_marks_what_a_run_would_refuse(place: str, value: Any) -> None:
    data = {**read_yaml(FOLDER / "gspo.yaml"), place: value}
    assert complaints(data) != []
    with pytest.raises(SpecError):
        RunSettings.parse(data)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_of_one_s_own_is_that_recipe(path: Path, tmp_path: Path) -> None:
    """As it is written, and with every default that is commented out put in."""
    text = annotated(path.stem, "mine", tmp_path)
    wanted = {**RunSettings.load(path).plain(), "name": "mine"}
    assert RunSettings.parse(yaml.safe_load(text)).plain() == wanted
    put_in = re.sub(r"^( *)# (\w+: (?![A-Z]).*)$", uncommented, text, flags=re.M)
    assert put_in != text
    data = yaml.safe_load(put_in)
    assert RunSettings.parse(data).plain() == wanted
    assert complaints(data) == []
    ours = text.partition("# Every setting")[2]  # before it stand the words of the shipped file
    assert max(map(len, ours.splitlines())) <= 100


def uncommented(match: re.Match[str]) -> str:
    """The setting of a comment; a sentence that looks like one stays."""
    try:
        yaml.safe_load(match[2])
    except yaml.YAMLError:
        return match[0]
    known = match[2].partition(":")[0] in KEYS
    return f"{match[1]}{match[2]}" if known else match[0]


def keys(place: Any) -> set[str]:
    if isinstance(place, list):
        return {key for item in place for key in keys(item)}
    if not isinstance(place, dict):
        return set()
    return set(place.get("properties", ())) | {key for item in place.values() for key in keys(item)}


KEYS = keys(recipe_schema())


def test_init_writes_once_and_says_what_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "gspo", "-o", "mine.yaml"])
    assert done.output == (
        "mine.yaml: gspo, to make your own of.\nCheck it: tod run mine.yaml --dry-run\n"
    )
    text = Path("mine.yaml").read_text()
    assert yaml.safe_load(text)["name"] == "mine"
    again = CliRunner().invoke(app, ["init", "-o", "mine.yaml"])
    assert isinstance(again.exception, SpecError)
    assert Path("mine.yaml").read_text() == text
    assert CliRunner().invoke(app, ["init", "-o", "mine.yaml", "--overwrite"]).exit_code == 0
    assert CliRunner().invoke(app, ["init"]).output.startswith("quickstart.yaml: quickstart, ")
    assert CliRunner().invoke(app, ["init", "gspo", "-o", "-"]).output == text.replace(
        "name: mine", "name: gspo"
    )
    near = CliRunner().invoke(app, ["init", "gspoo"])
    assert "Did you mean 'gspo'" in str(near.exception)


def test_the_schema_is_found_from_where_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert editor_line(tmp_path) == f"{EDITOR}{SCHEMA}"
    assert editor_line(FOLDER.parent) == f"{EDITOR}recipes/{SCHEMA.name}"
    monkeypatch.chdir(tmp_path)
    assert own_copy("gspo").startswith(f"{EDITOR}{SCHEMA}\n")
