"""What a study's file says, and the arms that follow from it."""

from pathlib import Path
from typing import Any

import pytest
from small_study import study

from tod.base import SpecError
from tod.study.swap.spec import SwapSpec

ROOT = Path(__file__).parents[3]


def test_arms_are_the_product_with_two_seeds_of_everything_first() -> None:
    arms = list(SwapSpec.parse(study()).arms())
    assert len(arms) == 2 * 3 * 3
    assert len({arm.slug for arm in arms}) == len(arms)
    assert len({arm.hashed for arm in arms}) == len(arms)
    assert {arm.seed for arm in arms[:12]} == {0, 1}
    assert {(arm.condition, arm.operator) for arm in arms[:12]} == {
        (arm.condition, arm.operator) for arm in arms
    }


def test_an_arm_is_the_recipe_with_its_changes() -> None:
    spec = SwapSpec.parse(study())
    arm = spec.arm("countdown", spec.conditions[1], "raw", 1)
    assert arm.recipe["target"]["eta"] == 2.0
    assert arm.recipe["operator"]["action"]["centred"] is False
    assert arm.recipe["anchors"]["teacher"] == "tod://tiny-teacher"
    assert arm.recipe["model"] == "tod://tiny"
    assert arm.recipe["train"]["seed"] == 1
    assert spec.arm("countdown", spec.conditions[0], "again", 1).recipe["train"]["seed"] == 101


def test_a_condition_has_seeds_operators_and_changes_of_its_own() -> None:
    own = {"seeds": [0, 1, 2, 3, 4], "only": ["centred", "raw"]}
    changed = {"by_operator": {"raw": {"train.learning_rate": 1e-3}}}
    spec = SwapSpec.parse(study(conditions=[{"name": "a", **own, **changed}, {"name": "b"}]))
    arms = list(spec.arms())
    assert len(arms) == 2 * 5 + 3 * 3
    assert [arm.seed for arm in arms if arm.condition == "a"][-2:] == [4, 4]
    rates = {
        (arm.condition, arm.operator): arm.recipe["train"]["learning_rate"] == 1e-3 for arm in arms
    }
    assert [key for key, changed in rates.items() if changed] == [("a", "raw")]


def test_a_preference_target_is_turned_to_the_conditions_sharpness() -> None:
    changes = {
        "target": {"kind": "preference", "utility": "correct", "beta": 1.0, "noise_scale": 0.2},
        "operator.proposal.source": "pairs",
        "operator.proposal.utility": "correct",
        "operator.action": {"kind": "preference", "loss": "dpo", "pairs": "all"},
    }
    spec = SwapSpec.parse(study(operators={"centred": {}, "DPO": changes}))
    settings = spec.arm("countdown", spec.conditions[0], "DPO", 0).settings(Path(), Path("x"))
    assert settings.target.target.sharpness == 1.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": [0]}, "fewer than two"),
        ({"seeds": [0, 0]}, "twice"),
        ({"conditions": [{"name": "a"}, {"name": "a"}]}, "share a name"),
        ({"conditions": [{"name": "a", "without": ["DPO"]}]}, "DPO"),
        ({"conditions": [{"name": "a", "only": ["PPO"]}]}, "PPO"),
        ({"conditions": [{"name": "a", "by_operator": {"PPO": {}}}]}, "PPO"),
        ({"conditions": [{"name": "a", "seeds": [3]}]}, "fewer than two"),
        ({"conditions": [{"name": "a", "tasks": ["sums"]}]}, "sums"),
        ({"seedz": [0, 1]}, "seedz"),
        ({"tasks": {"t": {"models": {}, "set": {}}}}, "base"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        SwapSpec.parse(study(**changes))


def test_a_model_that_the_task_has_not_is_named() -> None:
    spec = SwapSpec.parse(study(conditions=[{"name": "a", "set": {"model": "{warm}"}}]))
    with pytest.raises(SpecError, match=r"\{warm\}.*base, teacher"):
        list(spec.arms())


def test_an_impossible_recipe_names_its_arm() -> None:
    spec = SwapSpec.parse(study(operators={"broken": {"operator.action": {"kind": "nothing"}}}))
    with pytest.raises(SpecError, match="countdown, η 1, broken"):
        list(spec.arms())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "studies").glob("language*.yaml")), ids=lambda path: path.stem
)
def test_the_studies_of_the_repository_resolve(path: Path) -> None:
    spec = SwapSpec.load(path)
    arms = list(spec.arms())
    assert len({arm.slug for arm in arms}) == len(arms)
    kinds = {setting.role for setting in spec.conditions}
    assert kinds >= {"study", "positive", "negative", "ladder"}
    models = {m for arm in arms for m in (arm.recipe["model"], *arm.recipe["anchors"].values())}
    missing = [m for m in models if m and "://" not in m and not (path.parent / m).is_dir()]
    assert not missing
