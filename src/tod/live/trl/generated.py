"""From one process's tensors to the batch of all processes, as plain arrays."""

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from tod.live.export import LiveBatch
from tod.live.guard import Guard
from tod.live.trl.hooks import Seen
from tod.live.trl.trainer import sampled_exactly, total_name

Rows = dict[str, list[Any]]


def gathered(guard: Guard, trainer: Any, seen: Seen | None) -> list[Rows] | None:
    """The rows of all processes; None where one of them could not read its own.

    Every process calls this for every batch, also one that could not read it: the others would
    wait for it.
    """
    from accelerate.utils import gather_object

    mine = b""
    with guard("reading a batch"):
        if seen is not None:
            mine = pickle.dumps(rows_of(trainer, seen))
    parts = gather_object([mine])
    return [pickle.loads(part) for part in parts] if all(parts) else None  # noqa: S301 - our own


def batch_of(trainer: Any, seen: Seen, parts: list[Rows]) -> LiveBatch:
    """The generated batch of all processes, and of a policy where all of them have it.

    Groups are the runs of ``num_generations`` rows in the order of the processes, as TRL reads
    them for its baselines.
    """
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    joined = {name: [row for part in parts for row in part[name]] for name in shared}
    log = {n[4:]: joined[n] for n in joined if n.startswith("log_")}
    n, size = len(joined["prompt"]), int(trainer.num_generations)
    return LiveBatch.of(
        group=[row // size for row in range(n)],
        prompt=joined["prompt"],
        completion=joined["completion"],
        utility=utilities(trainer, seen.rewards),
        log=log,
        token_ids=joined["ids"],
    )


def utilities(trainer: Any, rewards: Any) -> dict[str, Any]:
    """Every reward function's values and their weighted total as TRL adds them, NaN = not scored.

    The total comes first: it is what a diagnosis without a target tilts by. It skips functions that
    do not apply to a row, and is NaN where none does.
    """
    table = rewards.detach().double().cpu().numpy()
    weights = trainer.reward_weights.detach().double().cpu().numpy()
    names = tuple(str(name) for name in trainer.reward_func_names)
    total = np.nansum(table * weights, axis=1)
    total[np.isnan(table).all(axis=1)] = np.nan
    values = {name: table[:, i] for i, name in enumerate(names)}
    name = total_name(names)
    return {name: total} | {other: x for other, x in values.items() if other != name}


def text_of(item: Any) -> str:
    """A prompt or completion as text; messages one a line, ``role: content``."""
    if isinstance(item, str):
        return item
    lines = []
    for message in item:
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(
                str(part.get("text", "")) for part in content if isinstance(part, dict)
            )
        lines.append(f"{message.get('role', '')}: {content or ''}")
    return "\n".join(lines)


def rows_of(trainer: Any, seen: Seen) -> Rows:
    """This process's candidates, tokens of the policy alone."""
    mask = seen.output["completion_mask"].bool().cpu().numpy()
    tool = seen.output.get("tool_mask")
    ours = np.ones_like(mask) if tool is None else tool.bool().cpu().numpy()
    ids = [np.asarray(row, dtype=np.int64) for row in seen.ids]
    keep = [ours[i, : len(row)].copy() for i, row in enumerate(ids)]
    cut = mask.sum(axis=1) == 0  # masked as truncated: never seen by the forward
    if tool is not None:
        keep = [np.ones_like(k) if cut[i] else k for i, k in enumerate(keep)]

    def ragged(values: Any) -> list[Any]:
        table = values.detach().double().cpu().numpy()
        rows = [table[i, : len(row)][keep[i]] for i, row in enumerate(ids)]
        return [np.full_like(x, np.nan) if cut[i] else x for i, x in enumerate(rows)]

    columns: dict[str, list[Any]] = {
        "prompt": [text_of(item) for item in seen.prompts],
        "completion": [text_of(item) for item in seen.completions],
        "ids": [row[keep[i]] for i, row in enumerate(ids)],
    }
    for name, values in log_probs(trainer, seen).items():
        columns[f"log_{name}"] = ragged(values)
    return columns


def log_probs(trainer: Any, seen: Seen) -> dict[str, Any]:
    """Token log-probs of the batch by policy, [B, T] tensors; what is not known is absent."""
    out = seen.output
    found = {
        "mu": out.get("sampling_per_token_logps"),
        "old": _first(out.get("old_per_token_logps"), out.get("tod_old_logps")),
        "ref": out.get("ref_per_token_logps"),
    }
    if "old_logps" in out:  # RLOO keeps sums alone; its forwards came in this order
        found["old"] = seen.forwards[0]
        found["ref"] = seen.forwards[1] if trainer.beta and len(seen.forwards) > 1 else None
    if found["mu"] is None and sampled_exactly(trainer) is None:
        found["mu"] = found["old"]
    return {name: values for name, values in found.items() if values is not None}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def appended(metrics: Sequence[float], start: int) -> list[float]:
    """What a list of the trainer's metrics gained since it had ``start`` entries."""
    return [float(x) for x in (metrics[start:] if len(metrics) >= start else metrics)]
