"""slime: rollout and train dumps, through its own ``Sample`` and both of its writers."""

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from given import Rollout, by_step


def write(given: list[Rollout], out: Path) -> str:
    """``rollout_data/``, ``train_data/`` and an evaluation; one rank stands in for Megatron's."""
    rollout = importlib.import_module("slime.observability.rollout_data_utils")
    train = importlib.import_module("slime.observability.train_data_utils")
    sample = importlib.import_module("slime.utils.types").Sample
    _one_rank()
    for step, rows in by_step(given):
        samples = [_sample(sample, i, r) for i, r in enumerate(rows)]
        template = str(out / "rollout_data/{rollout_id}.pt")
        rollout.save_debug_rollout_data(template, samples, rollout_id=step, evaluation=False)
        evals = {"gsm8k": {"samples": samples[:2]}}
        rollout.save_debug_rollout_data(template, evals, rollout_id=step, evaluation=True)
        data = _train_data(rows, samples)
        rollout.tensorize_rollout_data_for_training(data)
        data |= {
            name: [torch.tensor(getattr(rows[i], key)) for i in data["partition"]]
            for name, key in (("log_probs", "old"), ("ref_log_probs", "ref"))
        }
        data["advantages"] = [
            torch.full((len(rows[i].ids),), rows[i].advantage) for i in data["partition"]
        ]
        args = SimpleNamespace(save_debug_train_data=str(out / "train_data/{rollout_id}.pt"))
        train.save_debug_train_data(args, rollout_id=step, rollout_data=data)
    return "slime"


def _one_rank() -> None:
    mpu = SimpleNamespace(
        is_pipeline_last_stage=lambda **_: True,
        get_tensor_model_parallel_rank=lambda: 0,
        get_context_parallel_rank=lambda: 0,
        get_data_parallel_rank=lambda **_: 0,
        get_data_parallel_world_size=lambda **_: 1,
        get_data_parallel_src_rank=lambda **_: 0,
    )
    core: Any = ModuleType("megatron.core")
    core.mpu = mpu
    parallel: Any = ModuleType("slime.backends.megatron_utils.cp_utils")
    parallel.all_gather_with_cp = lambda value, *_: value
    for name in ("megatron", "slime.backends", "slime.backends.megatron_utils"):
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules["megatron.core"] = core
    sys.modules[parallel.__name__] = parallel
    torch.distributed.get_rank = lambda: 0


def _sample(kind: Any, index: int, r: Rollout) -> Any:
    """A sample built turn by turn, as a rollout function builds it: model, tool, model."""
    sample = kind(group_index=r.group, index=index, prompt=" ".join(f"w{t}" for t in r.prompt))
    sample.tokens = list(r.prompt)
    at = 0
    while at < len(r.ids):
        end = at + 1
        while end < len(r.ids) and r.on[end] == r.on[at]:
            end += 1
        text = " ".join(f"w{t}" for t in r.ids[at:end])
        if r.on[at]:
            meta = {
                "finish_reason": {"type": "stop"},
                "weight_version": str(r.step - (at == 0 and r.place == 1)),
                "prompt_tokens": len(r.prompt),
            }
            sample.append_response_tokens(
                tokens=r.ids[at:end], log_probs=r.mu[at:end], meta_info=meta, text=text
            )
        else:
            sample.append_response_tokens(tokens=r.ids[at:end], trainable=False, text=text)
        at = end
    sample.label, sample.reward = "4", r.reward
    if r.group == 1:  # as a reward function in numpy leaves it
        sample.reward = np.float32(r.reward) if r.place else np.float64(r.reward)
        sample.metadata = {"right": np.bool_(r.reward == 1.0), "seen": np.arange(3)}
    return sample


def _train_data(rows: list[Rollout], samples: list[Any]) -> dict[str, Any]:
    """The columns the one rank gets: a batch of eight of twelve, as slime's schedule packs it."""
    schedule = importlib.import_module("slime.utils.dp_schedule").build_dp_schedule
    args = SimpleNamespace(
        micro_batch_size=2, use_dynamic_batch_size=True, max_tokens_per_gpu=20,
        balance_data=False, balance_by_flops=False,
    )  # fmt: skip
    parallel = {"dp_size": 1, "cp_size": 1, "vpp_size": 1, "microbatch_group_size_per_vp_stage": 1}
    (kept,), (micro,), counts, sizes = schedule(
        args,
        parallel,
        [len(s.tokens) for s in samples],
        global_batch_size=8,
        rollout_indices=[s.index for s in samples],
    )
    return {
        "tokens": [samples[i].tokens for i in kept],
        "response_lengths": [samples[i].response_length for i in kept],
        "total_lengths": [len(samples[i].tokens) for i in kept],
        "rewards": [rows[i].advantage for i in kept],
        "raw_reward": [r.reward for r in rows],
        "truncated": [0 for _ in kept],
        "sample_indices": [samples[i].index for i in kept],
        "rollout_ids": kept,
        "loss_masks": [samples[i].loss_mask or [1] * samples[i].response_length for i in kept],
        "rollout_mask_sums": [sum(rows[i].on) for i in kept],
        "rollout_log_probs": [samples[i].rollout_log_probs for i in kept],
        "partition": kept,
        "micro_batch_indices": micro,
        "num_microbatches": counts,
        "global_batch_sizes": sizes,
    }
