"""The fast path: prefill once per prompt, expand the cache, decode, drop finished rows."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tod.base.uniforms import uniforms
from tod.engine.sampling.batching import DrawnBatch, Wanted, left_padded
from tod.engine.sampling.cache import as_rows, new_cache
from tod.engine.sampling.next_logits import next_logits
from tod.engine.sampling.processors import next_tokens

# Rows are dropped when fewer than this share is alive: copying the cache costs about as much as
# a step, so dropping each row at once would lose what it saves. Measured best of 0.5 to 0.9.
_KEEP = 0.7


def decode(model: Any, wanted: Wanted) -> DrawnBatch:
    """Draw one completion for every row.

    Runs under the caller's ``no_grad`` and evaluation mode.
    """
    state = Decoding(model, wanted)
    n, most = len(wanted.owner), wanted.params.max_new_tokens
    ids, log_mu = np.zeros((n, most), np.int64), np.zeros((n, most), np.float32)
    lengths, truncated = np.full(n, most), np.ones(n, dtype=bool)
    vocabulary = state.logits.shape[-1]
    is_end = np.zeros(vocabulary, dtype=bool)
    is_end[[token for token in wanted.eos_ids if token < vocabulary]] = True
    rows = np.arange(n)  # which row of the result every row of the batch is
    alive = np.ones(n, dtype=bool)  # within the batch
    for t in range(most):
        u = torch.from_numpy(uniforms(wanted.keys[rows], t)).to(state.logits.device)
        token, token_log_mu = next_tokens(state.logits, u, wanted.params)
        host = token.cpu().numpy()
        ids[rows, t], log_mu[rows, t] = host, token_log_mu.cpu().numpy()
        ended = alive & is_end[host]
        lengths[rows[ended]], truncated[rows[ended]] = t + 1, False
        alive &= ~ended
        count = int(alive.sum())
        if count == 0 or t + 1 == most:
            break
        if count < _KEEP * len(rows):
            kept = np.flatnonzero(alive)
            token = state.select(kept, token)
            rows, alive = rows[kept], alive[kept]
        state.advance(token)
    return DrawnBatch(ids, log_mu, lengths, truncated)


class Decoding:
    """The decoding state of the rows still in the batch: prompts run once, then expanded."""

    def __init__(self, model: Any, wanted: Wanted) -> None:
        self.model, device = model, model.device
        owner, most = wanted.owner, wanted.params.max_new_tokens
        ids, mask = left_padded(wanted.prompts, wanted.pad_id, device)
        count, longest = ids.shape
        every = torch.arange(longest, device=device)[None].expand(count, longest)
        positions = every if mask is None else (mask.cumsum(-1) - 1).clamp_(min=0)
        self.cache = new_cache(model.config, most)
        logits = next_logits(model, ids, mask, positions, self.cache)
        index = as_rows(owner, device)
        repeats, rest = divmod(len(owner), count)
        if not rest and np.array_equal(owner, np.repeat(np.arange(count), repeats)):
            self.cache.batch_repeat_interleave(repeats)
        else:
            self.cache.batch_select_indices(index)
        self.logits = logits[index]
        self.position = positions[:, -1:][index] + 1
        self.length = longest
        self.mask: Tensor | None = None
        if mask is not None:
            room = mask.new_ones((len(owner), most))
            self.mask = torch.cat([mask[index], room], dim=1)

    def select(self, kept: Int[np.ndarray, " k"], token: Tensor) -> Tensor:
        """Keep only these rows, and give their tokens."""
        index = as_rows(kept, token.device)
        self.cache.batch_select_indices(index)
        self.position = self.position[index]
        if self.mask is not None:
            self.mask = self.mask[index]
        return token[index]

    def advance(self, token: Tensor) -> None:
        """Append one token to every row and compute the next logits."""
        self.length += 1
        mask = None if self.mask is None else self.mask[:, : self.length]
        self.logits = next_logits(self.model, token[:, None], mask, self.position, self.cache)
        self.position = self.position + 1
