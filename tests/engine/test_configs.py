"""Every file in configs/ parses, round-trips, and is the atlas entry it is named after."""

from pathlib import Path

import pytest
import yaml

from tod.atlas import RECIPES
from tod.engine.settings import RunSettings
from tod.operators import ConstantLength

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_round_trips_through_yaml(path: Path) -> None:
    settings = RunSettings.load(path)
    text = yaml.safe_dump(settings.plain(), sort_keys=False)
    assert RunSettings.parse(yaml.safe_load(text)) == settings


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_config_is_the_atlas_entry_of_its_name(name: str) -> None:
    settings = RunSettings.load(Path(__file__).parents[2] / "configs" / f"{name}.yaml")
    entry = RECIPES[name]
    assert settings.target == entry.target
    assert settings.operator.proposal.source == entry.operator.proposal.source
    ours, theirs = settings.operator.action.model_dump(), entry.operator.action.model_dump()
    if isinstance(getattr(entry.operator.action, "aggregation", None), ConstantLength):
        ours["aggregation"].pop("length"), theirs["aggregation"].pop("length")
    if name == "dapo":  # its own code uses verl's epsilon
        ours["advantage"].pop("epsilon"), theirs["advantage"].pop("epsilon")
    assert ours == theirs
