"""The whole batch as one row: every prompt once, no padding outside attention.

All prompts and the inputs of all completions stand one after the other in a single row of T
tokens, so that projections, norms and feed-forward layers touch each useful token once. Only
attention looks at neighbours; it goes through the attention function that transformers lets us
register, which cuts the row into a few rectangles: the prompts, and completions of like length,
each seeing its own prompt and its own past. Nothing is quadratic in the batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tod.engine.costs import ForwardWork
from tod.engine.forward.buckets import buckets
from tod.engine.forward.index import Index
from tod.engine.forward.model_parts import Unsupported, attention, body, device, windows
from tod.engine.rollouts import Rollouts

NAME = "tod_packed"
_OVERHEAD = 400.0  # tokens of attention that cost as much as one more rectangle; measured, CPU


@dataclass(frozen=True)
class Rectangle:
    """B rows that attend together: L queries and S keys each, as stream positions.

    Attributes:
        query: Stream position of every query; −1 is padding.
        key: Stream position of every key; −1 is padding.
        distance: Query position − key position [B, L, S]; negative where the key is not to be
            seen (it lies ahead, or is padding). Every query sees itself.
    """

    query: Int[np.ndarray, "B L"]
    key: Int[np.ndarray, "B S"]
    distance: Int[np.ndarray, "B L S"] | Int[np.ndarray, "1 L S"]


@dataclass(frozen=True)
class PackedLayout:
    """A batch laid out as one row, and the rectangles of its attention."""

    index: Index
    rectangles: tuple[Rectangle, ...]

    @property
    def work(self) -> ForwardWork:
        """What a forward computes under this plan."""
        pairs = sum(r.query.size * r.key.shape[1] for r in self.rectangles)
        return ForwardWork(len(self.index.stream[0]), pairs, self.index.rollouts.sequences.total)


def plan(rollouts: Rollouts) -> PackedLayout:
    """The rectangles of a batch: prompts right-padded, completions by like length."""
    index = Index(rollouts)
    cut = [_prompts(index, rows) for rows in buckets(index.prompt_sizes, overhead=_OVERHEAD)]
    cut += [_completions(index, rows) for rows in buckets(index.inputs, overhead=_OVERHEAD)]
    return PackedLayout(index, tuple(cut))


def states(model: nn.Module, batch: PackedLayout) -> Tensor:
    """The hidden state [M, d] that predicts every flat token.

    Raises:
        Unsupported: A layer's attention is not plain or sliding-window softmax attention.
    """
    where = device(model)
    ids, position = (torch.from_numpy(x).to(where)[None] for x in batch.index.stream)
    running = _Running(batch, where, windows(model))
    with attention(model, NAME), _active(running):
        hidden = body(model)(input_ids=ids, position_ids=position, use_cache=False)[0][0]
    if running.calls == 0:
        raise Unsupported("its layers do not call the registered attention function")
    return embedding(torch.from_numpy(batch.index.predictor).to(where), hidden)


def _prompts(index: Index, rows: Int[np.ndarray, " B"]) -> Rectangle:
    sizes = index.prompt_sizes[rows]
    step = np.arange(int(sizes.max()))
    query = np.where(step < sizes[:, None], index.prompt_start[rows][:, None] + step, -1)
    return Rectangle(query, query, (step[:, None] - step)[None])


def _completions(index: Index, rows: Int[np.ndarray, " B"]) -> Rectangle:
    inputs, owner = index.inputs[rows], index.context[rows]
    sizes = index.prompt_sizes[owner]
    step, past = np.arange(int(inputs.max())), np.arange(int(sizes.max()))
    query = np.where(step < inputs[:, None], index.input_start[rows][:, None] + step, -1)
    seen = past < sizes[:, None]
    prompt = np.where(seen, index.prompt_start[owner][:, None] + past, -1)
    back = np.where(seen[:, None, :], (sizes[:, None] + step)[:, :, None] - past, -1)
    own = np.broadcast_to(step[:, None] - step, (len(rows), len(step), len(step)))
    return Rectangle(query, np.hstack([prompt, query]), np.concatenate([back, own], axis=2))


@dataclass
class _Running:
    """The plan on the device, with the masks of every window width that has been asked for."""

    batch: PackedLayout
    where: torch.device
    windows: list[int | None]
    calls: int = 0
    masks: dict[tuple[int | None, torch.dtype], list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cut = self.batch.rectangles
        # padding reads stream position 0: its output is never picked, and as a key it is masked
        self.query = [torch.from_numpy(np.maximum(r.query, 0)).to(self.where) for r in cut]
        self.key = [torch.from_numpy(np.maximum(r.key, 0)).to(self.where) for r in cut]
        place = np.zeros(len(self.batch.index.stream[0]), dtype=np.int64)
        flat = np.concatenate([r.query.reshape(-1) for r in cut])
        real = np.flatnonzero(flat >= 0)
        place[flat[real]] = real
        self.place = torch.from_numpy(place).to(self.where)

    def mask(self, window: int | None, dtype: torch.dtype) -> list[Tensor]:
        """Additive masks [B, 1, L, S] of every rectangle."""
        if (window, dtype) not in self.masks:
            limit = np.iinfo(np.int64).max if window is None else window
            self.masks[window, dtype] = [
                torch.zeros(r.distance.shape, dtype=dtype, device=self.where)
                .masked_fill_(
                    torch.from_numpy((r.distance < 0) | (r.distance >= limit)).to(self.where),
                    -torch.inf,
                )
                .unsqueeze(1)
                for r in self.batch.rectangles
            ]
        return self.masks[window, dtype]


_RUNNING: ContextVar[_Running | None] = ContextVar("tod_packed", default=None)


@contextmanager
def _active(running: _Running) -> Iterator[None]:
    token = _RUNNING.set(running)
    try:
        yield
    finally:
        _RUNNING.reset(token)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over the rectangles; [1, H, T, D] in, [1, T, H, D] out."""
    running = _RUNNING.get()
    if running is None:
        raise Unsupported("the packed attention function was called outside a packed forward")
    if attention_mask is not None:
        raise Unsupported("attention with a mask of its own")
    for name in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise Unsupported(f"attention with {name}")
    window = running.windows[module.layer_idx]  # type: ignore[index]
    if sliding_window is not None and sliding_window != window:
        raise Unsupported(f"a window of {sliding_window} where its cache says {window}")
    running.calls += 1
    q, k, v = (x[0].transpose(0, 1).flatten(1) for x in (query, key, value))
    repeats = query.shape[1] // key.shape[1]
    parts = []
    for rows, keys, mask in zip(
        running.query, running.key, running.mask(window, query.dtype), strict=True
    ):
        out = scaled_dot_product_attention(
            _gather(q, rows, query.shape[1], 1),
            _gather(k, keys, key.shape[1], repeats),
            _gather(v, keys, key.shape[1], repeats),
            attn_mask=mask,
            dropout_p=dropout,
            scale=scaling,
        )
        parts.append(out.transpose(1, 2).flatten(0, 1).flatten(1))
    joined = embedding(running.place, torch.cat(parts))
    return joined.view(1, len(joined), query.shape[1], -1), None


def _gather(x: Tensor, at: Tensor, heads: int, repeats: int) -> Tensor:
    """Rows of [T, H·D] at [B, S] as [B, H·repeats, S, D]; embedding has the fast gradient."""
    rows = embedding(at, x).view(*at.shape, heads, -1).transpose(1, 2)
    return rows if repeats == 1 else rows.repeat_interleave(repeats, dim=1)


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
