"""AReaL: the rollout dump of its workflow executor, on what its own workflows return."""

import asyncio
import importlib
import logging
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from given import Rollout, groups, tokenizer
from stand_ins import leave_out


def write(given: list[Rollout], out: Path) -> str:
    """``rollout/{version}/{task}.jsonl``: a task is a prompt, its samples a grouped workflow's."""
    leave_out("numba", "uvloop", "sglang", "vllm")
    executor = importlib.import_module("areal.infra.workflow_executor")
    asyncio.run(_write_all(executor, given, out))
    return f"areal {version('areal')}"


async def _write_all(executor: Any, given: list[Rollout], out: Path) -> None:
    self = SimpleNamespace(
        _get_dump_dir=lambda is_eval: str(out / ("eval-rollout" if is_eval else "rollout")),
        _get_tokenizer=tokenizer,
        logger=logging.getLogger("areal"),
    )
    for task, rows in enumerate(groups(given)):
        trajectory = await _episode(rows, self.logger)
        done = await executor.WorkflowExecutor._dump_trajectory(self, trajectory, task, False)
        assert done == (True, ""), done


class _Engine:
    """Answers with the rollouts it was given, one after the other."""

    def __init__(self, rows: list[Rollout], response: Any) -> None:
        self.rows = iter(rows)
        self.response = response

    async def agenerate(self, _: Any) -> Any:
        r = next(self.rows)
        versions = [r.step - (r.place == 1)] * len(r.ids)
        versions[-1] = r.step
        return self.response(
            input_tokens=r.prompt,
            output_tokens=r.ids,
            output_logprobs=r.mu,
            output_versions=versions,
        )


async def _episode(rows: list[Rollout], logger: Any) -> Any:
    rlvr = importlib.import_module("areal.workflow.rlvr")
    remote = importlib.import_module("areal.infra.remote_inf_engine")
    api = importlib.import_module("areal.api.io_struct")
    settings = importlib.import_module("areal.api.cli_args").GenerationHyperparameters()
    rewards = {tuple(r.ids): r.reward for r in rows}
    workflow = rlvr.RLVRWorkflow(
        lambda *_, **__: 0.0, settings, tokenizer(), get_input_ids_fn=lambda *_: rows[0].prompt
    )

    async def reward(_: Any, __: Any, ___: Any, ids: list[int], **____: Any) -> float:
        return rewards[tuple(ids)]

    workflow.async_reward_fn = reward
    grouped = remote.GroupedRolloutWorkflow(workflow, len(rows), logger)
    return await grouped.arun_episode(_Engine(rows, api.ModelResponse), {"messages": []})
