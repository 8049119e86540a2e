"""Facts of OpenRLHF: defaults of what decides the target; August 2026 (revision 3c3be623)."""

from typing import Any

VERSION = "main, August 2026 (3c3be623)"

PPO: dict[str, Any] = {
    "actor.eps_clip": 0.2,
    "actor.eps_clip_low_high": None,
    "actor.dual_clip": None,
    "actor.policy_loss_type": "ppo",
    "actor.entropy_coef": None,
    "algo.advantage.estimator": "gae",
    "algo.advantage.gamma": 1.0,
    "algo.advantage.lambd": 1.0,
    "algo.advantage.no_std_norm": False,
    "algo.advantage.is_correction_enable": False,
    "algo.advantage.is_correction_threshold": [0.5, 5.0],
    "algo.advantage.is_correction_type": "tis",
    "algo.dynamic_filtering_enable": False,
    "algo.kl.estimator": "k1",
    "algo.kl.init_coef": 0.01,
    "algo.kl.target": None,
    "algo.kl.use_loss": False,
    "data.max_len": 2048,
    "reward.clip_range": [-10, 10],
    "reward.normalize_enable": False,
    "reward.overlong_buffer_len": None,
    "reward.stop_properly_penalty_coef": None,
    "rollout.batch_size": 1024,
    "rollout.n_samples_per_prompt": 1,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "train.async_enable": False,
    "train.batch_size": 128,
    "train.max_epochs": 1,
}
DPO: dict[str, Any] = {
    "model.beta": 0.1,
    "model.ipo_enable": False,
    "model.label_smoothing": 0.0,
    "model.nll_loss_coef": 0.0,
}

FLAT: dict[str, str] = {
    "advantage_estimator": "algo.advantage.estimator",
    "dual_clip": "actor.dual_clip",
    "dynamic_filtering": "algo.dynamic_filtering_enable",
    "enable_vllm_is_correction": "algo.advantage.is_correction_enable",
    "vllm_is_truncated_threshold": "algo.advantage.is_correction_threshold",
    "entropy_loss_coef": "actor.entropy_coef",
    "eps_clip": "actor.eps_clip",
    "eps_clip_low_high": "actor.eps_clip_low_high",
    "gamma": "algo.advantage.gamma",
    "init_kl_coef": "algo.kl.init_coef",
    "kl_estimator": "algo.kl.estimator",
    "kl_target": "algo.kl.target",
    "lambd": "algo.advantage.lambd",
    "max_epochs": "train.max_epochs",
    "max_len": "data.max_len",
    "n_samples_per_prompt": "rollout.n_samples_per_prompt",
    "no_advantage_std_norm": "algo.advantage.no_std_norm",
    "normalize_reward": "reward.normalize_enable",
    "overlong_buffer_len": "reward.overlong_buffer_len",
    "policy_loss_type": "actor.policy_loss_type",
    "reward_clip_range": "reward.clip_range",
    "rollout_batch_size": "rollout.batch_size",
    "temperature": "rollout.temperature",
    "top_p": "rollout.top_p",
    "train_batch_size": "train.batch_size",
    "use_kl_loss": "algo.kl.use_loss",
    "async_train": "train.async_enable",
}
FLAT_PAIRS: dict[str, str] = {
    "beta": "model.beta",
    "ipo": "model.ipo_enable",
    "label_smoothing": "model.label_smoothing",
    "nll_loss_coef": "model.nll_loss_coef",
}
"""Options as they were spelled before the dotted ones."""

PREFIXES = (
    "ckpt.",
    "critic.",
    "data.",
    "ds.",
    "eval.",
    "logger.",
    "muon.",
    "adam.",
    "ref.",
    "vllm.",
    "actor.adam.",
    "actor.muon.",
)
_NAMES = """
actor.freeze_visual_encoder
actor.model_name_or_path actor.num_nodes actor.num_gpus_per_node actor.aux_loss_coef
actor.gradient_checkpointing_enable actor.gradient_checkpointing_reentrant actor.optim
actor.lr_scheduler actor.lr_warmup_ratio actor.min_lr_ratio actor.max_norm
algo.dynamic_filtering_range algo.kl.horizon reward.model_name_or_path reward.num_nodes
reward.num_gpus_per_node reward.offload reward.overlong_penalty_factor reward.remote_url
rollout.max_new_tokens
rollout.max_tokens_per_gpu rollout.micro_batch_size rollout.vllm_generate_batch_size
train.agent_func_path train.async_queue_size train.colocate_actor_ref train.colocate_all
train.colocate_critic_reward train.dynamic_batch_enable train.ema_beta train.enable_ema
train.full_determinism_enable train.max_tokens_per_gpu train.micro_batch_size
train.num_episodes train.partial_rollout_enable train.seed use_ms local_rank optim
lr_scheduler lr_warmup_ratio min_lr_ratio max_norm model.aux_loss_coef
model.gradient_checkpointing_enable model.gradient_checkpointing_reentrant
model.model_name_or_path train.batch_size train.max_epochs pretrain reward_pretrain
critic_pretrain remote_rm_url save_path ckpt_path save_steps save_hf_ckpt load_checkpoint
max_ckpt_num logging_steps eval_steps micro_train_batch_size micro_rollout_batch_size
max_samples prompt_max_len generate_max_len max_new_tokens zero_stage bf16 actor_learning_rate
critic_learning_rate learning_rate prompt_data input_key label_key input_template
apply_chat_template gradient_checkpointing packing_samples flash_attn attn_implementation
adam_offload vllm_num_engines vllm_tensor_parallel_size vllm_sync_backend
vllm_gpu_memory_utilization vllm_enable_sleep deepspeed_enable_sleep enforce_eager
enable_prefix_caching colocate_all_models colocate_actor_ref colocate_critic_reward
ref_num_nodes ref_num_gpus_per_node reward_num_nodes reward_num_gpus_per_node critic_num_nodes
critic_num_gpus_per_node actor_num_nodes actor_num_gpus_per_node use_wandb wandb_run_name
wandb_project num_episodes seed lora_rank lora_alpha target_modules value_clip
dynamic_filtering_reward_range overlong_penalty_factor l2 dataset chosen_key rejected_key
ref_pretrain ref_offload runtime-env-json working_dir
"""
NEUTRAL = frozenset(_NAMES.split())
"""Placement, optimisation, models and data; nothing of them moves the target."""
