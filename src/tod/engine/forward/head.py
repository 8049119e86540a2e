"""From hidden states to one number per token, without holding [M, V]."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from tod.engine.forward.model_parts import logits
from tod.engine.models import text_config

Head = Callable[[Tensor, Tensor], Tensor]
"""(logits [m, V], flat token indices [m]) to a statistic [m] or [m, s]."""

_LIMIT = 2**24  # logits held at once: 64 MiB of float32


def apply(model: nn.Module, states: Tensor, head: Head, *, limit: int = _LIMIT) -> Tensor:
    """``head`` over the logits of all states, in chunks of at most ``limit`` logits.

    A batch that fits in one chunk takes the plain path. Otherwise every chunk is recomputed in
    the backward pass, so that neither pass holds more than one chunk of logits: one more
    product with the output embedding buys [M, V] float32 of memory.
    """
    indices = torch.arange(len(states), device=states.device)
    rows = max(1, limit // text_config(model).vocab_size)
    if len(states) <= rows:
        return head(logits(model, states), indices)

    def chunk(part: Tensor, at: Tensor) -> Tensor:
        return head(logits(model, part), at)

    recompute = torch.is_grad_enabled()
    parts = [
        checkpoint(chunk, part, at, use_reentrant=False, preserve_rng_state=False)
        if recompute
        else chunk(part, at)
        for part, at in zip(torch.split(states, rows), torch.split(indices, rows), strict=True)
    ]
    return torch.cat(parts)


def exact(z: Tensor) -> Tensor:
    """Logits in float32 at least."""
    return z if z.dtype == torch.float64 else z.float()


def log_prob_head(ids: Tensor, *, temperature: float, entropy: bool) -> Head:
    """Gives log softmax(z/temperature) at the token; with it, detached, the entropy in nats.

    H = −Σ_v p log p over the whole vocabulary; a token of probability zero adds nothing.
    Computed in float32 at least.
    """

    def head(z: Tensor, at: Tensor) -> Tensor:
        z = exact(z) if temperature == 1.0 else exact(z) / temperature
        value = -cross_entropy(z, ids[at], reduction="none")
        if not entropy:
            return value
        with torch.no_grad():
            spread = torch.special.entr(torch.softmax(z, dim=-1)).sum(-1)
        return torch.stack([value, spread], dim=1)

    return head
