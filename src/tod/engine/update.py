"""Optimiser steps on one batch: credit from the theory, gradient from autograd, nothing else.

loss = −Σ_t credit_t·log π_θ(y_t), credit a constant: its gradient is the operator's. Distillation
over the vocabulary, an entropy bonus and a critic are added to it.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from tod.candidates import Candidates
from tod.diagnostics.activation import activation_sums, share_of
from tod.engine.collect import NOTHING, BatchEvidence
from tod.engine.costs import ForwardWork
from tod.engine.critic import value_loss
from tod.engine.forward.micro_batches import micro_batches
from tod.engine.losses import auxiliary_loss, forward
from tod.engine.prepare import Prepared, prepare
from tod.engine.rollouts import Rollouts
from tod.engine.session import Session
from tod.engine.settings import Train
from tod.operators import Credit, UpdateRule
from tod.procedure import batch_of
from tod.targets import Target

Values = Float[np.ndarray, " _"]


@dataclass
class Updated:
    """What the updates of one batch saw.

    Attributes:
        log_policy: log π of every token before the first update, [M].
        entropy: Full-vocabulary entropy of every token before the first update, [M], nats.
        activation: Share of the gradient's weight that the trust region changed, in [0, 1], of
            every update that had a gate and a gradient.
        grad_norm: Norm of the whole gradient of every update, before clipping.
        work: Forward work of all updates of all processes.
        scored: Forward work of other models that score the candidates, by model name.
        critic_work: Forward work of the critic's own network in all updates.
        auxiliary: Value of the auxiliary terms of every update, summed over processes.
        critic: Loss of the critic at every update.
        eta: Sharpness that a KL budget allowed; None without one.
    """

    log_policy: Values
    entropy: Values
    activation: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    work: ForwardWork = NOTHING
    scored: dict[str, ForwardWork] = field(default_factory=dict)
    critic_work: ForwardWork = NOTHING
    auxiliary: list[float] = field(default_factory=list)
    critic: list[float] = field(default_factory=list)
    eta: float | None = None

    def score(self, name: str, work: ForwardWork) -> None:
        """Add to what scoring computed."""
        self.scored[name] = self.scored.get(name, NOTHING) + work


@dataclass(frozen=True)
class _MicroBatch:
    """One micro-batch: which contexts, where its tokens lie in the batch, and its candidates."""

    chosen: Int[np.ndarray, " c"]
    tokens: Int[np.ndarray, " m"]
    candidates: Candidates


def update(
    session: Session,
    evidence: BatchEvidence,
    target: Target,
    action: UpdateRule,
    step: int,
    rate: float = 1.0,
) -> Updated:
    """All updates of a batch. The policy's first forward also tells log π before any update.

    Args:
        session: The run.
        evidence: The batch.
        target: q* in force.
        action: The update rule.
        step: Number of the batch, from 1.
        rate: Factor of the scheduled learning rate.

    Raises:
        ModelError: The gradient is not finite; the parameters are those of the last good update.
    """
    candidates = evidence.candidates()
    prepared = prepare(session, evidence, target, action, candidates)
    parts = _parts(session, evidence, candidates)
    idle = _idle(session, len(parts))
    tokens = prepared.totals.tokens
    seen = Updated(np.zeros(tokens), np.zeros(tokens), eta=prepared.totals.eta)
    for name, work in prepared.work:
        seen.score(name, work)
    gradient = _Backward(session, evidence, target, action, prepared, seen)
    train = session.settings.train
    for number in range(train.updates_per_batch):
        sums = np.array([0.0 if parts else np.nan, 0.0, 0.0, 0.0])
        for micro in parts:
            sums += gradient.backward(micro, first=number == 0)
        for _ in range(idle):
            gradient.idle(first=number == 0)
        part, weight, extra, value = _everywhere(session, sums)
        if number == 0:
            _share_first_forward(session, seen, parts)
        share = share_of(part, weight)
        if share is not None:
            seen.activation.append(share)
        if session.operator.auxiliary.any_loss:
            seen.auxiliary.append(extra)
        _step(session, (step - 1) * train.updates_per_batch + number, seen, rate)
        if session.critic is not None:
            seen.critic.append(value)
            session.critic.step(session.world)
    _sum_work(session, seen)
    return seen


def _parts(session: Session, evidence: BatchEvidence, candidates: Candidates) -> list[_MicroBatch]:
    mine = session.world.share(len(evidence.rollouts.contexts))
    if not len(mine):
        return []
    rollouts = evidence.rollouts.take(mine)
    cuts = micro_batches(rollouts, session.settings.train.max_tokens_per_micro_batch)
    parts = []
    for cut in cuts:
        chosen = mine[cut]
        tokens = evidence.rollouts.tokens_of(chosen)
        parts.append(_MicroBatch(chosen, tokens, candidates.take(chosen)))
    return parts


def _idle(session: Session, parts: int) -> int:
    """Micro-batches that other processes have more: in shards, all go backward equally often."""
    return max(session.world.gather(parts)) - parts if session.in_shards else 0


@dataclass(frozen=True)
class _Backward:
    """Adds the gradient of micro-batches of one step; what they saw goes into ``seen``."""

    session: Session
    evidence: BatchEvidence
    target: Target
    action: UpdateRule
    prepared: Prepared
    seen: Updated

    def backward(self, part: _MicroBatch, *, first: bool) -> Values:
        """Forward, credit, backward of one micro-batch; ``first``: before any update of the batch.

        Returns:
            The two sums of the activation (NaN and 0 without a gate), the auxiliary terms, and the
            critic's loss.
        """
        session, seen, totals = self.session, self.seen, self.prepared.totals
        rollouts = self.evidence.rollouts.take(part.chosen)
        with _precision(session):
            out = forward(session, rollouts, entropy=first)
        log_policy = out.log_prob.detach().double().cpu().numpy()
        if first:
            seen.log_policy[part.tokens] = log_policy
            assert out.entropy is not None  # noqa: S101 - asked for just above
            seen.entropy[part.tokens] = out.entropy.detach().double().cpu().numpy()
        credit = self._credit(part, log_policy)
        weights = torch.as_tensor(np.asarray(credit.per_token), device=out.log_prob.device)
        loss = -(weights.to(out.log_prob.dtype) * out.log_prob).sum()
        extra = auxiliary_loss(out, session.operator.auxiliary, rollouts, totals)
        value = self._value_loss(rollouts, out.states, part)
        session.world.turns.settle()
        (loss + extra + value).backward()
        seen.work = seen.work + out.work
        seen.score("teacher", out.teacher)
        gated = (float("nan"), 0.0)
        if credit.gate is not None and credit.token_advantage is not None:
            gated = activation_sums(credit.gate, credit.token_advantage)
        return np.array([*gated, _number(extra), _number(value)])

    def idle(self, *, first: bool) -> None:
        """Forward and backward of one token, whose gradient is 0, where other processes have more.

        What is in shards is gathered and added up by all.
        """
        session, rollouts = self.session, self.evidence.rollouts.one_token()
        with _precision(session):
            out = forward(session, rollouts, entropy=first)
            loss: Any = 0.0 * out.log_prob.sum()
            if session.critic is not None:
                loss = loss + 0.0 * session.critic.values(rollouts, out.states)[0].sum()
        session.world.turns.settle()
        loss.backward()

    def _credit(self, part: _MicroBatch, log_policy: Values) -> Credit:
        """What the action gives every token of the part."""
        old, prepared = self.evidence.anchors.get("old"), self.prepared
        log_old = (self.seen.log_policy if old is None else old)[part.tokens]
        critic = None if prepared.returns is None else prepared.returns.value[part.tokens]
        batch = batch_of(self.target, part.candidates, log_policy, log_old, prepared.totals, critic)
        return self.action.credit(prepared.completed(batch, self.action, part.candidates))

    def _value_loss(self, rollouts: Rollouts, states: torch.Tensor, part: _MicroBatch) -> Any:
        """The critic's loss on one micro-batch, 0 without a critic."""
        critic, returns = self.session.critic, self.prepared.returns
        if critic is None or returns is None:
            return 0.0
        with _precision(self.session):
            value, work = critic.values(rollouts, states)
        self.seen.critic_work = self.seen.critic_work + work
        return value_loss(
            value,
            returns.value[part.tokens],
            returns.target[part.tokens],
            self.prepared.totals.tokens,
            critic.spec.clip,
        )


def _number(value: Any) -> float:
    return float(value.detach()) if isinstance(value, torch.Tensor) else float(value)


def _step(session: Session, number: int, seen: Updated, rate: float) -> None:
    """Add gradients over processes, clip, step at the rate of this update times ``rate``."""
    train = session.settings.train
    for group in session.optimiser.param_groups:
        group["lr"] = rate * learning_rate(train, number)
    complaint = (
        f"the gradient of update {number} is not finite (norm {{norm}}): log-probs overflowed or "
        "the learning rate is too high. Lower `train.learning_rate`, or bound the trust region."
    )
    norm = session.world.step(session.optimiser, session.parameters, train.max_grad_norm, complaint)
    seen.grad_norm.append(norm)


def _precision(session: Session) -> Any:
    dtype = session.settings.train.dtype
    device = session.world.device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def _everywhere(session: Session, sums: Values) -> Values:
    """Sums over processes; an idle process has no gate and is left out of that sum."""
    table = np.stack(session.world.gather(sums))
    gated = table[:, 0][~np.isnan(table[:, 0])]
    total: Values = np.nansum(table, axis=0)
    total[0] = gated.sum() if gated.size else np.nan
    return total


def _share_first_forward(session: Session, seen: Updated, parts: list[_MicroBatch]) -> None:
    """Give every process the log-probs and entropies that its peers computed."""
    if session.world.size == 1:
        return
    mine = np.concatenate([part.tokens for part in parts]) if parts else np.zeros(0, np.int64)
    own = (mine, seen.log_policy[mine], seen.entropy[mine])
    for tokens, log_policy, entropy in session.world.gather(own):
        seen.log_policy[tokens], seen.entropy[tokens] = log_policy, entropy


def _sum_work(session: Session, seen: Updated) -> None:
    """Work of all processes in the place of this one's."""
    own = (seen.work, seen.critic_work, seen.scored)
    seen.work = seen.critic_work = NOTHING
    seen.scored = {}
    for work, critic, scored in session.world.gather(own):
        seen.work, seen.critic_work = seen.work + work, seen.critic_work + critic
        for name, used in scored.items():
            seen.score(name, used)


def learning_rate(train: Train, update: int) -> float:
    """Rate of update ``update`` (from 0) of a schedule of steps·updates_per_batch.

    Linear warm-up over a share of its updates, then constant, or decay to zero at its end. Its
    steps are ``schedule_steps``, those of the run where that is None.
    """
    total = (train.schedule_steps or train.steps) * train.updates_per_batch
    warm = round(train.warmup * total)
    if update < warm:
        return train.learning_rate * (update + 1) / warm
    if train.schedule == "constant":
        return train.learning_rate
    progress = (update - warm) / max(total - warm, 1)
    if train.schedule == "linear":
        return train.learning_rate * (1.0 - progress)
    return train.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
