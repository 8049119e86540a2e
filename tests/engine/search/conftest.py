"""Small searches on the embedded model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tod.engine.settings import RunSettings

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., RunSettings]:
    """A config of the repository at the size of a test, with dotted overrides."""

    def make(config: str, name: str = "run", *overrides: Any) -> RunSettings:
        usual = ("search.contexts=12", "operator.proposal.prompts=5", "operator.proposal.size=4")
        settings = (*usual, "search.subsets=8", *overrides, f"output={tmp_path / name}")
        return RunSettings.load(CONFIGS / f"{config}.yaml", settings)

    return make
