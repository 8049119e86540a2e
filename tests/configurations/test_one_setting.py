"""Pairs of files that differ in one setting: what locating names, comparing says."""

from typing import Any

import pytest

from located_settings import FRAMEWORKS, read
from tod.atlas.compare import ONE_PROCEDURE
from tod.base import SpecError
from tod.configurations import compare
from tod.configurations.framework import facts

BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "trl": ("GRPOConfig", {"beta": 0.02, "scale_rewards": "none", "num_generations": 8}),
    "verl": (
        "ppo",
        {"actor_rollout_ref.actor.use_kl_loss": True, "algorithm.adv_estimator": "grpo"},
    ),
    "nemo_rl": ("grpo", {"loss_fn.reference_policy_kl_penalty": 0.01}),
    "openrlhf": ("ppo", {"algo.kl.init_coef": 0.01}),
}
VALUES = {
    "loss_fn.ratio_clip_c": 3.0,
    "actor.dual_clip": 3.0,
    "reward_clip_range": [-1.0, 1.0],
    "algorithm.rollout_correction.rollout_rs": "token_k1",
}
RECORDED = [
    (framework, name, VALUES.get(name, True if name in table else 0.5))
    for framework in FRAMEWORKS
    for table in (facts(framework).when_on, facts(framework).when_set)
    for name in table
    if name in facts(framework).defaults[BASES[framework][0]]
    for table in (facts(framework).when_on,)
]
OWN = [
    ("trl", "reward_weights", [1.0, 2.0]),
    ("trl", "top_entropy_quantile", 0.2),
    ("trl", "multi_objective_aggregation", "normalize_then_sum"),
    ("trl", "top_p", 0.8),
    ("trl", "top_k", 50),
    ("trl", "min_p", 0.1),
    ("trl", "temperature", 0.7),
    ("trl", "repetition_penalty", 1.1),
    ("trl", "scale_rewards", "group"),
    ("trl", "sync_ref_model", True),
    ("trl", "entropy_coef", 0.01),
    ("trl", "loss_type", "grpo"),
    ("trl", "use_bias_correction_kl", False),
    ("verl", "actor_rollout_ref.rollout.top_p", 0.8),
    ("verl", "actor_rollout_ref.rollout.temperature", 0.7),
    ("verl", "algorithm.norm_adv_by_std_in_grpo", False),
    ("verl", "actor_rollout_ref.actor.entropy_coeff", 0.01),
    ("verl", "actor_rollout_ref.actor.kl_loss_type", "k2"),
    ("verl", "algorithm.adv_estimator", "rloo"),
    ("nemo_rl", "reward_penalties.repetition", 0.5),
    ("nemo_rl", "grpo.invalid_tool_call_advantage", -1.0),
    ("nemo_rl", "loss_fn.reference_policy_kl_type", "k1"),
    ("openrlhf", "reward.clip_range", [-1.0, 1.0]),
    ("openrlhf", "algo.kl.target", 6.0),
    ("openrlhf", "algo.kl.estimator", "k3"),
]
PAIRS = [*RECORDED, *OWN]


@pytest.mark.parametrize(("framework", "name", "value"), PAIRS, ids=lambda x: str(x))
def test_what_locating_names_comparing_says(framework: str, name: str, value: Any) -> None:
    method, base = BASES[framework]
    plain = read(framework, method, base)
    try:
        changed = read(framework, method, {**base, name: value})
    except SpecError as error:
        pytest.fail(f"not a value to test with: {error}")
    before = {change.plain for change in plain.silent_changes}
    new = [change for change in changed.silent_changes if change.plain not in before]
    moved = [change for change in new if change.kind == "target"]
    lawful = plain.law.same(changed.law)
    assert new or not lawful or plain.operator != changed.operator, "locating says nothing of it"
    for pair in ((plain, changed), (changed, plain)):
        found = compare(*pair)
        assert found.differences, "a setting that locating names is no difference"
        assert ONE_PROCEDURE not in found.reasons[0]
        if moved:
            assert found.same_target == "no"
            assert {change.name for change in moved} <= {row.part for row in found.differences}
        if not lawful:
            assert found.same_target != "yes"
    assert compare(changed, changed).differences == ()


def test_one_effect_in_two_frameworks_is_shared() -> None:
    """Prompts filtered by verl and by OpenRLHF: spelled otherwise, the same effect."""
    verl = read("verl", "ppo", {"algorithm.filter_groups.enable": True})
    openrlhf = read("openrlhf", "ppo", {"algo.dynamic_filtering_enable": True})
    plain = read("openrlhf", "ppo", {})
    assert not any("filter" in row.part for row in compare(verl, openrlhf).differences)
    assert any("filter" in row.part for row in compare(verl, plain).differences)


def test_what_is_assumed_of_two_files_is_named() -> None:
    base = {"beta": 0.02, "scale_rewards": "none"}
    a = read("trl", "GRPOConfig", {**base, "model_name_or_path": "A", "dataset_name": "one"})
    b = read("trl", "GRPOConfig", {**base, "model_name_or_path": "B"})
    found = compare(a, b)
    assert found.same_target == "yes"
    assert "assumed: one π_ref; trl GRPOConfig names A, trl GRPOConfig names B" in found.reasons
    assert any(reason.endswith("does not name it") for reason in found.reasons)
    assert not any("π_ref" in reason for reason in compare(a, a).reasons)


def test_two_without_a_finite_law_are_told_apart_by_what_differs() -> None:
    a = read("trl", "GRPOConfig", {"beta": 0.0})
    b = read("trl", "GRPOConfig", {"beta": 0.0, "loss_type": "dr_grpo"})
    same = read("trl", "GRPOConfig", {"beta": 0.0, "num_generations": 4})
    assert "they differ in action.aggregation" in compare(a, b).reasons[0]
    assert compare(a, same).same_target == "yes"


def test_an_unknown_setting_leaves_the_target_unknown() -> None:
    from tod.configurations.framework import Computed

    a = read("trl", "GRPOConfig", {"beta": Computed("args.beta"), "scale_rewards": "none"})
    b = read("trl", "GRPOConfig", {"beta": 0.02, "scale_rewards": "none"})
    found = compare(a, b)
    assert found.same_target == "unknown"
    assert "beta" in found.reasons[0]
    assert found.swap_licensed is None
