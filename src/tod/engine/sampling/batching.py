"""Which candidates are drawn together, and their prompts side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt64
from torch import Tensor

from tod.engine.memory import ModelSize, available
from tod.engine.sampling.params import SamplingParams

_MEMORY_SHARE = 4
"""A batch's cache may take a quarter of what is free: weights and step need the rest."""
_MOST_CPU = 512  # beyond this a step no longer gets cheaper per row on a CPU
_MOST_GPU = 4096


@dataclass(frozen=True)
class DrawBatch:
    """Candidates drawn together.

    Attributes:
        contexts: Numbers of the contexts whose prompts are run, [c].
        owner: For every row its place in ``contexts``, [n].
        candidate: For every row its number within its context, [n].
    """

    contexts: Int[np.ndarray, " c"]
    owner: Int[np.ndarray, " n"]
    candidate: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Wanted:
    """What a path of sampling is asked for: one completion a row.

    Attributes:
        prompts: Token ids of every prompt.
        owner: For every row its place in ``prompts``, [n].
        keys: Stream of random numbers of every row, [n].
        params: Temperature, top-k, top-p and the longest completion.
        pad_id: Fills space that is never attended to.
        eos_ids: Tokens that end a completion.
    """

    prompts: Sequence[Int[np.ndarray, " P"]]
    owner: Int[np.ndarray, " n"]
    keys: UInt64[np.ndarray, " n"]
    params: SamplingParams
    pad_id: int
    eos_ids: Sequence[int]


@dataclass(frozen=True)
class DrawnBatch:
    """What one batch produced, padded: only the first ``lengths`` tokens of a row count.

    Attributes:
        ids: Tokens, [n, T].
        log_mu: log μ of the tokens (nats), [n, T].
        lengths: Tokens of every row, the end-of-sequence token included, [n].
        truncated: Whether the row was cut before an end-of-sequence token, [n].
    """

    ids: Int[np.ndarray, "n T"]
    log_mu: np.ndarray
    lengths: Int[np.ndarray, " n"]
    truncated: np.ndarray


def batches(
    lengths: Int[np.ndarray, " C"], size: int, rows: int, *, even: bool
) -> Iterator[DrawBatch]:
    """Cut C contexts of ``size`` candidates each into batches of at most ``rows`` candidates.

    Contexts with prompts of like length go together, to save padding. A group may be cut; its
    prompt is then run once in each batch.

    Args:
        lengths: Tokens of every prompt.
        size: Candidates per context.
        rows: Most candidates in one batch.
        even: Whether a batch may only hold prompts of one length (no padding at all).
    """
    order = np.argsort(lengths, kind="stable")
    context = np.repeat(order, size)
    candidate = np.tile(np.arange(size), len(order))
    cuts = np.flatnonzero(np.diff(lengths[context])) + 1 if even else np.empty(0, np.int64)
    for stretch in np.split(np.arange(len(context)), cuts):
        for start in range(0, len(stretch), rows):
            part = stretch[start : start + rows]
            new = np.diff(context[part], prepend=-1) != 0  # where the next group begins
            yield DrawBatch(context[part][new], np.cumsum(new) - 1, candidate[part])


def left_padded(
    prompts: Sequence[Int[np.ndarray, " P"]], pad_id: int, device: torch.device
) -> tuple[Int[Tensor, "c P"], Int[Tensor, "c P"] | None]:
    """Prompts pushed to the right edge, and 1 where there is a token (None without padding)."""
    lengths = np.array([len(prompt) for prompt in prompts])
    longest = int(lengths.max())
    ids = np.full((len(prompts), longest), pad_id, dtype=np.int64)
    real = np.arange(longest)[None, :] >= (longest - lengths)[:, None]
    ids[real] = np.concatenate(prompts)
    mask = None if bool(real.all()) else torch.from_numpy(real.astype(np.int64)).to(device)
    return torch.from_numpy(ids).to(device), mask


def fitting_rows(model: Any, tokens: int) -> int:
    """How many candidates of ``tokens`` tokens each to draw at a time, by the memory that is free.

    Counts keys and values of every layer and three float32 copies of the logits.
    """
    size, device = ModelSize.of(model), model.device
    state = tokens * 2 * size.layers * size.key_value * next(model.parameters()).element_size()
    row = state + 12 * size.vocabulary
    most = _MOST_CPU if device.type == "cpu" else _MOST_GPU
    return int(max(1, min(most, available(str(device)) // _MEMORY_SHARE // row)))
