"""verl: the JSONL of V1 and V0, and the queue dump, through verl's own methods."""

import importlib
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from given import PAD, Rollout, by_step, pad, tokenizer

_SETTINGS = {
    "trainer": {
        "experiment_name": "e",
        "project_name": "p",
        "v1": {"trainer_mode": "sync", "sync": {}},
    },
    "actor_rollout_ref": {"rollout": {"n": 4}},
    "data": {"train_batch_size": 3, "max_response_length": 8, "max_prompt_length": 5},
}


def write(given: list[Rollout], out: Path) -> str:
    """``v1/``, ``v0/``, ``queue/``, ``cache/``; TransferQueue's fetch hands back the batch."""
    v1 = importlib.import_module("verl.trainer.ppo.v1.trainer_base")
    v0 = importlib.import_module("verl.trainer.ppo.ray_trainer")
    skip = importlib.import_module("verl.utils.skip.rollout_skip")
    for step, rows in by_step(given):
        _write_v1(v1, step, rows, out / "v1")
        _write_v0(v0, step, rows, out / "v0")
        _write_queue(skip, step, rows, out / "queue")
        _write_cache(skip, step, rows, out / "cache")
    return f"verl {version('verl')}"


def _keys(rows: list[Rollout]) -> list[str]:
    return [f"{r.step:04x}-{r.group:04x}_{r.place}_0" for r in rows]


def _jagged(rows: list[list[Any]], dtype: torch.dtype) -> torch.Tensor:
    return torch.nested.as_nested_tensor(
        [torch.tensor(row, dtype=dtype) for row in rows], layout=torch.jagged
    )


def _queue(rows: list[Rollout]) -> Any:
    """The fields that V1's agent loop puts into the queue, right-trimmed."""
    tensordict = importlib.import_module("tensordict")
    stack = tensordict.NonTensorStack
    scores = [[0.0] * (len(r.ids) - 1) + [r.reward] for r in rows]
    return tensordict.TensorDict(
        {
            "prompts": _jagged([r.prompt for r in rows], torch.int64),
            "responses": _jagged([r.ids for r in rows], torch.int64),
            "response_mask": _jagged([r.on for r in rows], torch.int64),
            "rollout_log_probs": _jagged([r.mu for r in rows], torch.float32),
            "rm_scores": _jagged(scores, torch.float32),
            "uid": stack(*(key.rsplit("_", 2)[0] for key in _keys(rows))),
            "reward_model": stack(*({"ground_truth": "4"} for _ in rows)),
        },
        batch_size=[len(rows)],
    )


def _write_v1(module: Any, step: int, rows: list[Rollout], out: Path) -> None:
    order = [(5 * i + 3) % len(rows) for i in range(len(rows))]  # the queue keeps no order
    rows = [rows[i] for i in order]
    module.tq = SimpleNamespace(kv_batch_get=lambda **_: _queue(rows))
    self = SimpleNamespace(tokenizer=tokenizer(), global_steps=step)
    for name in ("_init_dump_executor", "_shutdown_dump_executor", "_dump_generations"):
        setattr(self, name, getattr(module.PPOTrainer, name).__get__(self))
    self._write_generations = module.PPOTrainer._write_generations
    self._init_dump_executor()
    batch = SimpleNamespace(keys=_keys(rows), partition_id="train")
    module.PPOTrainer._log_rollout_data(self, batch, {}, str(out))
    self._shutdown_dump_executor()


def _write_v0(module: Any, step: int, rows: list[Rollout], out: Path) -> None:
    order = [(7 * i + 2) % len(rows) for i in range(len(rows))]  # as a balanced batch has it
    rows = [rows[i] for i in order]
    responses = pad([list(r.ids) for r in rows], PAD)
    scores = pad([[0.0] * (len(r.ids) - 1) + [r.reward] for r in rows])
    batch = importlib.import_module("verl.protocol").DataProto.from_dict(
        tensors={
            "prompts": torch.tensor(pad([list(r.prompt) for r in rows], PAD, left=True)),
            "responses": torch.tensor(responses),
            "token_level_scores": torch.tensor(scores, dtype=torch.float32),
        },
        non_tensors={
            "reward_model": np.array([{"ground_truth": "4"}] * len(rows), dtype=object),
            "request_id": np.array([f"r-{r.group}-{r.place}" for r in rows], dtype=object),
        },
    )
    self = SimpleNamespace(tokenizer=tokenizer(), global_steps=step)
    for name in ("_init_dump_executor", "_shutdown_dump_executor", "_dump_generations"):
        setattr(self, name, getattr(module.RayPPOTrainer, name).__get__(self))
    self._write_generations = module.RayPPOTrainer._write_generations
    self._init_dump_executor()
    extras = {"acc": np.array([r.reward == 1.0 for r in rows]), "not_as_long": [1.0]}
    module.RayPPOTrainer._log_rollout_data(self, batch, extras, {}, str(out))
    self._shutdown_dump_executor()


def _write_queue(module: Any, step: int, rows: list[Rollout], out: Path) -> None:
    omegaconf = importlib.import_module("omegaconf").OmegaConf
    whole = omegaconf.create(_SETTINGS)
    local = omegaconf.create({"enable": True, "dump_dir": str(out), "steps": [step]})
    local.action = "cache"
    writer = module.RolloutTqSkip(local, whole)
    sys.modules["transfer_queue"] = SimpleNamespace(kv_batch_get=lambda **_: _queue(rows))  # type: ignore[assignment]
    tags = [
        {
            "min_global_steps": step,
            "max_global_steps": step,
            "prompt_len": len(r.prompt),
            "response_len": len(r.ids),
        }
        for r in rows
    ]
    batch = SimpleNamespace(keys=_keys(rows), partition_id="train", tags=tags)
    writer.prepare_data(step, batch, step)


def _write_cache(module: Any, step: int, rows: list[Rollout], out: Path) -> None:
    """The older cache: a pickled DataProto of what generation returned."""
    omegaconf = importlib.import_module("omegaconf").OmegaConf
    whole = omegaconf.create(_SETTINGS)
    local = omegaconf.create({"enable": True, "dump_dir": str(out), "steps": [step]})
    local.action = "cache"
    batch = importlib.import_module("verl.protocol").DataProto.from_dict(
        tensors={
            "prompts": torch.tensor(pad([list(r.prompt) for r in rows], PAD, left=True)),
            "responses": torch.tensor(pad([list(r.ids) for r in rows], PAD)),
            "response_mask": torch.tensor(pad([list(r.on) for r in rows])),
            "rollout_log_probs": torch.tensor(pad([r.mu for r in rows]), dtype=torch.float32),
            "rm_scores": torch.tensor(
                pad([[0.0] * (len(r.ids) - 1) + [r.reward] for r in rows]), dtype=torch.float32
            ),
        },
        non_tensors={"uid": np.array([f"{r.step}-{r.group}" for r in rows], dtype=object)},
        meta_info={"global_steps": step},
    )
    module.RolloutSkip(local, whole).prepare_data(step, batch)
