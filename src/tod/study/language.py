"""A finite language: every sequence over a small vocabulary, enumerated once."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups, SpecError


@dataclass(frozen=True, eq=False)
class Language:
    """Y sequences made of M tokens in all; a token is a symbol chosen in a state (a prefix).

    Attributes:
        vocabulary: Symbols V.
        length: Longest sequence L.
        sequences: Tokens in sequences.
        states: State of every token, [M], in [0, S).
        symbols: Symbol of every token, [M], in [0, V).
    """

    vocabulary: int
    length: int
    sequences: Groups
    states: Int[np.ndarray, " M"]
    symbols: Int[np.ndarray, " M"]

    @classmethod
    def of(cls, vocabulary: int, length: int, *, ends: bool = False) -> "Language":
        """All sequences of ``length`` symbols; with ``ends``, symbol 0 ends a sequence early.

        Raises:
            SpecError: Fewer than two symbols, no length, or more than 10⁶ sequences.
        """
        if vocabulary < 2 or length < 1 or vocabulary**length > 10**6:
            raise SpecError(
                f"a language of {vocabulary} symbols and length {length} cannot be enumerated: "
                "give at least 2 symbols, a length of at least 1 and at most 10^6 sequences."
            )
        return _enumerate(vocabulary, length, ends)

    def __len__(self) -> int:
        """Number of sequences Y."""
        return len(self.sequences)

    @cached_property
    def state_count(self) -> int:
        """Number of states S."""
        return int(self.states.max()) + 1

    @cached_property
    def choices(self) -> Int[np.ndarray, " M"]:
        """State and symbol of every token as one index, [M], in [0, S·V)."""
        index: Int[np.ndarray, " M"] = self.states * self.vocabulary + self.symbols
        return index

    def of_tokens(self, conditionals: Float[np.ndarray, "C S V"]) -> Float[np.ndarray, "C M"]:
        """Values of choices, laid out by token."""
        by_choice = conditionals.reshape(len(conditionals), -1)
        return np.take(by_choice, self.choices, axis=1)

    def of_sequences(self, tokens: Float[np.ndarray, "C M"]) -> Float[np.ndarray, "C Y"]:
        """Sums over the tokens of every sequence."""
        sums: Float[np.ndarray, "C Y"] = np.add.reduceat(
            tokens, self.sequences.offsets[:-1], axis=1
        )
        return sums

    def by_choice(self, values: Float[np.ndarray, "C M"]) -> Float[np.ndarray, "C S V"]:
        """Sums over all tokens that make the same choice."""
        count, size = len(values), self.state_count * self.vocabulary
        at = (np.arange(count)[:, None] * size + self.choices).ravel()
        sums = np.bincount(at, weights=values.ravel(), minlength=count * size)
        return sums.reshape(count, self.state_count, self.vocabulary)

    def conditionals(self, log_p: Float[np.ndarray, "C Y"]) -> Float[np.ndarray, "C S V"]:
        """Log-probs of every symbol in every state under a law of sequences, nats.

        −∞ for a symbol that the law never continues with; uniform in a state it never reaches.
        """
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        mass = self.by_choice(np.repeat(p, self.sequences.sizes, axis=1))
        reached = mass.sum(axis=2, keepdims=True)
        share = np.where(reached > 0, mass, 1.0) / np.where(reached > 0, reached, self.vocabulary)
        with np.errstate(divide="ignore"):
            return np.log(share)


@lru_cache(maxsize=32)
def _enumerate(vocabulary: int, length: int, ends: bool) -> Language:
    """Depth by depth; states are numbered as they are met."""
    done: list[list[tuple[int, int]]] = []
    open_: list[list[tuple[int, int]]] = [[]]
    met = 0
    for depth in range(length):
        longer: list[list[tuple[int, int]]] = []
        for path in open_:
            for symbol in range(vocabulary):
                item = [*path, (met, symbol)]
                last = depth == length - 1 or (ends and symbol == 0)
                (done if last else longer).append(item)
            met += 1
        open_ = longer
    flat = np.array([step for path in done for step in path], dtype=np.int64)
    sizes = np.array([len(path) for path in done])
    return Language(vocabulary, length, Groups(sizes), flat[:, 0].copy(), flat[:, 1].copy())
