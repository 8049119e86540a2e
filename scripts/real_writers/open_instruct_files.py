"""open-instruct: a shard of traces, through its own ``_save_rollouts``."""

import importlib
from pathlib import Path

import numpy as np
from given import K, Rollout, by_step
from stand_ins import leave_out


def write(given: list[Rollout], out: Path) -> str:
    """One shard of both steps; the run's metadata file is its writer's too."""
    leave_out("deepspeed", "beaker", "vllm", "wandb", "ray", "datasets", "peft", "litellm")
    leave_out("openai", "bitsandbytes", "olmo_core", "flash_attn", "langdetect", "nltk", "absl")
    leave_out("immutabledict", "syllapy", "sympy", "pylatexenc")
    writer = importlib.import_module("open_instruct.rl_utils")
    types = importlib.import_module("open_instruct.data_types")
    models = importlib.import_module("open_instruct.model_utils")
    for step, rows in by_step(given):
        n = len(rows)
        batch = models.Batch(
            queries=[r.prompt for r in rows],
            ground_truths=[[2, 3]] * n,
            datasets=["gsm8k"] * n,
            raw_queries=None,
            decoded_responses=None,
            indices=None,
            scores=[r.reward for r in rows],
        )
        info = types.RequestInfo(
            [1] * n, [0] * n, [""] * n, [""] * n, [0.0] * n, [False] * n,
            rollout_states=[{"rewards": [r.reward], "step_count": 1, "done": True} for r in rows],
        )  # fmt: skip
        result = types.GenerationResult(
            responses=[r.ids for r in rows],
            finish_reasons=["stop"] * n,
            masks=[r.on for r in rows],
            request_info=info,
            index=None,
            prompt_id=None,
            logprobs=[r.mu for r in rows],
        )
        advantages = np.array([r.advantage for r in rows])
        writer._save_rollouts(str(out), "run", step, batch, result, advantages, K, 0)
    return "open-instruct"
