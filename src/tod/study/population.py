"""Infinitely many candidates: every sequence once, with its multiplicity."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.candidates import Candidates, Tokens
from tod.operators import Batch, Totals
from tod.study.world import FiniteWorld, Law, perturbed
from tod.targets import Target

COPIES = 10**6
"""Candidates that a context stands for: so many that K/(K − 1) is 1."""


@dataclass(frozen=True, eq=False)
class Multiples(Groups):
    """Groups whose every element stands for a number of equal copies, which need not be whole.

    Sums, means, log-sum-exps, softmaxes and variances are over the copies; elements stay what they
    are. An update rule that speaks this algebra sees an infinite sample at the cost of its
    distinct elements, and its softmax is the weight of *one* copy.

    Attributes:
        copies: Copies of every element, > 0.
    """

    copies: Float[np.ndarray, " N"] | None = None

    def sum(self, x: Any) -> Any:
        """Sum over the copies of every group."""
        return super().sum(x * self.copies)

    def sizes_like(self, x: Any) -> Any:  # noqa: ARG002
        """Copies in every group."""
        return super().sum(np.asarray(self.copies))


@dataclass(frozen=True, eq=False)
class Policies:
    """A world with the policies that a target may name, sequence by sequence and by token.

    Attributes:
        world: The world; its base is ``ref``.
        teacher: log π_T, [C, Y].
    """

    world: FiniteWorld
    teacher: Law

    @classmethod
    def of(cls, world: FiniteWorld) -> "Policies":
        """With a teacher that is the base with noise of size 0.7 on its logits."""
        return cls(world, perturbed(world, 0.7))

    @cached_property
    def tokens(self) -> dict[str, Float[np.ndarray, " M"]]:
        """Token log-probs that never change."""
        teacher = self.world.tokens(self.teacher).ravel()
        return {"ref": self.world.base_tokens.ravel(), "teacher": teacher}

    def log_probs(self, log_old: Law) -> dict[str, Float[np.ndarray, " N"]]:
        """Log-probs of every sequence by policy; ``old`` and ``policy`` are the same."""
        old, ref = log_old.ravel(), self.world.base.ravel()
        return {"ref": ref, "teacher": self.teacher.ravel(), "old": old, "policy": old}

    @cached_property
    def sequences(self) -> Groups:
        """Tokens in sequences, over all contexts."""
        return Groups(np.tile(self.world.language.sequences.sizes, len(self.world)))

    @cached_property
    def sizes(self) -> np.ndarray:
        """Sequences of every context."""
        return np.full(len(self.world), len(self.world.language))


def candidates(
    policies: Policies,
    target: Target,
    log_mu: Law,
    log_old: Law,
    mu_tokens: Any = None,
    copies: int = COPIES,
) -> Candidates:
    """All sequences of all contexts as an infinite sample of μ, with every policy's log-probs.

    A target over a fixed set gets that set: every sequence as often as any other, and no μ.

    Args:
        policies: The world and its policies.
        target: Whose utilities are looked up by name.
        log_mu: The proposal, of full support, nats.
        log_old: What ``old`` and ``policy`` name, nats.
        mu_tokens: log μ by token, [C, M], if it is known already.
        copies: Candidates that a context stands for.
    """
    world = policies.world
    by_token = world.tokens(log_mu) if mu_tokens is None else mu_tokens
    share = np.exp(log_mu)
    if target.semantics == "fixed":
        share = np.full_like(log_mu, 1.0 / log_mu.shape[1])
    return Candidates(
        semantics=target.semantics or "sampled",
        contexts=Multiples(policies.sizes, copies * share.ravel()),
        utility={name: world.named(name).ravel() for name in target.utilities},
        log_mu=log_mu.ravel(),
        log_anchor=policies.log_probs(log_old),
        tokens=Tokens(policies.sequences, by_token.ravel(), policies.tokens),
    )


def totals_of(policies: Policies, log_mu: Law, copies: int = COPIES) -> Totals:
    """The totals of a step that holds so many candidates of every context."""
    count = len(policies.world)
    tokens = copies * (np.exp(log_mu) * policies.world.language.sequences.sizes).sum()
    return Totals(tokens=round(tokens), candidates=copies * count, contexts=count)


def copies_of(batch: Batch) -> Float[np.ndarray, " N"]:
    """How many candidates every element of a batch stands for; 1 each in an ordinary one."""
    found = getattr(batch.contexts, "copies", None)
    return np.ones(batch.contexts.total) if found is None else found
