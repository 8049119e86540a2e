"""Outcomes that were committed go on being those of the studies, whatever settings come later."""

from pathlib import Path

import pytest

from tod.study.swap.arms import outcome_path, start_path
from tod.study.swap.outcomes import Outcome
from tod.study.swap.spec import LATER, SwapSpec, as_first

STUDIES = Path(__file__).resolve().parents[3] / "studies"


@pytest.mark.parametrize(
    ("study", "folder"),
    [("language_models", "language_models"), ("stale", "language_models"), ("rates", "rates")],
)
def test_committed_outcomes_are_of_the_recipes_that_the_study_says(study: str, folder: str) -> None:
    """A new setting that is not in `LATER` changes every hash, and no study could go on."""
    place = STUDIES / "results" / folder
    arms = [
        arm
        for arm in SwapSpec.load(STUDIES / f"{study}.yaml").arms()
        if outcome_path(place, arm).exists()
    ]
    assert arms
    for arm in arms:
        assert Outcome.load(outcome_path(place, arm)).facts["recipe"] == arm.hashed, arm.slug
        assert start_path(place, arm).exists(), arm.slug


def test_a_later_setting_counts_once_it_is_set() -> None:
    recipe = {"probe": None, "train": {"sharding": None, "steps": 2}, "evaluate": None}
    assert as_first(recipe) == {"train": {"steps": 2}, "evaluate": None}
    assert as_first(recipe | {"probe": {"size": 8}})["probe"] == {"size": 8}
    assert recipe["train"] == {"sharding": None, "steps": 2}
    assert all(name for path in LATER for name in path.split("."))
