"""Facts of TRL 1.16: defaults of what decides the target, and names of everything else.

Read off the configuration classes of that version; facts, no code of theirs.
"""

from typing import Any

VERSION = "1.16.0"

_SAMPLING: dict[str, Any] = {
    "num_generations": 8,
    "max_completion_length": 512,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": None,
    "repetition_penalty": 1.0,
    "generation_kwargs": None,
    "generation_batch_size": None,
    "steps_per_generation": None,
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": 8,
    "use_vllm": False,
}
_REFERENCE: dict[str, Any] = {
    "sync_ref_model": False,
    "ref_model_mixup_alpha": 0.6,
    "ref_model_sync_steps": 512,
}
_PAIRS: dict[str, Any] = {
    "beta": 0.1,
    "label_smoothing": 0.0,
    "loss_type": "sigmoid",
    "max_length": 1024,
}

DEFAULTS: dict[str, dict[str, Any]] = {
    "GRPOConfig": {
        **_SAMPLING,
        **_REFERENCE,
        "beta": 0.0,
        "num_iterations": 1,
        "epsilon": 0.2,
        "epsilon_high": None,
        "delta": None,
        "sapo_temperature_neg": 1.05,
        "sapo_temperature_pos": 1.0,
        "importance_sampling_level": "token",
        "reward_weights": None,
        "multi_objective_aggregation": "sum_then_normalize",
        "scale_rewards": "group",
        "loss_type": "dapo",
        "mask_truncated_completions": False,
        "top_entropy_quantile": 1.0,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "sequence_mask",
        "vllm_importance_sampling_clip_max": 3.0,
        "vllm_importance_sampling_clip_min": None,
        "off_policy_mask_threshold": None,
        "use_bias_correction_kl": True,
    },
    "RLOOConfig": {
        **_SAMPLING,
        **_REFERENCE,
        "num_generations": 2,
        "beta": 0.05,
        "num_iterations": 1,
        "epsilon": 0.2,
        "epsilon_high": None,
        "reward_weights": None,
        "normalize_advantages": False,
        "reward_clip_range": None,
        "mask_truncated_completions": False,
    },
    "DPOConfig": {
        **_PAIRS,
        **_REFERENCE,
        "truncation_mode": "keep_start",
        "loss_weights": None,
        "ld_alpha": None,
        "f_divergence_type": "reverse_kl",
        "use_weighting": False,
        "precompute_ref_log_probs": False,
    },
    "CPOConfig": {
        **_PAIRS,
        "max_completion_length": None,
        "cpo_alpha": 1.0,
        "simpo_gamma": 0.5,
        "alpha": 0.0,
    },
    "ORPOConfig": {"beta": 0.1, "max_length": 1024, "max_completion_length": None},
    "KTOConfig": {
        **_REFERENCE,
        "beta": 0.1,
        "loss_type": "kto",
        "desirable_weight": 1.0,
        "undesirable_weight": 1.0,
        "max_length": 1024,
        "precompute_ref_log_probs": False,
    },
    "SFTConfig": {
        "max_length": 1024,
        "truncation_mode": "keep_start",
        "packing": False,
        "packing_strategy": "bfd",
        "completion_only_loss": None,
        "assistant_only_loss": False,
        "loss_type": "nll",
        "dataset_text_field": "text",
    },
    "DistillationConfig": {
        "teacher_model_name_or_path": None,
        "per_device_train_batch_size": 8,
        "beta": 1.0,
        "max_completion_length": 512,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        "use_vllm": False,
    },
    "OnlineDPOConfig": {
        "beta": 0.1,
        "loss_type": "sigmoid",
        "max_new_tokens": 64,
        "max_length": 512,
        "missing_eos_penalty": None,
        "reward_weights": None,
        "per_device_train_batch_size": 8,
        "temperature": 0.9,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        "generation_kwargs": None,
        "use_vllm": False,
    },
    "GKDConfig": {
        "teacher_model_name_or_path": None,
        "per_device_train_batch_size": 8,
        "temperature": 0.9,
        "lmbda": 0.5,
        "beta": 0.5,
        "max_new_tokens": 128,
        "seq_kd": False,
        "max_length": 1024,
    },
}
ELSEWHERE: dict[str, str] = {
    "PPOConfig": "TRL 1.16 has no PPO any more, so there are no defaults to read it by.",
}
"""Classes of other versions, and why they have no reader."""
DEFAULTS["GKDConfig"] = {**DEFAULTS["SFTConfig"], **DEFAULTS["GKDConfig"]}
DEFAULTS["GMPOConfig"] = {**DEFAULTS["GRPOConfig"], "epsilon": 0.4}

OWN: dict[str, frozenset[str]] = {
    "GRPOConfig": frozenset(
        {"scale_rewards", "importance_sampling_level", "multi_objective_aggregation", "delta"}
        | {"sapo_temperature_neg", "sapo_temperature_pos", "use_bias_correction_kl"}
        | {"top_entropy_quantile", "off_policy_mask_threshold", "vllm_importance_sampling_mode"}
    ),
    "RLOOConfig": frozenset({"normalize_advantages", "reward_clip_range"}),
    "DPOConfig": frozenset(
        {"f_divergence_type", "ld_alpha", "use_weighting", "discopop_tau", "loss_weights"}
    ),
    "CPOConfig": frozenset({"cpo_alpha", "simpo_gamma"}),
    "KTOConfig": frozenset({"desirable_weight", "undesirable_weight"}),
    "SFTConfig": frozenset(
        {"packing", "completion_only_loss", "assistant_only_loss", "dataset_text_field"}
        | {"packing_strategy", "eval_packing"}
    ),
    "GKDConfig": frozenset({"lmbda", "seq_kd"}),
    "OnlineDPOConfig": frozenset({"missing_eos_penalty"}),
    "DistillationConfig": frozenset({"teacher_model_revision"}),
}
"""Settings that give a class away when a file does not name it."""

TRAINERS: dict[str, str] = {
    "GRPOTrainer": "GRPOConfig",
    "RLOOTrainer": "RLOOConfig",
    "DPOTrainer": "DPOConfig",
    "CPOTrainer": "CPOConfig",
    "ORPOTrainer": "ORPOConfig",
    "KTOTrainer": "KTOConfig",
    "SFTTrainer": "SFTConfig",
    "GKDTrainer": "GKDConfig",
    "GMPOTrainer": "GMPOConfig",
    "OnlineDPOTrainer": "OnlineDPOConfig",
    "DistillationTrainer": "DistillationConfig",
}

_NAMES = """
output_dir num_train_epochs max_steps learning_rate lr_scheduler_type lr_scheduler_kwargs
warmup_steps warmup_ratio optim optim_args weight_decay adam_beta1 adam_beta2 adam_epsilon
optim_target_modules average_tokens_across_devices max_grad_norm label_smoothing_factor bf16
fp16 bf16_full_eval fp16_full_eval tf32 activation_checkpointing
activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs
torch_compile torch_compile_backend torch_compile_mode use_liger_kernel liger_kernel_config
use_cache neftune_noise_alpha torch_empty_cache_steps auto_find_batch_size logging_strategy
logging_steps logging_first_step log_on_each_node logging_nan_inf_filter
include_num_input_tokens_seen log_level logging_dir log_level_replica disable_tqdm report_to
run_name project trackio_space_id trackio_bucket_id trackio_static_space_id eval_strategy
eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start
eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics
batch_eval_metrics save_only_model save_strategy save_steps save_on_each_node save_total_limit
enable_jit_checkpoint push_to_hub hub_token hub_private_repo hub_model_id hub_strategy
hub_always_push hub_revision load_best_model_at_end metric_for_best_model greater_is_better
ignore_data_skip seed data_seed use_cpu deepspeed restore_callback_states_from_checkpoint
full_determinism accelerator_config parallelism_config dataloader_drop_last
dataloader_num_workers dataloader_pin_memory fsdp fsdp_config debug
dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context
dataloader_in_order remove_unused_columns label_names train_sampling_strategy
length_column_name ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers
ddp_static_graph ddp_backend ddp_timeout skip_memory_metrics do_train do_eval do_predict
resume_from_checkpoint local_rank per_device_train_batch_size gradient_accumulation_steps
save_safetensors group_by_length overwrite_output_dir model_init_kwargs trust_remote_code
router_aux_loss_coef disable_dropout cast_lm_head_to_fp32 num_generations_eval
ds3_gather_for_generation shuffle_dataset pad_to_multiple_of chat_template_kwargs
cache_implementation vllm_mode vllm_model_impl vllm_enable_sleep_mode
vllm_structured_outputs_regex vllm_server_base_url vllm_server_host vllm_server_port
vllm_server_timeout vllm_group_port vllm_gpu_memory_utilization vllm_max_model_length
vllm_tensor_parallel_size max_tool_calling_iterations log_completions log_multimodal
num_completions_to_print log_unique_prompts log_completions_hub_repo
use_transformers_continuous_batching transformers_continuous_batching_config
use_transformers_paged dataset_num_proc padding_free precompute_ref_batch_size
f_alpha_divergence_coef discopop_tau activation_offloading pad_token eos_token
chat_template_path dataset_kwargs eval_packing teacher_model_revision
teacher_model_init_kwargs generate_during_eval is_encoder_decoder padding_value
reward_model_path entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target vespo_k_pos
vespo_lambda_pos vespo_k_neg vespo_lambda_neg model_name_or_path model_revision dtype
torch_dtype attn_implementation use_peft lora_r lora_alpha lora_dropout lora_target_modules
lora_target_parameters lora_modules_to_save lora_task_type use_rslora use_dora load_in_8bit
load_in_4bit bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage dataset_name
dataset_config dataset_train_split dataset_test_split dataset_streaming datasets streaming
test_split_size reward_funcs reward_model_name_or_path ignore_bias_buffers dataset_path env
config accelerate_config num_processes generation_kwargs
"""
NEUTRAL = frozenset(_NAMES.split())
"""Optimisation, logging, placement, models and data: nothing of them moves the target."""
