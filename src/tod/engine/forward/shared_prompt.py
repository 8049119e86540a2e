"""Prompts forward once with a cache; completions forward by length over its selected rows.

For architectures whose attention function cannot be replaced but whose cache can be indexed.
Everything is differentiable: the gradient reaches the prompt through the selected cache rows.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers.cache_utils import DynamicCache

from tod.engine.costs import ForwardWork
from tod.engine.forward.buckets import buckets
from tod.engine.forward.index import Index
from tod.engine.forward.model_parts import Unsupported, body, device, windows
from tod.engine.models import plain
from tod.engine.rollouts import Rollouts

_OVERHEAD = 200.0  # tokens that cost as much as one more forward of the layers; measured, CPU


@dataclass(frozen=True)
class SharedPrompt:
    """One rectangle of prompts, and candidates in buckets of like completion length."""

    index: Index
    members: tuple[Int[np.ndarray, " B"], ...]

    @property
    def work(self) -> ForwardWork:
        """What a forward computes under this plan."""
        prompts, longest = len(self.index.prompt_sizes), int(self.index.prompt_sizes.max())
        tokens, pairs = prompts * longest, prompts * longest**2
        for rows in self.members:
            width = int(self.index.inputs[rows].max())
            tokens += len(rows) * width
            pairs += len(rows) * width * (longest + width)
        return ForwardWork(tokens, pairs, self.index.rollouts.sequences.total)


def plan(rollouts: Rollouts) -> SharedPrompt:
    """Buckets of completions by the tokens they feed."""
    index = Index(rollouts)
    return SharedPrompt(index, tuple(buckets(index.inputs, overhead=_OVERHEAD)))


def states(model: nn.Module, batch: SharedPrompt) -> Tensor:
    """The hidden state [M, d] that predicts every flat token.

    Raises:
        Unsupported: A cache layer cannot be indexed by row.
    """
    windows(model)  # every cache layer is one whose rows can be selected, or this refuses
    where, index = device(model), batch.index
    longest = int(index.prompt_sizes.max())
    pad = longest - index.prompt_sizes
    step = np.arange(longest)
    real = step >= pad[:, None]
    ids, _ = index.stream
    at = np.where(real, index.prompt_start[:, None] + step - pad[:, None], 0)
    cache = DynamicCache(config=plain(model).config)
    out = body(model)(
        input_ids=torch.from_numpy(ids[at]).to(where),
        attention_mask=torch.from_numpy(real.astype(np.int64)).to(where),
        position_ids=torch.from_numpy(np.maximum(step - pad[:, None], 0)).to(where),
        past_key_values=cache,
        use_cache=True,
    )
    if out.past_key_values is not cache:
        raise Unsupported("its layers do not fill the cache they are given")
    parts = [out[0][:, -1]]
    base, done = np.zeros(len(index.inputs), dtype=np.int64), len(pad)
    for rows in batch.members:
        parts.append(_completions(model, index, rows, real, cache).flatten(0, 1))
        width = int(index.inputs[rows].max())
        base[rows] = done + np.arange(len(rows)) * width
        done += len(rows) * width
    sequences = index.rollouts.sequences
    inner = base[sequences.owner] + sequences.position - 1
    picked = np.where(sequences.position == 0, index.context[sequences.owner], inner)
    return embedding(torch.from_numpy(picked).to(where), torch.cat(parts))


def _completions(
    model: nn.Module,
    index: Index,
    rows: Int[np.ndarray, " B"],
    real: Int[np.ndarray, "C P"],
    cache: DynamicCache,
) -> Tensor:
    """Hidden states [B, L, d] of the completions ``rows`` after their prompts."""
    where, owner, inputs = device(model), index.context[rows], index.inputs[rows]
    step = np.arange(int(inputs.max()))
    at = np.where(step < inputs[:, None], index.input_start[rows][:, None] + step, 0)
    seen = np.hstack([real[owner], np.ones((len(rows), len(step)), dtype=bool)])
    past = copy.copy(cache)
    past.layers = [copy.copy(layer) for layer in cache.layers]
    past.batch_select_indices(torch.from_numpy(owner).to(where))
    out = body(model)(
        input_ids=torch.from_numpy(index.stream[0][at]).to(where),
        attention_mask=torch.from_numpy(seen.astype(np.int64)).to(where),
        position_ids=torch.from_numpy(index.prompt_sizes[owner][:, None] + step).to(where),
        past_key_values=past,
        use_cache=True,
    )
    hidden: Tensor = out[0]
    return hidden
