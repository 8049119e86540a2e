"""NeMo-RL: train_data, through its own flattening of message logs and its own JSONL writer."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from given import Rollout, by_step
from stand_ins import leave_out


def write(given: list[Rollout], out: Path) -> str:
    """``exp_001/`` plainly; ``dynamic/`` with the unfiltered rewards of dynamic sampling."""
    leave_out("wandb", "mlflow", "swanlab", "tensorboard", "ray", "matplotlib", "prometheus_client")
    leave_out("hydra", "nvidia_resiliency_ext", "decord", "torchvision", "torchcodec", "blobfile")
    leave_out("torch.utils.tensorboard")
    logger = importlib.import_module("nemo_rl.utils.logger").Logger
    for step, rows in by_step(given):
        data = _columns(rows)
        for folder in ("exp_001", "dynamic/exp_001"):
            self = SimpleNamespace(base_log_dir=str(out / folder))
            if folder != "exp_001":
                data["filtered_rewards"] = data["rewards"]
                data["rewards"] = [0.0] * 8 + [r.reward for r in reversed(rows)]
            logger.log_batched_dict_as_jsonl(self, data, f"train_data_step{step}.jsonl")
    return "nemo-rl"


def _columns(rows: list[Rollout]) -> dict[str, Any]:
    """The columns that the training loop logs, tensors flattened and padded by NeMo-RL."""
    flatten = importlib.import_module("nemo_rl.data.llm_message_utils")
    logs = [_messages(r) for r in rows]
    flat, lengths = flatten.batched_message_log_to_flat_message(logs, {"token_ids": 0})
    on = flat["token_loss_mask"]
    return {
        "content": flat["content"],
        "rewards": [r.reward for r in rows],
        "input_lengths": lengths.tolist(),
        "token_ids": flat["token_ids"].tolist(),
        "token_loss_mask": on.tolist(),
        "sample_loss_mask": [1.0] * len(rows),
        "advantages": (on * torch.tensor([[r.advantage] for r in rows])).tolist(),
        "generation_logprobs": flat["generation_logprobs"].tolist(),
        "prev_logprobs": flat["prev_logprobs"].tolist(),
    }


def _messages(r: Rollout) -> list[dict[str, Any]]:
    """A conversation: the prompt, then model and tool in turns."""
    found = [_message("user", r.prompt, [0.0] * len(r.prompt), [-3.0] * len(r.prompt), 0)]
    at = 0
    while at < len(r.ids):
        end = at + 1
        while end < len(r.ids) and r.on[end] == r.on[at]:
            end += 1
        role = "assistant" if r.on[at] else "tool"
        old = r.old if r.on[at] else [-3.0] * len(r.ids)  # a training forward scores all tokens
        found.append(_message(role, r.ids[at:end], r.mu[at:end], old[at:end], r.on[at]))
        at = end
    return found


def _message(role: str, ids: list[int], mu: list[float], old: list[float], on: int) -> Any:
    return {
        "role": role,
        "content": " ".join(f"w{t}" for t in ids),
        "token_ids": torch.tensor(ids),
        "token_loss_mask": torch.full((len(ids),), on),
        "generation_logprobs": torch.tensor(mu, dtype=torch.float32),
        "prev_logprobs": torch.tensor(old, dtype=torch.float32),
    }
