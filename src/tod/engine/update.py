"""Optimiser steps on one batch: credit from the theory, gradient from autograd, nothing else.

loss = −Σ_t credit_t·log π_θ(y_t), credit a constant: its gradient is the operator's.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from tod.base import ModelError
from tod.candidates import Candidates
from tod.engine.collect import Evidence
from tod.engine.forward import micro_batches, token_log_probs
from tod.engine.ledger import Work
from tod.engine.schedule import learning_rate
from tod.engine.session import Session
from tod.operators import Totals, UpdateRule
from tod.procedure import batch_of
from tod.targets import Target

Values = Float[np.ndarray, " _"]


@dataclass
class Updated:
    """What the updates of one batch saw.

    Attributes:
        log_policy: log π of every token before the first update, [M].
        entropy: Full-vocabulary entropy of every token before the first update, [M], nats.
        activation: Mean |1 − gate| over the tokens of every update that had a gate.
        grad_norm: Norm of the whole gradient of every update, before clipping.
        work: Forward work of all updates of all processes.
    """

    log_policy: Values
    entropy: Values
    activation: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    work: Work = field(default_factory=lambda: Work(0, 0, 0))


@dataclass(frozen=True)
class _Part:
    """One micro-batch: which contexts, where its tokens lie in the batch, and its candidates."""

    chosen: Int[np.ndarray, " c"]
    tokens: Int[np.ndarray, " m"]
    candidates: Candidates


def update(
    session: Session, evidence: Evidence, target: Target, action: UpdateRule, step: int
) -> Updated:
    """All updates of a batch. The policy's first forward also tells log π before any update.

    Raises:
        ModelError: The gradient is not finite; the parameters are those of the last good update.
    """
    candidates = evidence.candidates()
    parts = _parts(session, evidence, candidates)
    totals = Totals.of(evidence.rollouts.sequences, evidence.rollouts.contexts)
    seen = Updated(np.zeros(totals.tokens), np.zeros(totals.tokens))
    train = session.settings.train
    for number in range(train.updates_per_batch):
        active = 0.0
        for part in parts:
            active += _backward(session, evidence, part, target, action, totals, seen, number)
        gated = _everywhere(session, active)
        if number == 0:
            _share_first_forward(session, seen, parts)
        if gated is not None:
            seen.activation.append(gated / totals.tokens)
        _step(session, (step - 1) * train.updates_per_batch + number, seen)
    seen.work = _sum_work(session, seen.work)
    return seen


def _parts(session: Session, evidence: Evidence, candidates: Candidates) -> list[_Part]:
    mine = session.world.share(len(evidence.rollouts.contexts))
    if not len(mine):
        return []
    rollouts = evidence.rollouts.take(mine)
    cuts = micro_batches(rollouts, session.settings.train.max_tokens_per_micro_batch)
    parts = []
    for cut in cuts:
        chosen = mine[cut]
        _, rows = evidence.rollouts.contexts.take(chosen)
        _, tokens = evidence.rollouts.sequences.take(rows)
        parts.append(_Part(chosen, tokens, candidates.take(chosen)))
    return parts


def _backward(
    session: Session,
    evidence: Evidence,
    part: _Part,
    target: Target,
    action: UpdateRule,
    totals: Totals,
    seen: Updated,
    number: int,
) -> float:
    """Forward, credit, backward of one micro-batch; the sum of |1 − gate|, NaN without a gate."""
    rollouts = evidence.rollouts.take(part.chosen)
    with _precision(session):
        out = token_log_probs(
            session.policy,
            rollouts,
            temperature=session.operator.proposal.temperature,
            entropy=number == 0,
        )
    log_policy = out.log_prob.detach().double().cpu().numpy()
    if number == 0:
        seen.log_policy[part.tokens] = log_policy
        if out.entropy is not None:
            seen.entropy[part.tokens] = out.entropy.double().cpu().numpy()
    old = evidence.anchors.get("old")
    log_old = (seen.log_policy if old is None else old)[part.tokens]
    credit = action.credit(batch_of(target, part.candidates, log_policy, log_old, totals))
    weights = torch.as_tensor(np.asarray(credit.per_token), device=out.log_prob.device)
    loss = -(weights.to(out.log_prob.dtype) * out.log_prob).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    seen.work = seen.work + out.work
    return float("nan") if credit.gate is None else float(np.abs(1.0 - credit.gate).sum())


def _step(session: Session, number: int, seen: Updated) -> None:
    """Add gradients over processes, clip, step."""
    train = session.settings.train
    parameters = session.parameters
    session.world.add_gradients(parameters)
    limit = train.max_grad_norm if train.max_grad_norm is not None else float("inf")
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
    if not np.isfinite(norm):
        session.optimiser.zero_grad(set_to_none=True)
        raise ModelError(
            f"the gradient of update {number} is not finite (norm {norm}): log-probs overflowed or "
            "the learning rate is too high. Lower `train.learning_rate`, or bound the trust region."
        )
    for group in session.optimiser.param_groups:
        group["lr"] = learning_rate(train, number)
    session.optimiser.step()
    session.optimiser.zero_grad(set_to_none=True)
    seen.grad_norm.append(norm)


def _precision(session: Session) -> Any:
    dtype = session.settings.train.dtype
    device = session.world.device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def _everywhere(session: Session, active: float) -> float | None:
    """Sum over processes of what their gates removed; None where the rule has no gate."""
    found = [value for value in session.world.gather(active) if value == value]
    return sum(found) if found else None


def _share_first_forward(session: Session, seen: Updated, parts: list[_Part]) -> None:
    """Give every process the log-probs and entropies that its peers computed."""
    if session.world.size == 1:
        return
    mine = np.concatenate([part.tokens for part in parts]) if parts else np.zeros(0, np.int64)
    own = (mine, seen.log_policy[mine], seen.entropy[mine])
    for tokens, log_policy, entropy in session.world.gather(own):
        seen.log_policy[tokens], seen.entropy[tokens] = log_policy, entropy


def _sum_work(session: Session, work: Work) -> Work:
    total = Work(0, 0, 0)
    for other in session.world.gather(work):
        total = total + other
    return total
