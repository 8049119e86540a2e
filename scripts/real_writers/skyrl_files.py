"""SkyRL: the dumped training input, through the trainer's own conversion, advantages and dump."""

import importlib
import typing
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import typing_extensions
from given import K, Rollout, by_step, tokenizer
from stand_ins import leave_out


def write(given: list[Rollout], out: Path) -> str:
    """``plain/`` of one and ``bf16/`` of half precision, both padded to the data ranks."""
    typing.TypedDict = typing_extensions.TypedDict  # type: ignore[assignment,misc] # pydantic < 3.12
    leave_out("skyrl_gym", "hydra", "wandb", "vllm", "flash_attn", "jax", "flax", "optax")
    trainer = importlib.import_module("skyrl.train.trainer")
    for step, rows in by_step(given):
        _write(trainer.RayPPOTrainer, step, rows, out / "plain", torch.float32)
        _write(trainer.RayPPOTrainer, step, rows, out / "bf16", torch.bfloat16)
        _write_evaluation(step, rows, out / "evals")
    return f"skyrl {version('skyrl')}"


def _namespace(data: Any) -> Any:
    if isinstance(data, dict):
        return SimpleNamespace(**{key: _namespace(value) for key, value in data.items()})
    return data


def _config(out: Path) -> Any:
    algorithm = {
        "max_seq_len": 32, "advantage_estimator": "grpo", "gamma": 1.0, "lambd": 1.0,
        "grpo_norm_by_std": True,
        "off_policy_correction": {"tis_ratio_type": None, "sequence_mask_metric": None},
    }  # fmt: skip
    trainer = {
        "algorithm": algorithm, "train_batch_size": 3, "policy_mini_batch_size": 3,
        "critic": {"model": {"path": None}}, "export_path": str(out),
    }  # fmt: skip
    generator = {"n_samples_per_prompt": K, "step_wise_trajectories": False}
    return _namespace({"trainer": trainer, "generator": generator})


def _write(cls: Any, step: int, rows: list[Rollout], out: Path, dtype: torch.dtype) -> None:
    dispatch = SimpleNamespace(get_lcm_dp_size=lambda: 5)  # 12 rows: 3 more fill the batch
    self = SimpleNamespace(
        tokenizer=tokenizer(), cfg=_config(out), all_metrics={}, dispatch=dispatch
    )
    generated = {
        "prompt_token_ids": [r.prompt for r in rows],
        "response_ids": [r.ids for r in rows],
        "rewards": [[0.0] * (len(r.ids) - 1) + [r.reward] for r in rows],
        "loss_masks": [r.on for r in rows],
        "rollout_logprobs": [r.mu for r in rows],
    }
    uids = [f"{r.step}-{r.group}" for r in rows]
    batch = cls.convert_to_training_input(self, generated, uids)
    spare = batch.metadata["pad_size"]
    for key, name in (("action_log_probs", "old"), ("base_action_log_probs", "ref")):
        values = [list(getattr(r, name)) for r in rows + rows[:1] * spare]
        batch[key] = _like(batch["response_mask"], values).to(dtype)
    batch["rollout_logprobs"] = batch["rollout_logprobs"].to(dtype)
    batch["values"] = None
    batch = cls.compute_advantages_and_returns(self, batch)
    for key in ["rewards"]:
        batch.pop(key)
    batch.metadata.pop("uids")
    batch.metadata.pop("is_last_step", None)
    cls.dump_data(self, batch, file_name=f"global_step_{step}_training_input")


def _write_evaluation(step: int, rows: list[Rollout], out: Path) -> None:
    """What ``evaluate`` dumps: scores of two sources, one per answer or one per token."""
    utils = importlib.import_module("skyrl.train.utils.trainer_utils")
    folder = out / "dumped_evals" / f"global_step_{step}_evals"
    folder.mkdir(parents=True, exist_ok=True)
    per_token = [[0.0] * (len(r.ids) - 1) + [r.reward] for r in rows]
    generated = {
        "prompt_token_ids": [r.prompt for r in rows],
        "response_ids": [r.ids for r in rows],
        "rewards": [r.reward for r in rows] if step == 7 else per_token,
        "stop_reasons": ["stop"] * len(rows),
    }
    sources = [None if r.group == 2 else "openai/gsm8k" for r in rows]
    extras = [{"answer": str(r.group)} for r in rows]
    utils.dump_per_dataset_eval_results(
        folder, tokenizer(), generated, sources, ["gsm8k"] * len(rows), extras, {"eval/all": 0.5}
    )


def _like(mask: torch.Tensor, values: list[list[float]]) -> torch.Tensor:
    """The values where SkyRL put the responses, whichever side it pads."""
    found = torch.zeros(mask.shape, dtype=torch.float32)
    flat = [value for row in values for value in row]
    found[mask.bool()] = torch.tensor(flat, dtype=torch.float32)
    return found
