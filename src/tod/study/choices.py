"""Pairwise losses on a population: every ordered pair of sequences, with its probability."""

from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.candidates import Candidates, Tokens
from tod.operators import Totals
from tod.operators.proposals import PairsProposal
from tod.procedure import Procedure, batch_of
from tod.study.population import Policies
from tod.study.world import Law

Choices = Float[np.ndarray, "C P"]


def choice_credit(
    procedure: Procedure,
    policies: Policies,
    log_policy: Float[np.ndarray, "C M"],
    log_mu: Law,
    label_scale: float = 1.0,
) -> Float[np.ndarray, "C M"]:
    """Σ over pairs of probability times the rule's credit, by token of the language, [C, M].

    A pair is two independent draws of μ. Where choices are sampled its label is a draw of
    P(y₁ ≻ y₂) = σ(κ(U₁ − U₂)/s), κ being ``label_scale`` and s the noise of whoever chose (see
    `chooser_noise`); else the better score wins, which is what the rule does with scores.
    """
    language, count = policies.world.language, len(policies.world)
    better, worse = _ordered(len(language))
    weight = _probabilities(procedure, policies, log_mu, label_scale)
    rows = np.stack([better, worse], axis=1).ravel()
    every = (np.arange(count)[:, None] * len(language) + rows).ravel()
    sequences, at = policies.sequences.take(every)
    pairs = Groups.equal(count * len(better), 2)
    batch = _batch(procedure, policies, log_policy, every, at, pairs, sequences)
    credit: Any = procedure.operator.update.credit(batch).per_token
    mass = sequences.spread(pairs.spread(weight.ravel()))
    summed = np.bincount(at, weights=credit * mass, minlength=policies.sequences.total)
    return summed.reshape(count, -1)


def chooser_noise(procedure: Procedure) -> float | None:
    """The noise s of the choices a rule is trained on; None where it reads scores as they are.

    Choices come with a ``pairs`` proposal, whose own noise wins, or are what a preference target
    is about.
    """
    proposal = procedure.operator.proposal
    if isinstance(proposal, PairsProposal):
        return proposal.noise_scale or procedure.tilt.noise_scale
    return procedure.tilt.noise_scale if procedure.target.kind == "preference" else None


def _batch(
    procedure: Procedure,
    policies: Policies,
    log_policy: Any,
    every: Any,
    at: Any,
    pairs: Groups,
    sequences: Groups,
) -> Any:
    """The pairs as contexts of two candidates, the chosen one with utility 1."""
    target, world = procedure.tilt, policies.world
    label = np.tile([1.0, 0.0], len(pairs))
    flat = log_policy.ravel()
    log_pi = world.language.of_sequences(log_policy).ravel()[every]
    given = Candidates(
        contexts=pairs,
        utility=dict.fromkeys(target.utilities, label),
        log_mu=log_pi,
        log_anchor={
            "ref": world.base.ravel()[every],
            "teacher": policies.teacher.ravel()[every],
            "old": log_pi,
        },
        tokens=Tokens(sequences),
    )
    totals = Totals(sequences.total, len(every), 1)
    return batch_of(target, given, flat[at], flat[at], totals)


def _probabilities(
    procedure: Procedure, policies: Policies, log_mu: Law, label_scale: float
) -> Choices:
    """Probability of drawing two sequences and of choosing the first, summed over both orders."""
    target = procedure.tilt
    better, worse = _ordered(len(policies.world.language))
    name = target.utilities[0] if target.utilities else ""
    u = label_scale * policies.world.named(name)
    gap = u[:, better] - u[:, worse]
    noise = chooser_noise(procedure)
    if noise is not None:
        chosen = 0.5 * (1.0 + np.tanh(0.5 * gap / noise))
    else:
        chosen = (gap > 0).astype(np.float64)
    mu = np.exp(log_mu)
    return 2.0 * mu[:, better] * mu[:, worse] * chosen  # type: ignore[no-any-return]


def _ordered(size: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.divmod(np.arange(size * size), size)
    different = first != second
    return first[different], second[different]
