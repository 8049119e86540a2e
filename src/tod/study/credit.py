"""An action's credit on a population: the project's own update rules, nothing re-implemented."""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.operators import (
    Gae,
    Kto,
    Moments,
    PolicyGradient,
    Preference,
    ReturnToGo,
)
from tod.operators.advantages import ByToken, rewards_of
from tod.operators.batch import Batch
from tod.procedure import Procedure, batch_of
from tod.study.choices import choice_credit
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
