"""Every method that a framework offers is composed, or says why it is not."""

from pathlib import Path

import pytest

from tod.configurations import locate
from tod.configurations.framework import facts
from tod.show.terminal.atlas import located_text

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


READ = """python3 -m verl.trainer.main_ppo actor_rollout_ref.rollout.n=6 data.train_batch_size=96 \\
  actor_rollout_ref.actor.ppo_mini_batch_size=24 actor_rollout_ref.rollout.temperature=0.8 \\
  actor_rollout_ref.actor.use_kl_loss=True actor_rollout_ref.actor.kl_loss_coef=0.02 \\
  actor_rollout_ref.actor.clip_ratio_high=0.31 """


def test_without_a_composition_what_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.sh"
    path.write_text(f"{READ}algorithm.adv_estimator=remax\n", encoding="utf-8")
    found = locate(path)
    assert (found.operator, found.procedure, found.status) == (None, None, "not_composed")
    assert (found.updates, found.read.proposal.size) == (4, 6)  # type: ignore[union-attr]
    told = found.to_dict()["operator"]
    assert told["composition"] is None
    assert told["proposal"]["temperature"] == 0.8
    assert told["action"]["trust_region"]["high"] == 0.31
    assert told["action"]["advantage"] is None, "what stands in for it is not the file's"
    said = located_text(found)
    assert "advantage ?" in said
    assert "K = 6, T = 0.8, 4 updates a batch" in said


@pytest.mark.parametrize(
    ("setting", "without"),
    [
        ("actor_rollout_ref.actor.policy_loss.loss_mode=kl_cov", "trust_region level aggregation"),
        ("algorithm.use_kl_in_reward=True", "pull"),
        ("algorithm.adv_estimator=grpo_passk", "advantage"),
    ],
)
def test_what_stands_in_is_not_told(tmp_path: Path, setting: str, without: str) -> None:
    path = tmp_path / "a.sh"
    path.write_text(f"{READ}{setting}\n", encoding="utf-8")
    told = locate(path).to_dict()["operator"]["action"]
    parts = ("trust_region", "level", "aggregation", "pull", "advantage")
    assert {part for part in parts if told[part] is None} == set(without.split())


def test_what_is_not_read_is_open_without_a_composition_too(tmp_path: Path) -> None:
    path = tmp_path / "a.sh"
    path.write_text(f"{READ}algorithm.adv_estimator=remax $MORE\n", encoding="utf-8")
    told = locate(path).to_dict()["operator"]
    assert told["proposal"]["size"] is None
    assert told["proposal"]["temperature"] is None


def test_a_width_of_minus_one_leaves_it_to_the_one_for_both(tmp_path: Path) -> None:
    path = tmp_path / "a.sh"
    both = "actor_rollout_ref.actor.clip_ratio=0.15 actor_rollout_ref.actor.clip_ratio_high=-1"
    path.write_text(f"{READ}{both} actor_rollout_ref.actor.clip_ratio_low=-1\n", encoding="utf-8")
    region = locate(path).to_dict()["operator"]["action"]["trust_region"]
    assert (region["low"], region["high"]) == (0.15, 0.15)


def test_opo_is_compared_with_the_mean_by_length(tmp_path: Path) -> None:
    path = tmp_path / "a.sh"
    path.write_text(f"{READ}algorithm.adv_estimator=opo\n", encoding="utf-8")
    found = locate(path)
    assert found.operator is not None
    assert found.operator.action.advantage.kind == "length_weighted_mean"  # type: ignore[union-attr]
