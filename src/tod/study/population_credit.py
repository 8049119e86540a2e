"""An action's credit on a population: the project's own update rules, nothing re-implemented."""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.base.rows import picked
from tod.candidates import Candidates, Tokens
from tod.operators import Gae, Kto, Moments, PolicyGradient, Preference, ReturnToGo, Totals
from tod.operators.advantages import ByToken, rewards_of
from tod.operators.batch import Batch
from tod.operators.proposals import PairsProposal
from tod.procedure import Procedure, batch_of
from tod.study.population import COPIES, Policies, candidates, copies_of, totals_of
from tod.study.world import Law


def population_credit(
    procedure: Procedure,
    policies: Policies,
    log_policy: Float[np.ndarray, "C M"],
    proposal: Law | None = None,
    label_scale: float = 1.0,
    copies: int = COPIES,
) -> Float[np.ndarray, "C M"]:
    """Σ over copies of the credit of every token of every sequence, [C, M].

    The gradient of the update in the limit of infinitely many candidates is Σ credit·∇log π over
    these tokens.

    Args:
        procedure: Target and action.
        policies: The world and its policies.
        log_policy: log π_θ of every token.
        proposal: A fixed μ, which is also π_old; None: μ = π_old = π_θ.
        label_scale: Choices are drawn from the utility times this.
        copies: Candidates that a context stands for; the default is as good as infinite.
    """
    world, action = policies.world, procedure.operator.update
    if proposal is None:
        mu_tokens, log_mu = log_policy, world.language.of_sequences(log_policy)
    else:
        mu_tokens, log_mu = world.tokens(proposal), proposal
    if isinstance(action, Preference) and not isinstance(action.loss, Kto):
        return choice_credit(procedure, policies, log_policy, log_mu, label_scale)
    found = candidates(policies, procedure.tilt, log_mu, log_mu, mu_tokens, copies)
    totals = totals_of(policies, log_mu, copies)
    batch = batch_of(procedure.tilt, found, log_policy.ravel(), mu_tokens.ravel(), totals)
    batch = _completed(action, batch, policies)
    credit: Any = action.credit(batch).per_token
    mass = batch.sequences.spread(copies_of(batch))
    return (credit * mass).reshape(len(world), -1)  # type: ignore[no-any-return]


def _completed(action: Any, batch: Batch, policies: Policies) -> Batch:
    """The batch with what some rules need beside log-probs: a critic, moments, z₀; all exact."""
    if isinstance(action, Preference):
        return replace(batch, reference_point=_reference_point(batch))
    if not isinstance(action, PolicyGradient):
        return batch
    if isinstance(action.advantage, Gae):
        batch = replace(batch, critic=_critic(action, batch, policies))
    if action.advantage.batch_wide:
        batch = replace(batch, totals=replace(batch.totals, moments=_moments(action, batch)))
    return batch


def _reference_point(batch: Batch) -> float:
    """max(0, E_μ log π/b): KTO's z₀ with mismatched pairs drawn like all others."""
    gap: Any = batch.sequences.sum(batch.log_policy) - batch.log_base
    mean: Any = batch.contexts.mean(gap)
    return max(0.0, float(mean.mean()))


def _moments(action: PolicyGradient, batch: Batch) -> Moments:
    """Moments over copies of what the advantage is scaled by."""
    x: Any = action.advantage.unscaled(action.pull, batch)
    copies = copies_of(batch)
    if isinstance(action.advantage, ByToken):
        copies = batch.sequences.spread(copies)
    total = copies.sum()
    mean = float((copies * x).sum() / total)
    return Moments(round(total), mean, float((copies * (x - mean) ** 2).sum()))


def _critic(action: PolicyGradient, batch: Batch, policies: Policies) -> Any:
    """The exact value of every state under the current policy: E_π of the rewards still to come."""
    language, count = policies.world.language, len(policies.world)
    assert isinstance(action.advantage, ByToken)  # noqa: S101 - no other reads a critic
    rewards = rewards_of(action.advantage, action.pull, batch)
    ahead = ReturnToGo()(rewards, batch.sequences, None)
    log_pi = np.asarray(batch.log_policy).reshape(count, -1)
    p = np.repeat(np.exp(language.of_sequences(log_pi)), language.sequences.sizes, axis=1)
    mass = language.by_choice(p).sum(axis=2)
    value = language.by_choice(p * np.asarray(ahead).reshape(count, -1)).sum(axis=2) / mass
    return value[:, language.states].ravel()


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
    target = procedure.tilt
    label = np.tile([1.0, 0.0], len(pairs))
    flat = log_policy.ravel()
    log_pi = policies.world.language.of_sequences(log_policy)
    given = Candidates(
        contexts=pairs,
        utility=dict.fromkeys(target.utilities, label),
        log_mu=log_pi.ravel()[every],
        log_anchor=picked(policies.log_probs(log_pi), every),
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
