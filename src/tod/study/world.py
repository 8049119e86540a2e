"""Exact finite worlds: a base policy and a utility over every sequence of a small language.

Also the proposals that a study draws from, and the random numbers of everything that is drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float

from tod.base import SpecError
from tod.study.language import Language


def generator(seed: int, *place: int) -> np.random.Generator:
    """The generator of one place (step, context, purpose, ...) under a seed; the same every time.

    Equal seeds and places give equal numbers whatever was drawn before: two operators that ask at
    the same place share their random numbers. Philox, Salmon et al. 2011.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *place])))


Law = Float[np.ndarray, "C Y"]
"""Log-probs of every sequence in every context, nats."""

Shape = Literal["gaussian", "binary", "heavy"]
_BASE, _UTILITY, _NOISE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class FiniteWorld:
    """C contexts over Y sequences; everything about them can be added up.

    Attributes:
        language: The sequences.
        base_logits: Logits of the base policy b by state, [C, S, V].
        utility: U of every sequence, [C, Y].
        seed: What everything here was drawn from.
        others: Further utilities by name, [C, Y] each.
    """

    language: Language
    base_logits: Float[np.ndarray, "C S V"]
    utility: Float[np.ndarray, "C Y"]
    seed: int = 0
    others: Mapping[str, Float[np.ndarray, "C Y"]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of contexts C."""
        return len(self.utility)

    @cached_property
    def base_tokens(self) -> Float[np.ndarray, "C M"]:
        """The base log b of every token, nats."""
        return self.language.of_tokens(log_softmax(self.base_logits))

    @cached_property
    def base(self) -> Float[np.ndarray, "C Y"]:
        """The base log b of every sequence, nats; its probabilities add up to 1."""
        return self.language.of_sequences(self.base_tokens)

    def tokens(self, log_p: Float[np.ndarray, "C Y"]) -> Float[np.ndarray, "C M"]:
        """Log-probs of every token under a law of sequences, nats."""
        return self.language.of_tokens(self.language.conditionals(log_p))

    def target(self, eta: float) -> Float[np.ndarray, "C Y"]:
        """Log q*, q* ∝ b·exp(ηU), normalised, nats."""
        return normalised(self.base + eta * self.utility)

    def named(self, name: str) -> Float[np.ndarray, "C Y"]:
        """The utility of that name; ``utility`` where there is no other of it."""
        return self.others.get(name, self.utility)


def make_world(
    seed: int,
    *,
    vocabulary: int = 8,
    length: int = 3,
    contexts: int = 8,
    shape: Shape = "gaussian",
    success: float = 0.05,
    spread: float = 1.0,
    ends: bool = False,
) -> FiniteWorld:
    """A random tree softmax as the base, and a utility with structure and noise.

    Args:
        seed: The world's number.
        vocabulary: Symbols V.
        length: Longest sequence L.
        contexts: Contexts C.
        shape: ``gaussian``: effects of tokens and bigrams and noise, of mean 0 and standard
            deviation 1 under b in every context. ``binary``: 1 for the best of those with mass
            ``success`` under b, else 0. ``heavy``: sinh of the first, standardised again.
        success: Mass of b that passes, for ``binary``; the smallest attainable mass above it.
        spread: Standard deviation of the base logits.
        ends: Whether symbol 0 ends a sequence, so that lengths differ.

    Raises:
        SpecError: ``success`` is outside (0, 1), or the language cannot be enumerated.
    """
    if not 0.0 < success < 1.0:
        raise SpecError(f"success = {success}: the mass that passes lies between 0 and 1.")
    language = Language.of(vocabulary, length, ends=ends)
    size = (contexts, language.state_count, vocabulary)
    world = FiniteWorld(
        language=language,
        base_logits=spread * generator(seed, _BASE).standard_normal(size),
        utility=np.zeros((contexts, len(language))),
        seed=seed,
    )
    utility = draw_utility(world, shape, success, 0)
    return FiniteWorld(language, world.base_logits, utility, seed)


def draw_utility(
    world: FiniteWorld, shape: Shape = "gaussian", success: float = 0.05, number: int = 0
) -> Float[np.ndarray, "C Y"]:
    """A utility of the shape, drawn anew for every ``number``. See `make_world`."""
    rng, language, count = generator(world.seed, _UTILITY, number), world.language, len(world)
    v = language.vocabulary
    unigram = rng.standard_normal((count, language.length, v))
    bigram = rng.standard_normal((count, v, v))
    position = language.sequences.position
    effects = unigram[:, position, language.symbols]
    inner = np.flatnonzero(position > 0)
    effects[:, inner] += bigram[:, language.symbols[inner - 1], language.symbols[inner]]
    raw = standardised(language.of_sequences(effects), world.base)
    u = standardised(raw + 0.5 * rng.standard_normal(raw.shape), world.base)
    if shape == "heavy":
        return standardised(np.sinh(1.5 * u), world.base)
    return _passing(u, world.base, success) if shape == "binary" else u


def perturbed(world: FiniteWorld, sd: float, number: int = 0) -> Float[np.ndarray, "C Y"]:
    """The base with Gaussian noise of that size on its logits, as log-probs of sequences, nats."""
    noise = generator(world.seed, _NOISE, number).standard_normal(world.base_logits.shape)
    tokens = world.language.of_tokens(log_softmax(world.base_logits + sd * noise))
    return world.language.of_sequences(tokens)


def log_softmax(logits: Float[np.ndarray, "..."], axis: int = -1) -> Float[np.ndarray, "..."]:
    """Log of the softmax over an axis, the last one if none is named."""
    shifted = logits - logits.max(axis=axis, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return shifted  # type: ignore[no-any-return]


normalised = log_softmax
"""Log-densities over sequences, normalised: [C, Y] in, [C, Y] out; −∞ stays."""


def standardised(u: Law, log_p: Law) -> Law:
    """Mean 0 and standard deviation 1 under p in every context."""
    p = np.exp(log_p)
    centred = u - (p * u).sum(axis=1, keepdims=True)
    return centred / np.sqrt((p * centred**2).sum(axis=1, keepdims=True))  # type: ignore[no-any-return]


def _passing(u: Law, log_b: Law, success: float) -> Law:
    """The best of every context, as many as it takes for their mass to reach ``success``."""
    order = np.argsort(-u, axis=1)
    mass = np.cumsum(np.take_along_axis(np.exp(log_b), order, axis=1), axis=1)
    count = 1 + (mass < success).sum(axis=1, keepdims=True)
    rank = np.argsort(order, axis=1)
    passed: Law = (rank < np.minimum(count, u.shape[1] - 1)).astype(np.float64)
    return passed


Kind = Literal["base", "tilt", "perturbed", "hole"]


def proposal(world: FiniteWorld, kind: Kind, strength: float, eta: float) -> Law:
    """One of the fixed proposals.

    * ``base``: b itself (``strength`` is not read).
    * ``tilt``: b·exp(ληU), λ the strength: 1 is the target, below 0 away from it.
    * ``perturbed``: b with Gaussian noise of that size on its logits.
    * ``hole``: b without the sequences that hold the first ``strength`` of the target's mass;
      what is missing is invisible to every weight statistic.

    Raises:
        SpecError: A hole's mass is not inside (0, 1), or would take everything.
    """
    if kind == "base":
        return world.base
    if kind == "tilt":
        return world.target(strength * eta)
    if kind == "perturbed":
        return perturbed(world, strength, 11)
    return _with_hole(world, strength, eta)


def _with_hole(world: FiniteWorld, mass: float, eta: float) -> Law:
    if not 0.0 < mass < 1.0:
        raise SpecError(f"a hole of mass {mass}: it lies between 0 and 1.")
    q = np.exp(world.target(eta))
    order = np.argsort(-q, axis=1)
    before = np.cumsum(np.take_along_axis(q, order, axis=1), axis=1)
    before = before - np.take_along_axis(q, order, axis=1)
    missing = np.take_along_axis(before, np.argsort(order, axis=1), axis=1) < mass
    if bool(missing.all(axis=1).any()):
        raise SpecError(f"a hole of mass {mass} takes every sequence of a prompt: make it less.")
    return normalised(np.where(missing, -np.inf, world.base))
