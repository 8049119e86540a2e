"""Prompt and completion in one right-padded row each: the layout that serves any architecture."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from tod.engine.costs import ForwardWork
from tod.engine.forward.buckets import buckets
from tod.engine.forward.index import Index
from tod.engine.forward.model_parts import body, device
from tod.engine.rollouts import Rollouts

_OVERHEAD = 200.0  # tokens that cost as much as one more forward of the layers; measured, CPU


@dataclass(frozen=True)
class PaddedRows:
    """Candidates in buckets of like row length, the last completion token never fed."""

    index: Index
    members: tuple[Int[np.ndarray, " B"], ...]

    @property
    def lengths(self) -> Int[np.ndarray, " N"]:
        """Tokens of every row: its prompt and all but the last completion token."""
        return np.asarray(self.index.prompt_sizes[self.index.context] + self.index.inputs)

    @property
    def work(self) -> ForwardWork:
        """What a forward computes under this plan."""
        shapes = [(len(rows), int(self.lengths[rows].max())) for rows in self.members]
        tokens = sum(rows * width for rows, width in shapes)
        pairs = sum(rows * width * width for rows, width in shapes)
        return ForwardWork(tokens, pairs, self.index.rollouts.sequences.total)


def plan(rollouts: Rollouts) -> PaddedRows:
    """Buckets of rows by length of prompt and completion together."""
    index = Index(rollouts)
    rows = index.prompt_sizes[index.context] + index.inputs
    return PaddedRows(index, tuple(buckets(rows, overhead=_OVERHEAD)))


def states(model: nn.Module, batch: PaddedRows) -> Tensor:
    """The hidden state [M, d] that predicts every flat token.

    Causal models never look at the padding on the right, so no mask is given (a mask would be
    built in full, and slow attention down).
    """
    where, index = device(model), batch.index
    ids, _ = index.stream
    base = np.zeros(len(batch.lengths), dtype=np.int64)
    parts, done = [], 0
    for rows in batch.members:
        step = np.arange(int(batch.lengths[rows].max()))
        sizes = index.prompt_sizes[index.context[rows]][:, None]
        start = index.prompt_start[index.context[rows]][:, None]
        after = index.input_start[rows][:, None] - sizes
        at = np.where(step < sizes, start + step, after + step)
        at = np.where(step < batch.lengths[rows][:, None], at, 0)
        hidden = body(model)(input_ids=torch.from_numpy(ids[at]).to(where), use_cache=False)[0]
        parts.append(hidden.flatten(0, 1))
        base[rows] = done + np.arange(len(rows)) * len(step)
        done += at.size
    sequences = index.rollouts.sequences
    last = index.prompt_sizes[index.context] - 1
    picked = (base + last)[sequences.owner] + sequences.position
    return embedding(torch.from_numpy(picked).to(where), torch.cat(parts))
