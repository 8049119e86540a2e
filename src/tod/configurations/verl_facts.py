"""Facts of verl: defaults of what decides the target, and names of everything else.

Read off the trainer's generated configuration of 0.9.1; no code of theirs.
"""

from typing import Any

VERSION = "0.9.1"

A = "actor_rollout_ref.actor."
R = "actor_rollout_ref.rollout."
C = "algorithm.rollout_correction."

DEFAULTS: dict[str, Any] = {
    A + "clip_ratio": 0.2,
    A + "clip_ratio_low": 0.2,
    A + "clip_ratio_high": 0.2,
    A + "clip_ratio_c": 3.0,
    A + "tau_pos": 1.0,
    A + "tau_neg": 1.05,
    A + "policy_loss.loss_mode": "vanilla",
    A + "loss_agg_mode": "token-mean",
    A + "loss_scale_factor": None,
    A + "entropy_coeff": 0,
    A + "use_kl_loss": False,
    A + "kl_loss_coef": 0.001,
    A + "kl_loss_type": "low_var_kl",
    A + "ppo_epochs": 1,
    A + "ppo_mini_batch_size": 256,
    R + "temperature": 1.0,
    R + "top_k": -1,
    R + "top_p": 1.0,
    R + "n": 1,
    R + "do_sample": True,
    R + "calculate_log_probs": True,
    "algorithm.adv_estimator": "gae",
    "algorithm.gamma": 1.0,
    "algorithm.lam": 1.0,
    "algorithm.norm_adv_by_std_in_grpo": True,
    "algorithm.use_kl_in_reward": False,
    "algorithm.kl_penalty": "kl",
    "algorithm.kl_ctrl.type": "fixed",
    "algorithm.kl_ctrl.kl_coef": 0.001,
    "algorithm.kl_ctrl.target_kl": 0.1,
    "algorithm.use_pf_ppo": False,
    "algorithm.filter_groups.enable": False,
    C + "rollout_is": None,
    C + "rollout_is_threshold": 2.0,
    C + "rollout_is_batch_normalize": False,
    C + "rollout_rs": None,
    C + "rollout_rs_threshold": None,
    C + "bypass_mode": False,
    C + "loss_type": "ppo_clip",
    "data.train_batch_size": 1024,
    "data.max_response_length": 512,
    "distillation.enabled": False,
    "distillation.distillation_loss.loss_mode": "k3",
    "distillation.distillation_loss.use_task_rewards": True,
    "distillation.distillation_loss.use_policy_gradient": False,
    "reward_model.overlong_buffer.enable": False,
    "reward_model.reward_kwargs.overlong_buffer_cfg.enable": False,
    "reward.reward_kwargs.overlong_buffer_cfg.enable": False,
}

_NAMES_0 = """
strategy ppo_micro_batch_size ppo_micro_batch_size_per_gpu use_dynamic_bsz rollout_n
ppo_max_token_len_per_gpu freeze_vision_tower calculate_entropy use_prefix_grouper
use_torch_compile shuffle data_loader_seed use_fused_kernels grad_clip
ulysses_sequence_parallel_size entropy_from_logits_with_chunking entropy_checkpointing
use_remove_padding calculate_sum_pi_squared sum_pi_squared_checkpointing load_weight
policy_loss.clip_cov_ratio policy_loss.clip_cov_lb policy_loss.clip_cov_ub
policy_loss.kl_cov_ratio policy_loss.ppo_kl_coef policy_loss.dro_beta
entropy_from_logits_chunk_size pad_to_length
"""
_ACTOR = _NAMES_0.split()
_NAMES_1 = """
name mode prompt_length response_length dtype gpu_memory_utilization ignore_eos enforce_eager
cudagraph_capture_sizes free_cache_engine tensor_model_parallel_size data_parallel_size
expert_parallel_size pipeline_model_parallel_size max_num_batched_tokens max_model_len
max_num_seqs enable_chunked_prefill enable_prefix_caching logprobs_mode scheduling_policy
load_format log_prob_micro_batch_size log_prob_micro_batch_size_per_gpu
log_prob_use_dynamic_bsz log_prob_max_token_len_per_gpu disable_log_stats over_sample_rate
multi_stage_wake_up skip_rollout skip_dump_dir skip_tokenizer_init mtp layered_summon
enable_rollout_routing_replay use_inflight_wake_up quantization quantization_config_file
swap_space nnodes n_gpus_per_node full_determinism seed router_config_path
moe_load_balance_metrics_interval qat
"""
_ROLLOUT = _NAMES_1.split()

NEUTRAL = frozenset(
    [A + name for name in _ACTOR]
    + [R + name for name in _ROLLOUT]
    + [
        "algorithm.kl_ctrl.horizon",
        "algorithm.pf_ppo.reweight_method",
        "algorithm.pf_ppo.weight_pow",
        "algorithm.filter_groups.metric",
        "algorithm.filter_groups.max_num_gen_batches",
        "algorithm.filter_groups.max_inflight_gen_batches",
        "algorithm.filter_groups._target_",
        "actor_rollout_ref.hybrid_engine",
        "actor_rollout_ref.nccl_timeout",
    ]
)
PREFIXES = (
    "actor_rollout_ref.model.",
    "actor_rollout_ref.ref.",
    A + "fsdp_config.",
    A + "megatron.",
    A + "optim.",
    A + "checkpoint.",
    A + "profiler.",
    A + "router_replay.",
    A + "_target_",
    A + "policy_loss._target_",
    A + "qat.",
    R + "disaggregation.",
    R + "val_kwargs.",
    R + "engine_kwargs.",
    R + "multi_turn.",
    R + "agent.",
    R + "trace.",
    R + "profiler.",
    R + "prometheus.",
    R + "checkpoint_engine.",
    R + "server.",
    R + "_target_",
    "algorithm._target_",
    "algorithm.kl_ctrl._target_",
    "critic.",
    "custom_reward_function.",
    "data.",
    "defaults",
    "distillation.",
    "global_profiler.",
    "hydra",
    "ray_init.",
    "ray_kwargs.",
    "reward.",
    "reward_manager.",
    "reward_model.",
    "sandbox_fusion.",
    "skip.",
    "trainer.",
    "transfer_queue.",
)
"""Sections whose keys are neutral: placement, optimisation, logging, the reward's own settings."""
