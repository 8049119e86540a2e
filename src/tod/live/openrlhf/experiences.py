"""What OpenRLHF's `Experience` objects hold once they are made, as candidates.

======================  =========================================================================
``sequences``           ids of prompt and answer, padded, [B, T]
``action_mask``         1 where the policy chose the token, of the last A positions, [B, A]; A is
                        T − 1 since 0.9
``rollout_log_probs``   log μ as the engine reports it, [B, A]; None where no correction asks for it
``action_log_probs``    log π_old by the training engine, at the rollouts' temperature, [B, A]
``base_action_log_probs``  log π_ref, [B, A]; kept only for a KL in the loss
``info["logprobs_diff"]``  mean of log π_old − log π_ref over an answer's tokens, [B]: all that
                        stays of the reference where the KL is in the reward
``rewards``             what is trained on: with penalties by length, before KL and baseline, [B]
``scores``              what dynamic filtering reads, [B]
``advantages``          by token, [B, A]; one for an answer where no KL is in the reward
``truncated``           whether the answer was cut at its longest, [B]
``index``               number of every rollout of the step: ``index // n`` is its prompt
======================  =========================================================================
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tod.base import DataError
from tod.live.aim import REWARD
from tod.live.export import LOGGED, LiveBatch, as_numpy, masked_rows

_POLICIES = {"mu": "rollout_log_probs", "old": "action_log_probs", "ref": "base_action_log_probs"}
_OWN = {"kl", "logprobs_diff", "return", "group_reward_std", "response_clip_ratio"}
"""Entries of ``info`` that the trainer computes itself."""
DIFFERENCE = "logprobs_diff"


def batch_of(
    items: Sequence[Any],
    samples_per_prompt: int | None = None,
    *,
    summed_reference: bool = False,
    extras: bool = False,
) -> LiveBatch:
    """Experiences of one step as a batch; completions are left empty.

    A column is there where all of them have it.

    Args:
        items: The experiences, each of some rollouts.
        samples_per_prompt: n: rows ``index // n`` are one context. None: rows of one prompt are.
        summed_reference: Whether ``info["logprobs_diff"]`` is of the reference. It is 0 without
            one, and where the KL is in the loss.
        extras: Whether other numbers of ``info`` are utilities too.

    Raises:
        DataError: A field is missing or of another shape.
    """
    if not items:
        raise DataError("no experience in this step: nothing was sampled.")
    pieces = [_rows(item, summed_reference, extras) for item in items]
    shared = set.intersection(*(set(piece) for piece in pieces))
    rows = {name: [x for piece in pieces for x in piece[name]] for name in shared}
    named = {name: rows[name] for name in sorted(shared)}
    return LiveBatch.of(
        group=_groups(rows, samples_per_prompt),
        prompt=rows["prompt"],
        completion=[""] * len(rows["prompt"]),
        utility={name[8:]: x for name, x in named.items() if name.startswith("utility.")},
        log={name[4:]: x for name, x in named.items() if name.startswith("log_")},
        token_ids=rows["ids"],
        sequence_log={name[4:]: x for name, x in named.items() if name.startswith("sum_")},
        logged={name: x for name, x in named.items() if name in LOGGED},
    )


def _rows(item: Any, summed_reference: bool, extras: bool) -> dict[str, list[Any]]:
    """The columns of one experience, row by row."""
    for name in ("sequences", "action_mask"):
        if getattr(item, name, None) is None:
            raise DataError(f"an Experience without {name}: it is not complete yet.")
    mask = as_numpy(item.action_mask).astype(bool)
    n, width = mask.shape
    ids = as_numpy(item.sequences)[:, -width:]
    rows: dict[str, list[Any]] = {"ids": masked_rows("sequences", ids, mask)}
    rows["prompt"] = _prompts(item, n)
    for name, attribute in _POLICIES.items():
        values = getattr(item, attribute, None)
        if values is not None:
            rows[f"log_{name}"] = masked_rows(attribute, as_numpy(values), mask)
    info = getattr(item, "info", None)
    info = info if isinstance(info, dict) else {}
    if summed_reference and "log_ref" not in rows and "log_old" in rows and DIFFERENCE in info:
        rows["sum_ref"] = _reference(rows["log_old"], _flat(DIFFERENCE, info[DIFFERENCE], n))
    rows |= _utilities(item, info, n, extras)
    if getattr(item, "advantages", None) is not None:
        values = masked_rows("advantages", as_numpy(item.advantages), mask)
        rows["advantage"] = [_one(row) for row in values]
    if getattr(item, "truncated", None) is not None:
        rows["truncated"] = _flat("truncated", item.truncated, n).tolist()
    index = getattr(item, "index", None)
    if index is not None and len(index) == n:
        rows["index"] = [int(i) for i in index]
    return rows


def _reference(old: list[Any], difference: Any) -> list[float]:
    """Σ log π_ref = Σ log π_old − n·mean(log π_old − log π_ref), a sum an answer, nats."""
    return [
        float(row.astype(np.float64).sum() - len(row) * mean)
        for row, mean in zip(old, difference, strict=True)
    ]


def _one(values: Any) -> float:
    """The value of all tokens; NaN where they differ, or there is none."""
    same = len(values) > 0 and bool((values == values[0]).all())
    return float(values[0]) if same else float("nan")


def _groups(rows: dict[str, list[Any]], samples_per_prompt: int | None) -> list[Any]:
    if samples_per_prompt is None:
        return rows["prompt"]
    if "index" not in rows:
        raise DataError(
            "samples_per_prompt is set and these experiences carry no index (it is dropped when "
            "batches are balanced). Write before that, or leave samples_per_prompt out: rows of "
            "one prompt are then one group."
        )
    return [i // samples_per_prompt for i in rows["index"]]


def _prompts(item: Any, n: int) -> list[str]:
    prompts = list(getattr(item, "prompts", None) or [])
    if len(prompts) != n:
        raise DataError(f"an Experience of {n} rows with {len(prompts)} prompts: one a row.")
    return [str(prompt) for prompt in prompts]


def _utilities(item: Any, info: dict[str, Any], n: int, extras: bool) -> dict[str, list[Any]]:
    """``rewards`` as ``reward``, ``scores`` as ``score``, from the fields or from ``info``."""
    rows = {}
    for name, attribute in ((REWARD, "rewards"), ("score", "scores")):
        values = getattr(item, attribute, None)
        values = info.get(name) if values is None else values
        if values is not None:
            rows[f"utility.{name}"] = _flat(attribute, values, n).tolist()
    if not rows:
        raise DataError("an Experience without rewards: write it after they are filled in.")
    others = [name for name in info if name not in {*_OWN, REWARD, "score"}] if extras else []
    for name in others:
        rows[f"utility.{name}"] = _flat(name, info[name], n).tolist()
    return rows


def _flat(name: str, values: Any, n: int) -> Any:
    """One number a row.

    Raises:
        DataError: Another number of them.
    """
    flat = as_numpy(values).reshape(-1).astype(np.float64)
    if flat.size != n:
        raise DataError(f"{name} has {flat.size} values for {n} rows: one a row.")
    return flat
