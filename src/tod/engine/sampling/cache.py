"""The key-value cache of one batch: transformers' own, with room to grow for long answers."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE = 64  # least room for new tokens when it is made, unless fewer can come


# From this many new tokens the room wins over plain concatenation (benchmarks/sampler.py --cache).
ROOMY_FROM = 16


class RoomyLayer(DynamicLayer):  # type: ignore[misc, unused-ignore]
    """A full-attention layer that writes in place and reallocates only when its room is full.

    ``keys`` and ``values`` are views of the used part of larger buffers. Room is made when rows
    are chosen (they are copied anyway) and, for long answers, when it is full: then by half of
    the length, so that a token is copied a bounded number of times however long the answer.

    Args:
        most: Most tokens that will come after the prompt.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._spare = min(most, _SPARE)
        self._room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append states at the end and return all of them, [batch, heads, length, dim]."""
        used = self.get_seq_length()
        if not used:  # the prompts: kept as they come, room is made when rows are chosen
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        length = used + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < length:
            self._settle(self._every(), key_states.shape[-2])
        keys, values = self._room  # type: ignore[misc]
        keys[:, :, used:length].copy_(key_states)
        values[:, :, used:length].copy_(value_states)
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row, with room."""
        if self.get_seq_length():
            self._settle(self._every().repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the given rows, in that order, with room."""
        if self.get_seq_length():
            self._settle(indices)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the rows."""
        self.batch_select_indices(beam_idx.to(self.keys.device))

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._room = None

    def _every(self) -> Tensor:
        return torch.arange(self.keys.shape[0], device=self.keys.device)

    def _settle(self, rows: Tensor, new: int = 1) -> None:
        """Copy the rows into buffers with room at the end for ``new`` tokens or more."""
        length = self.get_seq_length()
        if self._room is None or self._room[0].shape[-2] < length + new:
            more = max(new, self._spare, length // 2 if self._spare == _SPARE else 0)
            self._room = (_with_room(self.keys, rows, more), _with_room(self.values, rows, more))
        else:  # whole rows, unused room included: one block of memory each
            keys, values = self._room
            self._room = (keys.index_select(0, rows), values.index_select(0, rows))
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._room)


def _with_room(states: Tensor, rows: Tensor, more: int) -> Tensor:
    """Chosen rows of states with space for ``more`` tokens behind them."""
    _, heads, length, dim = states.shape
    buffer = states.new_empty((len(rows), heads, length + more, dim))
    torch.index_select(states, 0, rows, out=buffer[:, :, :length])
    return buffer


def new_cache(config: Any, max_new_tokens: int) -> DynamicCache:
    """An empty cache for a model of this config; layers get spare room when answers may be long.

    Only plain full-attention layers are replaced: sliding windows, and whatever a model brings
    along itself, keep their own class.
    """
    cache = DynamicCache(config=config)
    if max_new_tokens >= ROOMY_FROM:
        cache.layers = [
            RoomyLayer(max_new_tokens) if type(x) is DynamicLayer else x for x in cache.layers
        ]
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
