"""Which candidates are drawn together, and their prompts side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

_MEMORY_SHARE = (
    4  # a batch's cache may take a quarter of what is free: weights and step need the rest
)
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
class Drawn:
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
    config = model.config.get_text_config(decoder=True)
    state = tokens * _cache_numbers_per_token(config) * next(model.parameters()).element_size()
    row = state + 12 * config.vocab_size
    device = model.device
    most = _MOST_CPU if device.type == "cpu" else _MOST_GPU
    return int(max(1, min(most, _free_bytes(device) // _MEMORY_SHARE // row)))


def _cache_numbers_per_token(config: Any) -> int:
    """Keys and values of one token in all layers; 0 for models without attention."""
    queries = getattr(config, "num_attention_heads", None)
    if not queries:
        return 0
    heads = getattr(config, "num_key_value_heads", None) or queries
    wide = getattr(config, "head_dim", None) or config.hidden_size // queries
    return int(2 * config.num_hidden_layers * heads * wide)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
