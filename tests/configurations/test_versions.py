"""Defaults by release, against rows typed from the releases' own sources."""

from typing import Any

import pytest

from tod.configurations.framework import facts
from tod.configurations.versions import ABSENT, at, facts_at, numbers, recorded

A, R = "actor_rollout_ref.actor.", "actor_rollout_ref.rollout."

# typed from grpo_config.py and grpo_trainer.py, dpo_config.py and rloo_config.py at the release's
# tag; where a release has no such setting, what its trainer's code does
OF_TRL: dict[tuple[str, str], dict[str, Any]] = {
    ("0.14.0", "GRPOConfig"): {
        "beta": 0.04,
        "temperature": 0.9,
        "loss_type": "grpo",
        "scale_rewards": "group",
        "top_k": 50,
        "num_generations": 8,
        "max_completion_length": 256,
        "vllm_importance_sampling_correction": False,
        "use_bias_correction_kl": False,
    },
    ("0.17.0", "GRPOConfig"): {
        "beta": 0.04,
        "temperature": 0.9,
        "loss_type": "bnpo",
        "scale_rewards": True,
        "top_k": 50,
        "epsilon": 0.2,
        "ref_model_mixup_alpha": 0.6,
        "ref_model_sync_steps": 512,
    },
    ("0.21.0", "GRPOConfig"): {
        "beta": 0.0,
        "temperature": 1.0,
        "loss_type": "bnpo",
        "top_k": None,
        "vllm_importance_sampling_correction": False,
    },
    ("0.24.0", "GRPOConfig"): {
        "loss_type": "dapo",
        "scale_rewards": "group",
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": 2.0,
        "use_bias_correction_kl": False,
    },
    ("1.9.0", "GRPOConfig"): {
        "beta": 0.0,
        "max_completion_length": 256,
        "use_bias_correction_kl": False,
        "vllm_importance_sampling_mode": "sequence_mask",
        "vllm_importance_sampling_clip_max": 3.0,
    },
    ("0.15.2", "DPOConfig"): {
        "beta": 0.1,
        "ref_model_mixup_alpha": 0.9,
        "ref_model_sync_steps": 64,
        "truncation_mode": "keep_end",
        "f_divergence_type": "reverse_kl",
    },
    ("1.9.0", "DPOConfig"): {"truncation_mode": "keep_start", "ref_model_sync_steps": 512},
    ("0.24.0", "RLOOConfig"): {"beta": 0.05, "num_generations": 2, "normalize_advantages": False},
}
# typed from ppo_trainer.yaml (0.6.1: the generated one), ray_trainer.py and dp_actor.py
OF_VERL: dict[str, dict[str, Any]] = {
    "0.1.0": {"algorithm.use_kl_in_reward": True, A + "clip_ratio_c": None, R + "n": 1},
    "0.2.0": {
        A + "entropy_coeff": 0.001,
        A + "use_kl_loss": False,
        A + "clip_ratio_c": None,
        A + "clip_ratio": 0.2,
        "algorithm.use_kl_in_reward": True,
        "algorithm.kl_ctrl.kl_coef": 0.001,
        A + "loss_agg_mode": "token-mean",
        "algorithm.norm_adv_by_std_in_grpo": True,
    },
    "0.4.0": {
        A + "entropy_coeff": 0,
        A + "clip_ratio_c": 3.0,
        "algorithm.use_kl_in_reward": False,
    },
    "0.6.1": {A + "clip_ratio_c": 3.0, "algorithm.rollout_correction.bypass_mode": False},
}


@pytest.mark.parametrize(("version", "method"), OF_TRL)
def test_defaults_of_trl_by_release(version: str, method: str) -> None:
    defaults = facts_at("trl", version, method, {}).defaults[method]
    expected = OF_TRL[version, method]
    assert {name: defaults[name] for name in expected} == expected


@pytest.mark.parametrize("version", OF_VERL)
def test_defaults_of_verl_by_release(version: str) -> None:
    defaults = facts_at("verl", version, "ppo", {}).defaults["ppo"]
    assert {name: defaults[name] for name in OF_VERL[version]} == OF_VERL[version]


def test_verl_before_0_4_has_a_kl_in_the_reward_unless_the_loss_has_one() -> None:
    values = {A + "use_kl_loss": "True"}
    defaults = facts_at("verl", "0.3.0.post1", "ppo", values).defaults["ppo"]
    assert defaults["algorithm.use_kl_in_reward"] is False


def test_trl_0_15_samples_by_vllm_without_a_top_k() -> None:
    defaults = facts_at("trl", "0.15.0", "GRPOConfig", {"use_vllm": True}).defaults["GRPOConfig"]
    assert defaults["top_k"] == 0


@pytest.mark.parametrize("framework", ["trl", "verl"])
def test_the_newest_release_is_what_the_facts_record(framework: str) -> None:
    versions, today = recorded(framework), facts(framework)
    assert versions.newest == today.version
    for method in versions.defaults:
        assert facts_at(framework, versions.newest, method, {}).defaults == today.defaults
        for name, row in versions.defaults[method].items():
            value = at(row, versions.newest)
            if value != ABSENT and name in today.defaults[method]:
                assert value == today.defaults[method][name], name


@pytest.mark.parametrize("framework", ["trl", "verl"])
def test_releases_are_in_order_and_every_row_starts_at_one(framework: str) -> None:
    versions = recorded(framework)
    assert list(versions.releases) == sorted(versions.releases, key=numbers)
    for rows in versions.defaults.values():
        assert {v for row in rows.values() for v in row} <= set(versions.releases)
    for method, names in versions.names.items():
        assert all(versions.having(method, name) for name in names)
