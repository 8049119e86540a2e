"""The recipes: one file each, found by name, alias or path."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tod
from tod.atlas import RECIPES, own_copy, recipe, recipe_file
from tod.atlas.entries import FOLDER
from tod.base import SpecError, read_yaml

FILES = sorted(FOLDER.glob("*.yaml"))
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_called_as_its_recipe_is(path: Path) -> None:
    data = read_yaml(path)
    assert data["name"] == path.stem
    assert "output" not in data, "a run is named by itself"
    assert ("atlas" in data) == (path.stem in RECIPES)


def test_every_recipe_is_a_file_and_quickstarts_are_no_entries() -> None:
    assert len(RECIPES) >= 59
    others = {path.stem for path in FILES} - set(RECIPES)
    soft = {name for name in others if name.endswith("_soft")}
    assert others - soft == {"quickstart", "quickstart_arc"}
    assert {name.removesuffix("_soft") for name in soft} <= set(RECIPES)


def test_configs_of_the_repository_is_the_same_folder() -> None:
    assert (ROOT / "configs").readlink() == Path("src/tod/atlas/recipes")


def test_no_name_or_alias_stands_twice() -> None:
    names = [name for entry in RECIPES.values() for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert all(recipe(name) in RECIPES.values() for name in names)


def test_a_path_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grpo").mkdir()
    assert recipe_file("gspo") == FOLDER / "gspo.yaml"
    assert recipe_file("bon") == FOLDER / "best_of_k.yaml"
    assert recipe_file("grpo") == FOLDER / "grpo.yaml", "a folder is no recipe"
    assert recipe_file("mine/gspo") == Path("mine/gspo")
    assert recipe_file("absent.yaml") == Path("absent.yaml")
    (tmp_path / "gspo").write_text("name: mine")
    assert recipe_file("gspo") == Path("gspo")


@pytest.mark.parametrize("find", [recipe, recipe_file, own_copy])
def test_a_near_miss_is_named(find: object) -> None:
    with pytest.raises(SpecError, match="Did you mean 'self_consistency'"):
        find("self_consistancy")
    with pytest.raises(SpecError, match="no recipe 'nothing of the kind'"):
        find("nothing of the kind")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_own_copy_is_the_file_without_its_claims(path: Path) -> None:
    data = read_yaml(path)
    data.pop("atlas", None)
    assert yaml.safe_load(own_copy(path.stem)) == data


def test_importing_reads_no_recipe() -> None:
    code = (
        "import tod, tod.atlas, tod.cli.main, sys, json\n"
        "from tod.atlas.entries import recipes\n"
        "before = recipes.cache_info().currsize\n"
        "assert tod.RECIPES is tod.atlas.RECIPES\n"
        "print(json.dumps([before, recipes.cache_info().currsize]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, 1]


def test_a_recipe_of_ones_own_is_placed_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from tod.atlas.grid import grid

    mine = RECIPES["grpo"].revised(name="mine", title="Mine")
    monkeypatch.setitem(tod.RECIPES, "mine", mine)
    assert [cell.target for cell in grid() if "mine" in cell.recipes] == ["two_anchor"]
