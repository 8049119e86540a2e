"""The key-value cache of one batch: transformers' own, with room to grow for long answers."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# From this many new tokens a cache with spare room wins; below, its strided views cost more
# than the copies they save (benchmarks/sampler.py --cache).
ROOMY_FROM = 192
_GROWTH = 1.5  # copies a token at most 1 / (1 - 1/1.5) = 3 times over a whole answer


class RoomyLayer(DynamicLayer):
    """A full-attention layer that writes in place and reallocates only when its room is full.

    ``keys`` and ``values`` are views of the used part of a larger buffer; the buffer grows by
    half, so a token is copied a bounded number of times however long the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append states at the end and return all of them, [batch, heads, length, dim]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        length = used + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < length:
            room = int(length * _GROWTH) + 16
            self._room = (
                _enlarged(self.keys, key_states, used, room),
                _enlarged(self.values, value_states, used, room),
            )
        keys, values = self._room
        keys[:, :, used:length].copy_(key_states)
        values[:, :, used:length].copy_(value_states)
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row; the next update finds new room."""
        super().batch_repeat_interleave(repeats)
        self._room = None

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the given rows; the next update finds new room."""
        super().batch_select_indices(indices)
        self._room = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the rows; the next update finds new room."""
        super().reorder_cache(beam_idx)
        self._room = None

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; the next update finds new room."""
        super().crop(tokens_to_remove)
        self._room = None

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._room = None


def _enlarged(old: Tensor, new: Tensor, used: int, room: int) -> Tensor:
    batch, heads, _, dim = new.shape
    buffer = new.new_empty((batch, heads, room, dim))
    if used:
        buffer[:, :, :used].copy_(old)
    return buffer


def new_cache(config: Any, max_new_tokens: int) -> DynamicCache:
    """An empty cache for a model of this config; layers get spare room when answers may be long.

    Only plain full-attention layers are replaced: sliding windows, and whatever a model brings
    along itself, keep their own class.
    """
    cache = DynamicCache(config=config)
    if max_new_tokens >= ROOMY_FROM:
        cache.layers = [RoomyLayer() if type(x) is DynamicLayer else x for x in cache.layers]
    return cache


def uncovered(cache: DynamicCache) -> str | None:
    """Why rows of this cache cannot be expanded and dropped, or None when they can."""
    for index, layer in enumerate(cache.layers):
        missing = [
            name
            for name in ("batch_repeat_interleave", "batch_select_indices")
            if not callable(getattr(layer, name, None))
        ]
        if missing:
            return f"cache layer {index} ({type(layer).__name__}) has no {' and no '.join(missing)}"
    return None


def as_rows(indices: Any, device: torch.device) -> Tensor:
    """Row numbers as the cache wants them."""
    return torch.as_tensor(indices, dtype=torch.long, device=device)
