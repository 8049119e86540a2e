"""Where every token of a batch lies: the index arithmetic all layouts share, on the host."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from tod.engine.costs import ForwardWork
from tod.engine.rollouts import Rollouts


@dataclass(frozen=True)
class Index:
    """Token positions of a batch in which every context's prompt stands once.

    The stream is all prompts one after the other, then the inputs of all completions: the
    state that predicts token j of a completion is the prompt's last state for j = 0 and the
    state at completion token j − 1 else, so a completion of L tokens has L − 1 inputs.
    """

    rollouts: Rollouts

    @cached_property
    def prompt_sizes(self) -> Int[np.ndarray, " C"]:
        """Tokens of every prompt."""
        return np.array([len(prompt) for prompt in self.rollouts.prompts], dtype=np.int64)

    @cached_property
    def prompt_start(self) -> Int[np.ndarray, " C"]:
        """First stream position of every prompt."""
        return np.concatenate([[0], np.cumsum(self.prompt_sizes)[:-1]]).astype(np.int64)

    @cached_property
    def inputs(self) -> Int[np.ndarray, " N"]:
        """Tokens of every completion that are fed to the model: all but the last."""
        return np.asarray(self.rollouts.sequences.sizes - 1)

    @cached_property
    def input_start(self) -> Int[np.ndarray, " N"]:
        """First stream position of every completion's inputs."""
        total = int(self.prompt_sizes.sum())
        return total + np.concatenate([[0], np.cumsum(self.inputs)[:-1]]).astype(np.int64)

    @cached_property
    def context(self) -> Int[np.ndarray, " N"]:
        """The context of every candidate."""
        return self.rollouts.contexts.owner

    @cached_property
    def fed(self) -> Int[np.ndarray, " I"]:
        """Flat token indices that are fed to the model."""
        sequences = self.rollouts.sequences
        return np.flatnonzero(sequences.position < sequences.sizes[sequences.owner] - 1)

    @cached_property
    def stream(self) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " T"]]:
        """Token ids and position ids of the stream."""
        prompts = self.rollouts.prompts
        ids = np.concatenate([*prompts, self.rollouts.ids[self.fed]]).astype(np.int64)
        within = np.concatenate([np.arange(len(prompt)) for prompt in prompts])
        sequences = self.rollouts.sequences
        after = self.prompt_sizes[self.context[sequences.owner[self.fed]]]
        return ids, np.concatenate([within, after + sequences.position[self.fed]]).astype(np.int64)

    @cached_property
    def predictor(self) -> Int[np.ndarray, " M"]:
        """The stream position whose state predicts every flat token."""
        sequences = self.rollouts.sequences
        last = (self.prompt_start + self.prompt_sizes - 1)[self.context]
        inner = self.input_start[sequences.owner] + sequences.position - 1
        return np.asarray(np.where(sequences.position == 0, last[sequences.owner], inner))

    @cached_property
    def useful(self) -> ForwardWork:
        """The least work: every prompt once, no padding, causal pairs only.

        pairs = Σ_c P(P+1)/2 + Σ_i [I·P + I(I+1)/2] with I inputs. A sliding window needs fewer.
        """
        p, i = self.prompt_sizes, self.inputs
        pairs = (p * (p + 1) // 2).sum() + (i * p[self.context] + i * (i + 1) // 2).sum()
        return ForwardWork(int(p.sum() + i.sum()), int(pairs), self.rollouts.sequences.total)
