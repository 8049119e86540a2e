"""What an action needs of the whole batch before its first update."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tod.base import SpecError
from tod.candidates import Candidates
from tod.engine.collect import NOTHING, BatchEvidence
from tod.engine.costs import ForwardWork
from tod.engine.critic import Returns
from tod.engine.forward.head import apply, log_prob_head
from tod.engine.forward.log_probs import scored_log_probs, token_states
from tod.engine.rollouts import Rollouts
from tod.engine.session import Session
from tod.operators import (
    CHOICE,
    Batch,
    Gae,
    Kto,
    PolicyGradient,
    Preference,
    Totals,
    UpdateRule,
    WeightedRegression,
    gae,
    rewards_of,
)
from tod.procedure import batch_of, totals_of
from tod.targets import Mixture, Target

Values = Float[np.ndarray, " _"]


@dataclass(frozen=True)
class Prepared:
    """Numbers of the whole batch, equal in every process.

    Attributes:
        totals: Sizes of the step, with what else of it credit of a part reads.
        returns: Of the critic; None without one.
        reference_point: z₀ of KTO, nats; None where it is not read.
        work: What scoring for these computed, by model name.
    """

    totals: Totals
    returns: Returns | None = None
    reference_point: float | None = None
    work: tuple[tuple[str, ForwardWork], ...] = ()

    def completed(self, batch: Batch, action: UpdateRule, candidates: Candidates) -> Batch:
        """A part of the batch with what only the engine knows."""
        if isinstance(action, Preference) and CHOICE in candidates.utility:
            batch = replace(batch, value=candidates.utility[CHOICE])
        return replace(batch, reference_point=self.reference_point)


def prepare(
    session: Session,
    evidence: BatchEvidence,
    target: Target,
    action: UpdateRule,
    candidates: Candidates,
) -> Prepared:
    """Moments, the critic's values and returns, and KTO's z₀, where the action reads them.

    Costs a scoring forward of the policy for a critic, or for totals that read π_old when μ does
    not tell it; two for z₀.
    """
    rollouts = evidence.rollouts
    totals = Totals.of(rollouts.sequences, rollouts.contexts)
    if isinstance(action, Preference) and isinstance(action.loss, Kto):
        if action.loss.reference_point is not None:
            return Prepared(totals)
        point, work = reference_point(session, rollouts, target)
        return Prepared(totals, reference_point=point, work=work)
    if not isinstance(action, PolicyGradient | WeightedRegression):
        return Prepared(totals)
    if isinstance(action, PolicyGradient) and action.needs_critic:
        return _with_critic(session, evidence, target, action, candidates, totals)
    if not action.reads_the_step:
        return Prepared(totals)
    log_old, used = _log_old(session, evidence)
    batch = batch_of(target, candidates, log_old, log_old, totals)
    return Prepared(totals_of(action, batch), work=(("old", used),))


def reference_point(
    session: Session, rollouts: Rollouts, target: Target
) -> tuple[float, tuple[tuple[str, ForwardWork], ...]]:
    """KTO's z₀ = max(0, mean log π/b) on every prompt with the next context's completions.

    Over all candidates of all processes, nats. Source: KTO, 2402.01306, as TRL averages it.

    Raises:
        SpecError: One context alone has no mismatched completions, or b is an arithmetic mixture.
    """
    if len(rollouts.contexts) < 2 or isinstance(target.anchor, Mixture):
        raise SpecError(
            "kto estimates its reference point on mismatched prompts and completions, which needs "
            "two prompts and a geometric anchor. Draw more prompts, or declare "
            "`reference_point: 0`."
        )
    shifted = mismatched(rollouts)
    mine = session.world.share(len(shifted.contexts))
    gap, count, work = 0.0, 0, []
    if len(mine):
        part = shifted.take(mine)
        temperature = session.operator.proposal.scoring_temperature
        names = {"policy": 1.0, **{name: -rho for name, rho in target.anchor.items()}}
        for name, sign in names.items():
            model = session.frozen.get(name, session.policy)
            log_prob, used = scored_log_probs(model, part, temperature)
            gap += sign * float(log_prob.sum())
            work.append((name, used))
        count = len(part.sequences)
    parts = session.world.gather((gap, count))
    mean = sum(part[0] for part in parts) / sum(part[1] for part in parts)
    return max(0.0, mean), tuple(work)


def mismatched(rollouts: Rollouts) -> Rollouts:
    """Every prompt with the completions of the next context."""
    order = np.roll(np.arange(len(rollouts.contexts)), -1)
    moved = rollouts.take(order)
    return replace(moved, prompts=rollouts.prompts, log_mu=None)


def _with_critic(
    session: Session,
    evidence: BatchEvidence,
    target: Target,
    action: PolicyGradient,
    candidates: Candidates,
    totals: Totals,
) -> Prepared:
    """Values and log π_old in one forward each, then returns, then moments."""
    assert isinstance(action.advantage, Gae) and session.critic is not None  # noqa: S101, PT018
    (value, log_old), work = _everyones(
        session, evidence.rollouts, 2, lambda mine: _values(session, mine)
    )
    log_old = evidence.anchors.get("old", log_old)
    batch = batch_of(target, candidates, log_old, log_old, totals, critic=value)
    rewards = rewards_of(action.advantage, action.pull, batch)
    rule = action.advantage
    goal = gae(rewards, value, evidence.rollouts.sequences, rule.discount, rule.trace)[1]
    returns = Returns(value, np.asarray(goal, np.float64))
    return Prepared(totals_of(action, batch), returns, work=(("old", work),))


def _values(session: Session, rollouts: Rollouts) -> tuple[list[Values], ForwardWork]:
    """V and log π of every token, in micro-batches of the whole share, without graph."""
    ids = torch.from_numpy(rollouts.ids.astype("int64")).to(session.world.device)
    temperature = session.operator.proposal.scoring_temperature
    with torch.no_grad():
        states, work = token_states(session.policy, rollouts)
        head = log_prob_head(ids, temperature=temperature, entropy=False)
        log_prob = apply(session.policy, states, head)
        assert session.critic is not None  # noqa: S101 - checked by the caller
        value, own = session.critic.values(rollouts, states)
    return [x.double().cpu().numpy() for x in (value, log_prob)], work + own


def _log_old(session: Session, evidence: BatchEvidence) -> tuple[Values, ForwardWork]:
    """Log π_old of every token, [M], from what is recorded where that is known.

    Else each process scores its share; the work is its own.
    """
    old, log_mu = evidence.anchors.get("old"), evidence.rollouts.log_mu
    if old is not None:
        return old, NOTHING
    if log_mu is not None and session.sampler is session.policy and session.mu_is_its_model:
        return log_mu.astype(np.float64), NOTHING

    def log_policy(mine: Rollouts) -> tuple[list[Values], ForwardWork]:
        temperature = session.operator.proposal.scoring_temperature
        log_prob, work = scored_log_probs(session.policy, mine, temperature)
        return [log_prob], work

    (whole,), work = _everyones(session, evidence.rollouts, 1, log_policy)
    return whole, work


def _everyones(
    session: Session,
    rollouts: Rollouts,
    count: int,
    compute: Callable[[Rollouts], tuple[list[Values], ForwardWork]],
) -> tuple[list[Values], ForwardWork]:
    """``count`` columns of all tokens, [M] each, every process computing its share of the contexts.

    The work is this process's own.
    """
    mine, work = session.world.share(len(rollouts.contexts)), NOTHING
    found: tuple[Any, ...] = ()
    if len(mine):
        columns, work = compute(rollouts.take(mine))
        found = (rollouts.tokens_of(mine), columns)
    whole = [np.zeros(rollouts.sequences.total) for _ in range(count)]
    for part in session.world.gather(found):
        if part:
            for column, values in zip(whole, part[1], strict=True):
                column[part[0]] = values
    return whole, work
