"""Examples addressed by step: no reader state, so a checkpoint needs the step number only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Prompt = str | list[dict[str, Any]]
"""Plain text, or chat messages ``[{role, content}, …]``."""


@dataclass(frozen=True)
class Example:
    """A prompt and what its utilities need to know."""

    prompt: Prompt
    columns: Mapping[str, Any]
    """The other columns of the row, handed to the utilities by name."""
    id: str
    """Name of the row, stable between runs: ``train/17``, ``data.jsonl:18``."""


class Indexed(Protocol):
    """What examples are taken from: a list, or something that computes them."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Example: ...


class Sliced(Protocol):
    """What held-out examples are taken from: a list, or something that computes them."""

    def __getitem__(self, part: slice, /) -> list[Example]: ...


@dataclass(frozen=True)
class Task:
    """Examples to train on, addressed by step, and examples that are never trained on."""

    examples: Indexed
    """Examples of an epoch, by index."""
    held: Sliced
    """Held-out examples, by a slice from the first."""
    seed: int = 0

    def __len__(self) -> int:
        """Examples in an epoch."""
        return len(self.examples)

    def batch(self, step: int, n: int) -> list[Example]:
        """The ``n`` examples of step ``step`` (from 0): a pure function of (seed, step, n).

        Batches walk through one permutation per epoch; a batch that crosses the end of an epoch
        continues in the next, so every example is seen equally often.
        """
        size = len(self.examples)
        places = (divmod(position, size) for position in range(step * n, (step + 1) * n))
        return [self.examples[int(_order(self.seed, epoch, size)[i])] for epoch, i in places]

    def held_out(self, n: int) -> list[Example]:
        """The first ``n`` held-out examples, or all of them where there are fewer."""
        return list(self.held[:n])


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
    """The permutation of an epoch: rows sorted by SplitMix64 of a counter (Steele et al. 2014).

    Written out rather than asked of numpy, whose streams may change between versions.
    """
    key = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest()
    steps = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = steps + np.uint64(int.from_bytes(key, "little"))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    order = np.argsort(z ^ (z >> np.uint64(31)), kind="stable")
    order.flags.writeable = False
    return order
