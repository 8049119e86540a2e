"""Worlds × seeds as the contexts of one world: a table of logits has no parameter in common.

A run of `tod.study.training.train` in world w at seed s is the rows (w, s, 0 … C − 1) of the stack,
so that one call of an operator updates all runs of a block at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups
from tod.candidates import Candidates, Tokens
from tod.operators import Batch, Totals
from tod.procedure import batch_of
from tod.study.sampled import cumulative, uniforms
from tod.study.swap.exact_spec import UTILITY
from tod.study.world import FiniteWorld, Law, generator, log_softmax
from tod.targets import Target

__all__ = ["CandidateStack", "Sampler", "Stack", "run_seed"]

_LABEL = 5
MOST_SEEDS = 1000


def run_seed(world: int, seed: int, stream: int = 0) -> int:
    """The seed of one run: another in every world, and in every stream of random numbers."""
    return seed + MOST_SEEDS * (stream + 100 * world)


@dataclass(frozen=True, eq=False)
class Stack:
    """W worlds × S seeds × C contexts as the contexts of one world.

    Attributes:
        worlds: The worlds, of one language and one number of contexts.
        seeds: The seeds of every world.
        whole: All their contexts: world by world, seed by seed.
    """

    worlds: tuple[FiniteWorld, ...]
    seeds: tuple[int, ...]
    whole: FiniteWorld
    _random: dict[tuple[int, ...], Float[np.ndarray, "T N K"]] = field(default_factory=dict)
    _contexts: dict[int, Groups] = field(default_factory=dict)

    @classmethod
    def of(cls, worlds: tuple[FiniteWorld, ...], seeds: tuple[int, ...]) -> "Stack":
        """The stack of some worlds."""
        logits = np.concatenate([w.base_logits for w in worlds for _ in seeds])
        utility = np.concatenate([w.utility for w in worlds for _ in seeds])
        return cls(worlds, seeds, FiniteWorld(worlds[0].language, logits, utility))

    @property
    def shape(self) -> tuple[int, int, int]:
        """W, S, C."""
        return len(self.worlds), len(self.seeds), len(self.worlds[0])

    def law(self, of: Callable[[FiniteWorld], Law]) -> Law:
        """A law of every world, once for every seed."""
        laws = [of(world) for world in self.worlds]
        return np.concatenate([law for law in laws for _ in self.seeds])

    def by_run(self, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "W S C n"]:
        """Values whose first axis is made of contexts, or of equally many in each, run by run."""
        return x.reshape(*self.shape, -1)

    def uniforms(self, steps: int, size: int, stream: int = 0) -> Float[np.ndarray, "T N K"]:
        """The uniforms that draw the candidates of every step; those of `draw` in every run."""
        return self._drawn((steps, size, stream), lambda s, t: uniforms(self.shape[2], size, s, t))

    def label_uniforms(self, steps: int, size: int, stream: int = 0) -> Float[np.ndarray, "T N K"]:
        """The uniforms that draw choices between the candidates of every step."""

        def draw(seed: int, step: int) -> Float[np.ndarray, "C K"]:
            return generator(seed, _LABEL, step).random((self.shape[2], size))

        return self._drawn((steps, size, stream, _LABEL), draw)

    @cached_property
    def base_by_choice(self) -> Float[np.ndarray, "V NS"]:
        """Log b of every symbol in every state, nats."""
        return by_symbol(log_softmax(self.whole.base_logits))

    def contexts(self, size: int) -> Groups:
        """K candidates in every context; one object, so that its pairs are listed once."""
        if size not in self._contexts:
            self._contexts[size] = Groups.equal(len(self.whole), size)
        return self._contexts[size]

    def _drawn(
        self, key: tuple[int, ...], one: Callable[[int, int], Float[np.ndarray, "C K"]]
    ) -> Float[np.ndarray, "T N K"]:
        """Uniforms by step and run, made once: all settings and operators share them."""
        if key not in self._random:
            steps, stream = key[0], key[2]
            runs = [run_seed(w.seed, s, stream) for w in self.worlds for s in self.seeds]
            self._random[key] = np.stack(
                [np.concatenate([one(run, step) for run in runs]) for step in range(steps)]
            )
        return self._random[key]


@dataclass(frozen=True, eq=False)
class Sampler:
    """A proposal μ of all contexts, ready to draw.

    Attributes:
        log_mu: Log μ of every sequence, [N, Y], nats.
        table: Its distribution functions.
        by_choice: Log μ of every symbol in every state, [V, N·S], nats.
    """

    log_mu: Law
    table: Float[np.ndarray, "N Y"]
    by_choice: Float[np.ndarray, "V NS"]

    @classmethod
    def of_law(cls, stack: Stack, log_mu: Law) -> "Sampler":
        """Of a law of sequences."""
        conditionals = stack.whole.language.conditionals(log_mu)
        return cls(log_mu, cumulative(log_mu), by_symbol(conditionals))

    @classmethod
    def of_choices(cls, stack: Stack, by_choice: Float[np.ndarray, "V NS"]) -> "Sampler":
        """Of log-probs by state."""
        log_mu = law_of(stack, by_choice)
        return cls(log_mu, cumulative(log_mu), by_choice)


def by_symbol(conditionals: Float[np.ndarray, "N S V"]) -> Float[np.ndarray, "V NS"]:
    """The layout of training: a symbol a row, so that sums over symbols run along long rows."""
    return np.ascontiguousarray(conditionals.reshape(-1, conditionals.shape[2]).T)


def law_of(stack: Stack, by_choice: Float[np.ndarray, "V NS"]) -> Law:
    """Log-probs of every sequence, [N, Y], from those of every symbol in every state."""
    language = stack.whole.language
    conditionals = by_choice.T.reshape(len(stack.whole), language.state_count, -1)
    return language.of_sequences(language.of_tokens(conditionals))


@dataclass(frozen=True, eq=False)
class CandidateStack:
    """K candidates of every context, as an operator sees them.

    Attributes:
        batch: The batch, with μ's own log-probs where the policy's belong.
        rows: The sequences, [N, K].
        states: States that occur, [n], among N·S.
        place: Symbol and state of every token, [m], among V·n.
    """

    batch: Batch
    rows: Int[np.ndarray, "N K"]
    states: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " m"]

    @classmethod
    def of(
        cls, stack: Stack, target: Target, rows: Int[np.ndarray, "N K"], mu: Sampler
    ) -> "CandidateStack":
        """The candidates of some rows.

        Sizes of the step are those of one run, whose gradient no other run changes.
        """
        world, language = stack.whole, stack.whole.language
        count, size = rows.shape
        contexts = stack.contexts(size)
        every = rows.ravel() + contexts.owner * len(language)
        sequences, at = language.sequences.take(rows.ravel())
        context = sequences.spread(contexts.owner)
        states, place = _occurring(stack, context, at)
        choice = language.symbols[at] * mu.by_choice.shape[1] + states[place % len(states)]
        tokens = mu.by_choice.ravel().take(choice)
        candidates = Candidates(
            contexts=contexts,
            utility={UTILITY: world.utility.ravel().take(every)},
            log_mu=mu.log_mu.ravel().take(every),
            log_anchor={"ref": world.base.ravel().take(every)},
            tokens=Tokens(sequences, tokens, {"ref": stack.base_by_choice.ravel().take(choice)}),
        )
        runs = stack.shape[0] * stack.shape[1]
        totals = Totals(sequences.total // runs, count * size // runs, count // runs)
        return cls(batch_of(target, candidates, tokens, tokens, totals), rows, states, place)


def _occurring(
    stack: Stack, context: Int[np.ndarray, " m"], at: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """The states that some tokens are chosen in, and symbol and state of every token among them."""
    language = stack.whole.language
    state = language.states[at] + context * language.state_count
    occurs = np.zeros(len(stack.whole) * language.state_count, dtype=bool)
    occurs[state] = True
    states = np.flatnonzero(occurs)
    return states, (np.cumsum(occurs) - 1)[state] + language.symbols[at] * len(states)
