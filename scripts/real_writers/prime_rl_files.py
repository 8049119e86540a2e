"""prime-rl: episodes through its file monitor, packed sequences through its token exporter."""

import asyncio
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from given import Rollout, by_step
from stand_ins import leave_out


def write(given: list[Rollout], out: Path) -> str:
    """``rollouts/`` and ``token_exports/`` of both steps; a judge has a trace of its own."""
    leave_out("wandb", "mlflow", "vllm", "flash_attn", "ring_flash_attn", "torchtitan", "pynvml")
    leave_out(
        "dion",
        "liger_kernel",
        "deepspeed",
        "ray",
        "prime_rl.monitors.wandb",
        "prime_rl.monitors.prime",
    )
    monitor = importlib.import_module("prime_rl.monitors.file").FileMonitor
    export = importlib.import_module("prime_rl.trainer.rl.token_export").TokenExporter
    self = SimpleNamespace(output_dir=out)
    exporter = export(out, 0)
    for step, rows in by_step(given):
        episodes = [_episode(r) for r in rows]
        cast = [
            ("train", "all", episodes),
            ("train", "effective", episodes[:]),
            ("eval", "all", episodes[:2]),
        ]
        for kind, subset, some in cast:
            asyncio.run(monitor.log_episodes(self, some, step, kind, subset))
        for micro, pair in enumerate(zip(rows[::2], rows[1::2], strict=True)):
            _export(exporter, step, micro, list(pair))
        exporter.mark_stable()
    return "prime-rl"


def _messages(r: Rollout) -> list[tuple[bool, list[int], list[float]]]:
    """Who wrote, which tokens and their log-probs, message by message."""
    found = [(False, r.prompt, [0.0] * len(r.prompt))]
    at = 0
    while at < len(r.ids):
        end = at + 1
        while end < len(r.ids) and r.on[end] == r.on[at]:
            end += 1
        found.append((bool(r.on[at]), r.ids[at:end], r.mu[at:end]))
        at = end
    return found


def _trace(r: Rollout, vf: Any, *, judge: bool = False) -> Any:
    nodes = []
    for place, (sampled, ids, mu) in enumerate(_messages(r)):
        text = " ".join(f"w{t}" for t in ids)
        message = (
            vf.types.AssistantMessage(content=text)
            if sampled
            else vf.types.UserMessage(content=text)
        )
        nodes.append(
            vf.graph.MessageNode(
                parent=place - 1 if place else None,
                message=message,
                sampled=sampled,
                timestamp=1.0,
                token_ids=ids,
                mask=[sampled] * len(ids),
                logprobs=mu if sampled else [],
                advantages=[r.advantage] * len(ids) if sampled else None,
            )
        )
    rewards = {"correct": vf.trace.Reward(score=r.reward, weight=1.0)}
    rewards |= {"short": vf.trace.Reward(score=1.0 / len(r.ids), weight=0.0), "unscored": None}
    config = vf.configs.WireAgentConfig.model_construct()
    agent = vf.trace.AgentInfo.model_construct(
        config=config, runtime=None, name="judge" if judge else "agent", trainable=not judge
    )
    return vf.trace.WireTrace.model_construct(
        id=f"{'j' if judge else 't'}{r.step}-{r.group}-{r.place}", task=_task(r, vf), agent=agent,
        nodes=nodes, rewards=rewards, ok=True, is_completed=True,
        timing=vf.trace.Timing(start=1.0),
        verifiers=vf.trace.VersionInfo(version="0", commit=None),
    )  # fmt: skip


def _task(r: Rollout, vf: Any) -> Any:
    data = vf.task.WireTaskData.model_construct(question=" ".join(f"w{t}" for t in r.prompt))
    return vf.trace.TraceTask.model_construct(type="Task", data=data, key=str(r.group))


def _episode(r: Rollout) -> Any:
    names = ("episode", "trace", "graph", "types", "task")
    vf = SimpleNamespace(**{n: importlib.import_module(f"verifiers.v1.{n}") for n in names})
    vf.configs = importlib.import_module("verifiers.v1.configs.agent")
    work = vf.episode.TrainWorkInfo(
        step=r.step, policy=vf.episode.PolicySpan(start=r.step - 1, end=r.step - 1)
    )
    traces = [_trace(r, vf)] + ([_trace(r, vf, judge=True)] if r.place == 0 else [])
    return vf.episode.WireEpisode.model_construct(
        id=f"e{r.step}-{r.group}-{r.place}",
        env=vf.episode.EnvInfo(id="gsm8k", name="gsm8k"),
        task=_task(r, vf),
        group=vf.episode.GroupInfo(id=f"g{r.step}-{r.group}"),
        run=vf.episode.TrainRunInfo(id="r", work=work),
        ok=True, errors=[], traces=traces,
    )  # fmt: skip


def _export(exporter: Any, step: int, micro: int, rows: list[Rollout]) -> None:
    """Two sequences packed into one batch and padded, as the trainer sees them."""
    config = importlib.import_module("prime_rl.configs.trainer").DefaultLossConfig()
    columns: dict[str, list[Any]] = {
        name: [] for name in ("ids", "at", "on", "a", "mu", "now", "env")
    }
    for r in rows:
        p, n = len(r.prompt), len(r.ids)
        columns["ids"] += r.prompt + r.ids
        columns["at"] += range(p + n)
        columns["on"] += [False] * p + [bool(x) for x in r.on]
        columns["a"] += [0.0] * p + [r.advantage] * n
        columns["mu"] += [0.0] * p + r.mu
        columns["now"] += [float("-inf")] + [-9.0] * (p - 1) + r.old
        columns["env"] += ["gsm8k"] * (p + n)
    lengths = [len(r.prompt) + len(r.ids) for r in rows]
    for name, fill in (
        ("ids", 0),
        ("at", 0),
        ("on", False),
        ("a", 0.0),
        ("mu", 0.0),
        ("now", 0.0),
        ("env", ""),
    ):
        columns[name] += [fill] * 3
    lengths[-1] += 3
    batch = {
        "input_ids": torch.tensor(columns["ids"]), "position_ids": torch.tensor(columns["at"]),
        "loss_mask": torch.tensor(columns["on"]), "advantages": torch.tensor(columns["a"]),
        "inference_logprobs": torch.tensor(columns["mu"]), "env_names": columns["env"],
    }  # fmt: skip
    output = {"logprobs": torch.tensor(columns["now"]), "entropy": torch.ones(len(columns["ids"]))}
    exporter.export(step, micro, batch, output, lengths, config)
