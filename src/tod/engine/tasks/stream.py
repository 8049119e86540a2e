"""Problems by number: uniforms of a counter, the split of a text, problems that differ."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol, TypeVar

from tod.base import DataError

Split = Literal["train", "held_out"]

HELD_OUT_SHARE = 10
"""One problem in ten is held out."""
_MASK = (1 << 64) - 1


class Problem(Protocol):
    """What is asked, and what a checker needs to know."""

    @property
    def prompt(self) -> str:
        """The text shown to the model."""
        ...

    @property
    def columns(self) -> Mapping[str, object]:
        """What a checker needs, by the names of the row."""
        ...


P = TypeVar("P", bound=Problem)


def in_held_out(text: str) -> bool:
    """Whether a problem of that text is held out, by its hash: one in ten.

    The hash is BLAKE2b, equal on every machine and in every process.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % HELD_OUT_SHARE == 0


def different(problem: Callable[[int], P], count: int, name: str) -> list[P]:
    """The first ``count`` problems of different prompts; fewer are the beginning of more.

    Raises:
        DataError: There are too few.
    """
    found: dict[str, P] = {}
    for index in range(100 + 20 * count):
        if len(found) == count:
            break
        drawn = problem(index)
        found.setdefault(drawn.prompt, drawn)
    else:
        raise DataError(
            f"{name}: asked for {count} different problems and found only {len(found)} in "
            f"{100 + 20 * count} draws, because there are few more. Ask for fewer."
        )
    return list(found.values())


def uniforms(seed: int, index: int) -> Iterator[float]:
    """Uniform numbers in [0, 1) of a (seed, index) pair: SplitMix64 (Steele et al. 2014)."""
    key = seed.to_bytes(16, "little", signed=True) + index.to_bytes(16, "little", signed=True)
    state = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        yield ((z ^ (z >> 31)) >> 11) * 2.0**-53
