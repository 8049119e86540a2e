"""Dumps of one small world in every format, to the letter of what each framework writes.

The world is skewed on purpose: groups of unequal outcome, long and short answers, a policy that
has moved, rewards that tie. Where a framework's own writer is plain Python it is called; the rest
is written field by field.
"""

import json
import pickle
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Rollout:
    """One candidate with everything any framework records."""

    step: int
    group: int
    place: int
    prompt_ids: list[int]
    ids: list[int]
    reward: float
    mu: list[float]
    old: list[float]
    ref: list[float]
    prompt: str
    completion: str
    advantage: float = 0.0


@dataclass
class World:
    """Rollouts of some steps, groups of one size K."""

    k: int
    rollouts: list[Rollout] = field(default_factory=list)

    def of_step(self, step: int) -> list[Rollout]:
        return [r for r in self.rollouts if r.step == step]

    @property
    def steps(self) -> list[int]:
        return sorted({r.step for r in self.rollouts})

    def groups(self) -> dict[tuple[int, int], list[Rollout]]:
        found: dict[tuple[int, int], list[Rollout]] = {}
        for r in self.rollouts:
            found.setdefault((r.step, r.group), []).append(r)
        return found


def make_world(seed: int = 0, steps: int = 3, groups: int = 6, k: int = 4) -> World:
    rng = np.random.default_rng(seed)
    world = World(k)
    for step in range(1, steps + 1):
        for group in range(groups):
            prompt_ids = rng.integers(10, 90, size=int(rng.integers(2, 6))).tolist()
            ease = rng.beta(0.6, 0.8)
            for place in range(k):
                length = int(rng.integers(1, 9))
                mu = -rng.gamma(0.7, 0.6, size=length)
                old = np.minimum(mu + 0.1 * rng.normal(size=length), 0.0)
                ref = np.minimum(old - 0.2 * np.abs(rng.normal(size=length)), 0.0)
                reward = float(rng.random() < ease) + (0.25 if group == 1 else 0.0)
                world.rollouts.append(
                    Rollout(
                        step,
                        group,
                        place,
                        prompt_ids,
                        rng.integers(100, 999, size=length).tolist(),
                        reward,
                        np.round(mu, 6).tolist(),
                        np.round(old, 6).tolist(),
                        np.round(ref, 6).tolist(),
                        f"step {step} question {group}?",
                        f"answer {place} of {group} </script> «ü»",
                    )
                )
    for members in world.groups().values():
        mean = sum(r.reward for r in members) / len(members)
        deviation = (sum((r.reward - mean) ** 2 for r in members) / (len(members) - 1)) ** 0.5
        for r in members:
            r.advantage = (r.reward - mean) / (deviation + 1e-4)
    return world


def lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_verl(world: World, root: Path, version: int = 1) -> Path:
    for step in world.steps:
        rows = []
        for r in world.of_step(step):
            row = {"input": r.prompt, "output": r.completion, "gts": "4", "score": r.reward}
            row["step"] = step
            if version == 1:
                row["uid"] = f"{step:04x}-{r.group:04x}_x_{r.place}_0"
            else:
                row |= {"acc": float(r.reward >= 1), "request_id": f"r-{r.group}-{r.place}"}
            rows.append(row)
        if version == 0:
            np.random.default_rng(step).shuffle(rows)
        lines(root / f"{step}.jsonl", rows)
    return root


def write_trl(world: World, root: Path) -> Path:
    import pandas as pd

    folder = root / "completions"
    folder.mkdir(parents=True, exist_ok=True)
    for step in world.steps:
        rows = world.of_step(step)
        table = {
            "step": [step] * len(rows),
            "prompt": [r.prompt for r in rows],
            "completion": [r.completion for r in rows],
            "accuracy_reward": [float(r.reward >= 1) for r in rows],
            "format_reward": [r.reward - float(r.reward >= 1) for r in rows],
            "advantage": [r.advantage for r in rows],
        }
        pd.DataFrame(table).to_parquet(folder / f"completions_{step:05d}.parquet")
    return root


def write_nemo(world: World, root: Path) -> Path:
    for step in world.steps:
        rows = []
        for idx, r in enumerate(world.of_step(step)):
            pad, p = 2, len(r.prompt_ids)
            zeros = [0.0] * p
            rows.append(
                {
                    "content": [[r.prompt, r.completion]],
                    "rewards": [r.reward],
                    "input_lengths": [p + len(r.ids)],
                    "token_ids": [r.prompt_ids + r.ids + [0] * pad],
                    "token_loss_mask": [[0] * p + [1] * len(r.ids) + [0] * pad],
                    "sample_loss_mask": [1.0],
                    "advantages": [zeros + [r.advantage] * len(r.ids) + [0.0] * pad],
                    "generation_logprobs": [zeros + r.mu + [0.0] * pad],
                    "prev_logprobs": [[-3.0] * p + r.old + [0.0] * pad],
                    "idx": idx,
                }
            )
        lines(root / "exp_001" / f"train_data_step{step}.jsonl", rows)
    lines(root / "exp_001" / "val_data_step1.jsonl", [{"content": ["x"], "rewards": 1.0}])
    return root


def _numpy_tensor(array: np.ndarray) -> dict[str, Any]:
    return {
        "format": "numpy",
        "data": array.tobytes(),
        "shape": array.shape,
        "dtype": str(array.dtype),
    }


def _torch_tensor(array: np.ndarray) -> dict[str, Any]:
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(torch.tensor(array).to(torch.bfloat16), buffer)
    return {"format": "torch", "data": buffer.getvalue()}


def skyrl_module() -> Any:
    """Stand-ins for SkyRL's module, so that the pickle names what SkyRL's names."""
    import sys
    import types

    name = "skyrl.backends.skyrl_train.training_batch"
    module = types.ModuleType(name)

    class TrainingInputBatch(dict):
        def __reduce__(self) -> Any:
            return module._rebuild_tensor_batch, (type(self), dict(self))

    def _rebuild_tensor_batch(cls: Any, state: Any) -> Any:
        return state

    for thing in (TrainingInputBatch, _rebuild_tensor_batch):
        thing.__module__, thing.__qualname__ = name, thing.__name__
        setattr(module, thing.__name__, thing)
    for depth in range(1, name.count(".") + 1):
        parent = ".".join(name.split(".")[:depth])
        sys.modules.setdefault(parent, types.ModuleType(parent))
    sys.modules[name] = module
    return module


def write_skyrl(world: World, root: Path, pad_size: int = 2, bf16: bool = False) -> Path:
    import torch

    module = skyrl_module()
    folder = root / "dumped_data"
    folder.mkdir(parents=True, exist_ok=True)
    for step in world.steps:
        rows = world.of_step(step) + world.of_step(step)[:pad_size]
        width = max(len(r.ids) for r in rows)

        def left(name: str, rows: list[Rollout] = rows, width: int = width) -> np.ndarray:
            values = [getattr(r, name) for r in rows]
            return np.array([[0] * (width - len(v)) + list(v) for v in values], np.float32)

        mask = np.array([[0] * (width - len(r.ids)) + [1] * len(r.ids) for r in rows], np.int64)
        advantage = mask.astype(np.float32) * np.array([[r.advantage] for r in rows], np.float32)
        pack = _torch_tensor if bf16 else _numpy_tensor
        k, count = world.k, len(world.of_step(step))
        state = {
            "batch_dict": {
                "sequences": _numpy_tensor(left("ids").astype(np.int64)),
                "response_mask": _numpy_tensor(mask),
                "loss_mask": _numpy_tensor(mask),
                "rollout_logprobs": pack(left("mu")),
                "action_log_probs": pack(left("old")),
                "base_action_log_probs": pack(left("ref")),
                "advantages": _numpy_tensor(advantage),
                "values": None,
            },
            "batch_size": len(rows),
            "device": torch.device("cpu"),
            "metadata": {
                "policy_prompt_boundaries": [(i, i + k) for i in range(0, count, k)],
                "response_length": width,
                "pad_size": pad_size,
            },
        }
        with open(folder / f"global_step_{step}_training_input.pkl", "wb") as file:
            pickle.dump(module.TrainingInputBatch(state), file)
    return root


def write_skyrl_evals(world: World, root: Path) -> Path:
    for step in world.steps:
        rows = [
            {
                "input_prompt": r.prompt,
                "output_response": r.completion,
                "score": [0.0] * (len(r.ids) - 1) + [r.reward] if step == 2 else r.reward,
                "stop_reason": "stop",
                "env_class": "gsm8k",
                "env_extras": {"answer": "4"},
                "data_source": "openai/gsm8k",
            }
            for r in world.of_step(step)
        ]
        folder = root / "dumped_evals" / f"global_step_{step}_evals"
        lines(folder / "openai_gsm8k.jsonl", rows)
        lines(folder / "aggregated_results.jsonl", [{"eval/all/avg_score": 0.5}])
    return root


def write_slime(
    world: World,
    root: Path,
    train: bool = True,
    dict_rewards: bool = False,
    numpy_rewards: bool = False,
) -> Path:
    import torch

    def reward_of(r: Rollout) -> Any:
        if dict_rewards:
            return {"score": r.reward, "len": float(len(r.ids))}
        return np.float32(r.reward) if numpy_rewards else r.reward

    for name in ("rollout_data", "train_data"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for step in world.steps:
        rows = world.of_step(step)
        samples = [
            {
                "group_index": r.group,
                "index": i,
                "rollout_id": None,
                "prompt": r.prompt,
                "tokens": r.prompt_ids + r.ids,
                "response": r.completion,
                "response_length": len(r.ids),
                "label": "4",
                "reward": reward_of(r),
                "loss_mask": [1] * len(r.ids),
                "weight_versions": [str(step)],
                "rollout_log_probs": r.mu,
                "status": "completed",
                "metadata": {"scores": np.arange(3.0)} if numpy_rewards else {},
            }
            for i, r in enumerate(rows)
        ]
        torch.save({"rollout_id": step, "samples": samples}, root / f"rollout_data/{step}.pt")
        if not train:
            continue
        order = np.random.default_rng(step).permutation(len(rows)).tolist()
        trained = [
            {
                "data_parallel_rank": 0,
                "sample_index": i,
                "rollout_position": i,
                "tokens": torch.tensor(rows[i].prompt_ids + rows[i].ids),
                "response_lengths": len(rows[i].ids),
                "loss_masks": torch.ones(len(rows[i].ids), dtype=torch.int),
                "rewards": rows[i].advantage,
                "rollout_log_probs": torch.tensor(rows[i].mu, dtype=torch.float64),
                "log_probs": torch.tensor(rows[i].old, dtype=torch.float64),
                "ref_log_probs": torch.tensor(rows[i].ref, dtype=torch.float64),
                "advantages": torch.full((len(rows[i].ids),), rows[i].advantage),
            }
            for i in order
        ]
        payload = {"format_version": 2, "rollout_id": step, "rank": 0, "samples": trained}
        payload |= {"dp_shards": [], "raw_reward": [r.reward for r in rows]}
        torch.save(payload, root / f"train_data/{step}.pt")
    torch.save({"rollout_id": 1, "samples": []}, root / "rollout_data/eval_1.pt")
    return root


def write_prime(world: World, root: Path, exports: bool = True) -> Path:
    for step in world.steps:
        episodes, packed = [], []
        for r in world.of_step(step):
            p = len(r.prompt_ids)
            nodes = [
                {
                    "message": {"role": "user", "content": r.prompt},
                    "sampled": False,
                    "token_ids": r.prompt_ids,
                    "mask": [False] * p,
                    "logprobs": [],
                },
                {
                    "parent": 0,
                    "message": {"role": "assistant", "content": r.completion},
                    "sampled": True,
                    "token_ids": r.ids,
                    "mask": [True] * len(r.ids),
                    "logprobs": r.mu,
                    "advantages": [r.advantage] * len(r.ids),
                },
            ]
            episodes.append(
                {
                    "id": f"e{step}-{r.group}-{r.place}",
                    "env": {"id": "gsm8k"},
                    "group": {"id": f"g{step}-{r.group}"},
                    "run": {
                        "type": "train",
                        "work": {"type": "train", "step": step, "policy": {"start": 1, "end": 1}},
                    },
                    "ok": True,
                    "traces": [
                        {
                            "id": f"t{r.place}",
                            "nodes": nodes,
                            "rewards": {"correct": {"score": r.reward, "weight": 1.0}},
                        }
                    ],
                }
            )
            packed.append(
                {
                    "token_ids": r.prompt_ids + r.ids,
                    "position_ids": list(range(p + len(r.ids))),
                    "loss_mask": [False] * p + [True] * len(r.ids),
                    "inference_logprobs": [0.0] * p + r.mu,
                    "trainer_logprobs": [-9.0] * p + r.old,
                }
            )
        base = root / "rollouts" / f"step_{step}" / "train"
        lines(base / "effective" / "traces.jsonl", episodes)
        lines(base / "all" / "traces.jsonl", episodes + episodes[:1])
        if exports:
            rows = []
            for i in range(0, len(packed), 2):
                joined = {key: packed[i][key] + packed[i + 1][key] for key in packed[i]}
                rows.append({"schema_version": 1, "step": step, "rank": 0, **joined})
            folder = root / "token_exports" / f"step_{step}"
            lines(folder / "rank_0.jsonl", rows)
            (folder / "STABLE").touch()
    return root


_WIRE = (
    "CREATE TABLE wire_rows (cursor INTEGER PRIMARY KEY, run_id TEXT NOT NULL, run_attempt INTEGER,"
    " split TEXT, iteration INTEGER, group_idx INTEGER, traj_idx INTEGER, purpose TEXT,"
    " sampling_session_id TEXT, seq_id INTEGER, sample_idx INTEGER, policy_version TEXT,"
    " created_at REAL, prompt_tokens TEXT, sampled_tokens TEXT, logprobs TEXT, metadata TEXT)"
)


def write_tinker(world: World, root: Path, capture: bool = True) -> Path:
    for step in world.steps:
        rows = [
            {
                "schema_version": 1,
                "split": "train",
                "iteration": step,
                "group_idx": r.group,
                "traj_idx": r.place,
                "tags": ["gsm8k"],
                "sampling_client_step": step,
                "total_reward": r.reward,
                "final_reward": 0.0,
                "steps": [{"step_idx": 0, "ob_len": 3, "ac_len": len(r.ids), "reward": r.reward}],
            }
            for r in world.of_step(step)
        ]
        lines(root / f"iteration_{step:06d}" / "train_rollout_summaries.jsonl", rows)
    if capture:
        store = sqlite3.connect(root / "capture.db")
        store.execute(_WIRE)
        for r in world.rollouts:
            half = len(r.ids) // 2
            for ids, mu in ((r.ids[:half], r.mu[:half]), (r.ids[half:], r.mu[half:])):
                store.execute(
                    "INSERT INTO wire_rows (run_id, run_attempt, split, iteration, group_idx, "
                    "traj_idx, sampled_tokens, logprobs) VALUES ('r', 1, 'train', ?, ?, ?, ?, ?)",
                    (r.step, r.group, r.place, json.dumps(ids), json.dumps(mu)),
                )
        store.commit()
        store.close()
    return root


def write_swift(world: World, root: Path) -> Path:
    rows = []
    for step in world.steps:
        members = world.of_step(step)
        rows.append(
            {
                "step": [str(step)] * len(members),
                "prompt": [r.prompt for r in members],
                "completion": [r.completion for r in members],
                "MathAccuracy": [r.reward for r in members],
                "advantages": [r.advantage for r in members],
            }
        )
    lines(root / "completions.jsonl", rows)
    return root


def write_open_instruct(world: World, root: Path) -> Path:
    rows = [
        {
            "step": r.step,
            "sample_idx": r.place,
            "prompt_idx": r.group,
            "prompt_tokens": r.prompt_ids,
            "response_tokens": r.ids,
            "reward": r.reward,
            "advantage": r.advantage,
            "finish_reason": "stop",
            "dataset": "gsm8k",
            "ground_truth": [19],
            "request_info": None,
            "logprobs": r.mu,
        }
        for r in world.rollouts
    ]
    half = len(rows) // 2
    lines(root / "run_rollouts_000000.jsonl", rows[:half])
    lines(root / "run_rollouts_000001.jsonl", rows[half:])
    lines(root / "run_metadata.jsonl", [{"git_commit": "x", "model": "y"}])
    return root


def write_areal(world: World, root: Path) -> Path:
    for (step, group), members in world.groups().items():
        rows = [
            {
                "task_id": step * 100 + group,
                "sample_idx": r.place,
                "seqlen": len(r.prompt_ids) + len(r.ids),
                "prompt_len": len(r.prompt_ids),
                "head_version": step,
                "tail_version": step,
                "reward": r.reward,
                "prompt": r.prompt,
                "completion": r.completion,
            }
            for r in members
        ]
        lines(root / "rollout" / str(step) / f"{step * 100 + group}.jsonl", rows)
    return root


def tod_rows(world: World, tokens: bool = False) -> list[dict[str, Any]]:
    rows = []
    for r in world.rollouts:
        row: dict[str, Any] = {"step": r.step, "context": f"c{r.step}-{r.group}"}
        row |= {"candidate": r.place, "prompt": r.prompt, "completion": r.completion}
        row["utility.reward"] = r.reward
        for name in ("mu", "old", "ref"):
            values = getattr(r, name)
            row |= {f"log_{name}_tokens": values} if tokens else {f"log_{name}": sum(values)}
        row["length"] = len(r.ids)
        rows.append(row)
    return rows


def write_tod(world: World, root: Path, kind: str = "parquet", tokens: bool = False) -> Path:
    import polars as pl

    root.mkdir(parents=True, exist_ok=True)
    rows = tod_rows(world, tokens)
    np.random.default_rng(1).shuffle(rows)
    rows.sort(key=lambda row: row["candidate"])
    if kind == "parquet":
        pl.DataFrame(rows).write_parquet(root / "rollouts.parquet")
    else:
        lines(root / "rollouts.jsonl", rows)
    return root
