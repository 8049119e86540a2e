"""verl's own trainer, queue and tracking on one machine, without what needs accelerators.

Ray, TransferQueue, the configuration, the trainer's constructor, its `fit`, `_compute_advantage`,
`_compute_metrics`, Tracking and the clearing of the queue are verl's. What a sampler and the
workers would have written for a step is put into the queue by `put`; weights are not synced.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
import transfer_queue as tq
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf, open_dict
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta

STEP_SECONDS = {"step": 10.0, "gen": 5.0, "old_log_prob": 1.0, "adv": 0.1, "update_actor": 3.0}
"""What the timers of a step would hold; verl divides by them."""


def config(folder: Path, *overrides: str) -> Any:
    """verl's configuration of GRPO with a KL in the loss, small, with a tracking file."""
    given = [
        "algorithm.adv_estimator=grpo",
        "algorithm.norm_adv_by_std_in_grpo=false",
        "actor_rollout_ref.actor.use_kl_loss=true",
        "actor_rollout_ref.actor.kl_loss_coef=0.5",
        "actor_rollout_ref.actor.kl_loss_type=mse",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "actor_rollout_ref.rollout.n=4",
        "data.train_batch_size=4",
        "trainer.v1.trainer_mode=tod_sync",
        "trainer.logger=[file]",
        "trainer.project_name=p",
        "trainer.experiment_name=e",
        f"trainer.default_local_dir={folder}/checkpoints",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=2",
        "transfer_queue.enable=true",
        *overrides,
    ]
    with initialize_config_module("verl.trainer.config", version_base=None):
        made = compose("ppo_trainer", overrides=given)
    OmegaConf.resolve(made)
    return made


@contextmanager
def started(settings: Any) -> Iterator[None]:
    """Ray and the queue; more processors are declared than there are, for the queue's actors."""
    ray.init(num_cpus=32, include_dashboard=False, log_to_driver=False)
    try:
        tq.init(settings.transfer_queue)
        yield
    finally:
        tq.close()
        ray.shutdown()


def nested(rows: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
    """Rows as the queue keeps them."""
    tensors = [torch.as_tensor(np.asarray(row), dtype=dtype) for row in rows]
    return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)


@dataclass(frozen=True)
class Rollout:
    """One answer, and what sampler, reward function and workers know of it."""

    uid: str
    prompt: list[int]
    ids: list[int]
    on: list[int]
    mu: list[float]
    old: list[float]
    ref: list[float]
    reward: float


def rollouts(seed: int, prompts: int, size: int, length: int, words: int = 64) -> list[Rollout]:
    """Random answers of up to ``length`` tokens; numbers are exact in 32 bits."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(prompts):
        prompt = rng.integers(2, words, size=6).tolist()
        for _ in range(size):
            n = int(rng.integers(max(2, length // 2), length + 1))
            on = np.ones(n, dtype=int)
            if n > 6 and rng.random() < 0.3:
                on[2:4] = 0
            mu = -np.ceil(rng.gamma(0.7, 0.6, size=n) * 256) / 256 * on
            old = np.minimum(mu + np.round(5 * rng.normal(size=n)) / 1024, 0.0) * on
            ref = np.minimum(old - np.round(25 * rng.normal(size=n)) / 1024, 0.0) * on
            ids = rng.integers(2, words, size=n).tolist()
            reward = float(np.round(rng.beta(0.6, 0.8) * 64) / 64)
            found.append(
                Rollout(
                    f"s{seed}p{place}", prompt, ids, on.tolist(), *map(list, (mu, old, ref)), reward
                )
            )
    return found


def put(rows: Sequence[Rollout], step: int, *, fields: Sequence[str] = ()) -> KVBatchMeta:
    """Put a step's rollouts as the agent loop and the workers do; the batch is verl's own class.

    Args:
        rows: The rollouts.
        step: The step that they are trained in.
        fields: Fields that are left out.
    """
    places: dict[str, int] = {}
    keys = []
    for row in rows:
        places[row.uid] = places.get(row.uid, -1) + 1
        keys.append(f"{row.uid}_{places[row.uid]}_0")
    scores = [[0.0] * (len(r.ids) - 1) + [r.reward] for r in rows]
    whole = {
        "prompts": nested([r.prompt for r in rows], torch.int64),
        "responses": nested([r.ids for r in rows], torch.int64),
        "response_mask": nested([r.on for r in rows], torch.int64),
        "loss_mask": nested([r.on for r in rows], torch.int64),
        "rollout_log_probs": nested([r.mu for r in rows], torch.float32),
        "old_log_probs": nested([r.old for r in rows], torch.float32),
        "ref_log_prob": nested([r.ref for r in rows], torch.float32),
        "rm_scores": nested(scores, torch.float32),
        "uid": NonTensorStack(*[r.uid for r in rows]),
        "num_turns": NonTensorStack(*[2] * len(rows)),
        "extra_fields": NonTensorStack(
            *[{"reward_extra_info": {"acc": float(r.reward == 1.0)}} for r in rows]
        ),
    }
    kept = {name: value for name, value in whole.items() if name not in fields}
    tags = [
        {
            "status": "success",
            "prompt_len": len(r.prompt),
            "response_len": len(r.ids),
            "seq_len": len(r.prompt) + len(r.ids),
            "global_steps": step,
            "min_global_steps": step - 1,
            "max_global_steps": step - 1,
        }
        for r in rows
    ]
    data = TensorDict(kept, batch_size=[len(rows)])
    tq.kv_batch_put(keys=keys, partition_id="train", fields=data, tags=tags)
    return KVBatchMeta(partition_id="train", keys=keys, tags=tags)


def trainer_of(settings: Any, steps: int, tokenizer: Any = None) -> Any:
    """The trainer that the mode chooses, made by its own constructor; no worker is started."""
    from verl.single_controller.ray import ResourcePoolManager
    from verl.trainer.ppo.v1 import get_trainer_cls

    made = get_trainer_cls(settings.trainer.v1.trainer_mode)(config=settings)
    made.resource_pool_manager = ResourcePoolManager({"global_pool": [1]}, {})
    made.tokenizer = tokenizer
    made.global_steps, made.steps_per_epoch, made.total_training_steps = 0, steps, steps
    made._init_dump_executor()
    made.on_step_end = lambda: None  # weights are synced to no sampler
    return made


def drive(trainer: Any, batches: Sequence[Sequence[Rollout]], **left_out: Any) -> None:
    """The trainer's own `fit` over batches; its own advantages, metrics, tracking and clearing."""

    def step(metrics: dict[str, Any], timing_raw: dict[str, float]) -> KVBatchMeta:
        batch = put(batches[trainer.global_steps - 1], trainer.global_steps, **left_out)
        trainer._compute_advantage(batch, metrics)
        timing_raw.update(STEP_SECONDS)
        metrics.update({"actor/pg_clipfrac": 0.1, "actor/entropy": 1.5, "actor/grad_norm": 1.0})
        return batch

    trainer.step = step
    with open_dict(trainer.config):
        trainer.config.trainer.total_epochs = 1
    trainer.fit(None)
    trainer.logger.finish()


def tracking(folder: Path) -> Any:
    """Where verl's file logger writes, and what is in force while it does."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["VERL_FILE_LOGGER_PATH"] = str(folder / "tracking.jsonl")
    return folder / "tracking.jsonl"
