"""Every file in configs/ parses, round-trips, and is what the atlas reads."""

from pathlib import Path

import pytest
import yaml

from tod.atlas import RECIPES, Entry, recipe_file
from tod.base import SpecError, read_yaml
from tod.engine.settings import RunSettings
from tod.operators import ConstantLength

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_round_trips_through_yaml(path: Path) -> None:
    settings = RunSettings.load(path)
    text = yaml.safe_dump(settings.plain(), sort_keys=False)
    assert RunSettings.parse(yaml.safe_load(text)) == settings.model_copy(update={"atlas": None})


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_engine_and_the_atlas_read_the_same_file(name: str) -> None:
    settings = RunSettings.load(recipe_file(name))
    entry = RECIPES[name]
    assert (settings.name, settings.procedure) == (entry.name, entry.procedure)
    assert settings.atlas is not None
    assert settings.atlas.model_dump() == entry.model_dump(include={*Entry.model_fields})
    aggregation = getattr(entry.operator.action, "aggregation", None)
    if isinstance(aggregation, ConstantLength):
        assert aggregation.length == entry.operator.proposal.max_new_tokens


@pytest.mark.parametrize(
    ("key", "value"), [("title", None), ("shares_target", "maybe"), ("titel", "x")]
)
def test_the_block_of_the_atlas_is_checked(key: str, value: object) -> None:
    data = read_yaml(recipe_file("grpo"))
    data["atlas"][key] = value
    with pytest.raises(SpecError, match=f"atlas.{key}"):
        RunSettings.parse(data)
