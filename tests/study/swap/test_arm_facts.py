"""What is known of arms, and that the checks name an arm that does not belong."""

from pathlib import Path

import numpy as np
import pytest
from small_study import study

from tod.engine.settings import RunSettings
from tod.study.swap.arm_facts import arm_facts, shares_target
from tod.study.swap.arms import outcome_path
from tod.study.swap.checks import check_arms
from tod.study.swap.condition import Condition
from tod.study.swap.outcomes import Outcome
from tod.study.swap.spec import SwapSpec

ACCEPTED = {"kind": "weighted_regression", "weights": {"kind": "accepted", "threshold": 1.0}}


def written(folder: Path, spec: SwapSpec, still: str = "", flops: float = 1.0) -> list[Condition]:
    """Outcomes of every arm; one operator of them did not move, one took more operations."""
    operators = tuple(spec.operators)
    seeds = spec.seeds
    (folder / "arms").mkdir(parents=True)
    for arm in spec.arms():
        facts = {"prompts": "p", "skipped": 0, "recipe": arm.hashed}
        facts["flops"] = flops if arm.operator == operators[-1] else 1.0
        outcome = Outcome(
            facts,
            np.array([2]),
            np.zeros((1, 8)),
            np.zeros(4),
            np.zeros((2, 3)),
            {"activation": np.array([0.0, 0.0])},
        )
        outcome.save(outcome_path(folder, arm))
    size = (len(operators), len(seeds))
    travel = np.full(size, 0.1)
    travel[[name == still for name in operators]] = 0.0
    return [
        Condition(
            setting.name, "countdown", operators, seeds, np.zeros((*size, *size)),
            np.zeros((*size, 8)), travel=travel,
        )
        for setting in spec.conditions
    ]  # fmt: skip


def spec_of(**changes: object) -> SwapSpec:
    return SwapSpec.parse(study(**{"conditions": [{"name": "η 1"}], "seeds": [0, 1], **changes}))


def test_arms_that_belong_together_stop_nothing(tmp_path: Path) -> None:
    spec = spec_of(operators={"centred": {}, "raw": {"operator.action.centred": False}})
    facts = arm_facts(spec, tmp_path, written(tmp_path, spec))
    assert len(facts) == 4
    assert all(one.shares_target for one in facts)
    assert not [flag for flag in check_arms(facts) if flag.stops]


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ({"operator.action": ACCEPTED}, "other_target"),
        ({"train.prompt_seed": 7}, "other_prompts"),
        ({"evaluate.samples_per_prompt": 3}, "other_evaluation"),
    ],
)
def test_an_arm_that_does_not_belong_is_named(
    operator: dict[str, object], kind: str, tmp_path: Path
) -> None:
    spec = spec_of(operators={"centred": {}, "raw": {}, "strange": operator})
    flags = check_arms(arm_facts(spec, tmp_path, written(tmp_path, spec)))
    named = {flag.kind for flag in flags if "strange" in flag.name and flag.stops}
    assert kind in named


def test_a_dead_arm_and_unequal_compute_are_named(tmp_path: Path) -> None:
    spec = spec_of(operators={"centred": {}, "raw": {}, "strange": {}})
    flags = check_arms(arm_facts(spec, tmp_path, written(tmp_path, spec, "centred", 1.5)))
    kinds = {
        (flag.kind, flag.name.split(", ")[2], flag.stops)
        for flag in flags
        if flag.kind in {"dead_arm", "unequal_compute"}
    }
    assert kinds == {("dead_arm", "centred", True), ("unequal_compute", "strange", False)}


def test_staleness_is_that_of_the_schedule(tmp_path: Path) -> None:
    """μ is 0, 1, 2, 3, 0 … steps behind: 1.5 in the mean of 8."""
    changes = {"operator.proposal.refresh": 4, "train.steps": 8}
    spec = spec_of(conditions=[{"name": "stale", "set": changes}], operators={"a": {}, "b": {}})
    facts = arm_facts(spec, tmp_path, written(tmp_path, spec))
    assert {one.staleness for one in facts} == {1.5}
    assert all(one.stale for one in facts)


def test_a_contrast_is_not_checked(tmp_path: Path) -> None:
    operators = {"centred": {}, "raw": {}, "accepted": {"operator.action": ACCEPTED}}
    spec = spec_of(operators=operators, contrast=["accepted"])
    facts = arm_facts(spec, tmp_path, written(tmp_path, spec))
    assert {one.operator for one in facts} == {"centred", "raw"}


def test_the_audit_tells_another_target() -> None:
    spec = spec_of(operators={"centred": {}, "accepted": {"operator.action": ACCEPTED}})
    arms = {arm.operator: RunSettings.parse(dict(arm.recipe)).procedure for arm in spec.arms()}
    assert shares_target(arms["centred"]) == (True, "")
    shares, told = shares_target(arms["accepted"])
    assert shares is False
    assert "from the target" in told
