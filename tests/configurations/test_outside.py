"""Every method that a framework offers is composed, or says why it is not."""

from pathlib import Path

import pytest

from tod.configurations import locate
from tod.configurations.framework import facts

VERL = {
    "algorithm.adv_estimator": (
        "gae grpo grpo_vectorized reinforce_plus_plus reinforce_plus_plus_baseline remax rloo "
        "rloo_vectorized opo grpo_passk gpg gdpo optimal_token_baseline tir_optimal_token_baseline"
    ),
    "actor_rollout_ref.actor.policy_loss.loss_mode": (
        "vanilla gspo sapo cispo gpg clip_cov kl_cov dppo_tv dppo_kl dro bypass_mode"
    ),
}
TRL = {
    "GRPOConfig": "grpo dapo bnpo dr_grpo cispo sapo luspo vespo",
    "DPOConfig": (
        "sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero "
        "apo_down discopop sft sigmoid_norm"
    ),
    "KTOConfig": "kto apo_zero_unpaired",
    "CPOConfig": "sigmoid hinge ipo simpo",
}
NAMED = {
    name
    for framework in ("trl", "verl", "nemo_rl")
    for reasons in facts(framework).outside.values()
    for name in reasons
}

OFFERED = [
    *[("verl", f"{key}={name}", name) for key, names in VERL.items() for name in names.split()],
    *[
        ("trl", f"config_class: {kind}\nloss_type: {name}\nnum_iterations: 1", name)
        for kind, names in TRL.items()
        for name in names.split()
    ],
    *[
        ("nemo_rl", f"grpo: {{adv_estimator: {{name: {name}}}}}\nloss_fn: {{}}\npolicy: {{}}", name)
        for name in ("grpo", "gdpo", "opd", "reinforce_plus_plus")
    ],
]


@pytest.mark.parametrize(("framework", "text", "name"), OFFERED)
def test_composed_or_named(framework: str, text: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.txt" if framework == "verl" else "a.yaml")
    path.write_text(text + "\n", encoding="utf-8")
    found = locate(path)
    assert found.framework == framework
    if name in NAMED and not (framework == "trl" and name == "sft"):
        assert found.operator is None
        assert any(f"{name}: not in the algebra: " in note for note in found.notes)
        assert found.procedure is None
    else:
        assert found.operator is not None


def test_what_is_not_known_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("algorithm.adv_estimator=mine\n", encoding="utf-8")
    found = locate(path)
    assert found.operator is None
    assert "not known here" in found.notes[0]


@pytest.mark.parametrize(("estimator", "composed"), [("grpo", True), ("gae", False)])
def test_geometric_means_have_one_advantage(estimator: str, composed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    mode = "actor_rollout_ref.actor.policy_loss.loss_mode=geo_mean"
    path.write_text(f"{mode}\nalgorithm.adv_estimator={estimator}\n", encoding="utf-8")
    found = locate(path)
    assert (found.operator is not None) is composed
    assert composed or "one advantage a sequence" in found.notes[0]


def test_alpha_po(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("config_class: CPOConfig\nalpha: 0.25\n", encoding="utf-8")
    found = locate(path)
    assert found.operator is None
    assert any("AlphaPO" in note for note in found.notes)
