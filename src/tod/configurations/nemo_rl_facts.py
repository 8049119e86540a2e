"""Facts of NeMo-RL: its example configurations and loss defaults, August 2026 (7ea279ab)."""

from typing import Any

VERSION = "main, August 2026 (7ea279ab)"

L = "loss_fn."
_GRPO: dict[str, Any] = {
    "grpo.num_prompts_per_step": 32,
    "grpo.num_generations_per_prompt": 16,
    "grpo.normalize_rewards": True,
    "grpo.use_leave_one_out_baseline": True,
    "grpo.overlong_filtering": False,
    "grpo.advantage_clip_low": None,
    "grpo.advantage_clip_high": None,
    "grpo.use_dynamic_sampling": False,
    "grpo.reward_shaping.enabled": False,
    "grpo.reward_scaling.enabled": False,
    "grpo.adv_estimator.name": "grpo",
    "grpo.adv_estimator.normalize_rewards": True,
    "grpo.adv_estimator.use_leave_one_out_baseline": True,
    "grpo.adv_estimator.minus_baseline": True,
    "grpo.async_grpo.enabled": False,
    L + "reference_policy_kl_penalty": 0.01,
    L + "reference_policy_kl_type": "k3",
    L + "kl_input_clamp_value": 20.0,
    L + "kl_output_clamp_value": 10.0,
    L + "ratio_clip_min": 0.2,
    L + "ratio_clip_max": 0.2,
    L + "ratio_clip_c": None,
    L + "use_on_policy_kl_approximation": False,
    L + "use_importance_sampling_correction": False,
    L + "truncated_importance_sampling_type": None,
    L + "truncated_importance_sampling_ratio": None,
    L + "truncated_importance_sampling_ratio_min": None,
    L + "sequence_level_importance_ratios": False,
    L + "token_level_loss": True,
    L + "force_on_policy_ratio": False,
    L + "use_kl_in_reward": False,
    L + "use_cispo": False,
    L + "disable_ppo_ratio": False,
    L + "positive_example_nll_weight": 0.0,
    "policy.train_global_batch_size": 512,
    "policy.max_total_sequence_length": 512,
    "policy.generation.temperature": 1.0,
    "policy.generation.top_p": 1.0,
    "policy.generation.top_k": None,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "grpo": _GRPO,
    "dpo": {
        "dpo.reference_policy_kl_penalty": 0.05,
        "dpo.preference_average_log_probs": False,
        "dpo.sft_average_log_probs": False,
        "dpo.preference_loss_weight": 1.0,
        "dpo.sft_loss_weight": 0.0,
    },
    "sft": {},
    "distillation": {
        "distillation.topk_logits_k": 64,
        "distillation.num_prompts_per_step": 128,
        "distillation.num_generations_per_prompt": 1,
        "policy.train_global_batch_size": 64,
        "policy.max_total_sequence_length": 8192,
        "policy.generation.temperature": 1.0,
        "policy.generation.top_p": 1.0,
        "policy.generation.top_k": None,
        L + "kl_type": "mixed",
        L + "mixed_kl_weight": 0.5,
        L + "zero_outside_topk": False,
    },
}
_SECTIONS = (
    "checkpointing.",
    "cluster.",
    "data.",
    "data_plane.",
    "defaults",
    "env.",
    "logger.",
    "on_policy_distillation",
    "policy.",
    "reward_penalties.",
    "teacher.",
    "value.",
)
PREFIXES = {
    "grpo": (*_SECTIONS, "grpo.async_grpo.", "grpo.reward_shaping.", "grpo.reward_scaling."),
    "dpo": (*_SECTIONS,),
    "sft": (*_SECTIONS, "sft.", L),
    "distillation": (*_SECTIONS,),
}
"""Sections whose keys are neutral: placement, optimisation, logging, data, models."""
_NAMES = """
max_rollout_turns max_num_epochs max_num_steps val_period val_start_at val_at_start val_at_end
max_val_samples val_num_generations_per_prompt stop_at_validation_metric
stop_at_validation_threshold val_batch_size seed dynamic_sampling_max_gen_batches
batch_multiplier seq_logprob_error_threshold invalid_tool_call_advantage
malformed_thinking_advantage val_batches val_global_batch_size val_micro_batch_size
num_prompts_per_step num_generations_per_prompt async_grpo
skip_reference_policy_logprobs_calculation
"""
NEUTRAL = frozenset(
    f"{section}.{name}" for section in ("grpo", "dpo", "distillation") for name in _NAMES.split()
)
