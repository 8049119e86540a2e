"""One forward of the policy, and the losses that are not credit: distillation and entropy."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from tod.engine.collect import NOTHING
from tod.engine.costs import ForwardWork
from tod.engine.forward.head import Head, apply, exact, log_prob_head
from tod.engine.forward.log_probs import token_states
from tod.engine.forward.model_parts import logits
from tod.engine.rollouts import Rollouts
from tod.engine.session import Session
from tod.operators import Auxiliary, FullVocabulary, Totals
from tod.operators import divergence as of_laws


@dataclass(frozen=True)
class Forwarded:
    """The policy on some rollouts, [m] each.

    Attributes:
        log_prob: log π_θ of every token, with graph.
        entropy: Entropy of π_θ, nats; with graph where a bonus wants it, else detached; None
            where nobody asked.
        divergence: From the teacher, nats, with graph; None without such a term.
        states: Hidden states that predict the tokens, [m, d].
        work: What the policy computed.
        teacher: What the teacher computed.
    """

    log_prob: Tensor
    entropy: Tensor | None
    divergence: Tensor | None
    states: Tensor
    work: ForwardWork
    teacher: ForwardWork


def forward(session: Session, rollouts: Rollouts, *, entropy: bool) -> Forwarded:
    """Log-probs, entropy and the divergence that the operator asks for, in one forward each."""
    auxiliary = session.operator.auxiliary
    temperature = session.operator.proposal.scoring_temperature
    states, work = token_states(session.policy, rollouts)
    ids = torch.from_numpy(rollouts.ids.astype("int64")).to(states.device)
    other, teaching = _teacher(session, rollouts)
    entropy = entropy or auxiliary.entropy is not None
    head = log_prob_head(ids, temperature=temperature, entropy=entropy)
    if auxiliary.any_loss:
        teacher = session.frozen.get("teacher")
        head = _with_terms(head, auxiliary, temperature, other, teacher, entropy)
    columns = apply(session.policy, states, head)
    if not entropy and other is None:
        return Forwarded(columns, None, None, states, work, teaching)
    spread = columns[:, 1] if entropy else None
    if spread is not None and auxiliary.entropy is None:
        spread = spread.detach()
    found = None if other is None else columns[:, -1]
    return Forwarded(columns[:, 0], spread, found, states, work, teaching)


def auxiliary_loss(out: Forwarded, auxiliary: Auxiliary, rollouts: Rollouts, totals: Totals) -> Any:
    """Σ_t a_t·(w_D·D_t − w_H·H_t) of the terms there are; 0 without any."""
    loss: Any = 0.0
    for term, sign, value in (
        (auxiliary.distillation, 1.0, out.divergence),
        (auxiliary.entropy, -1.0, out.entropy),
    ):
        if term is not None and value is not None:
            weights = term.aggregation.weights(rollouts.sequences, totals, value.detach())
            loss = loss + sign * term.weight * (weights * value).sum()
    return loss


def _teacher(session: Session, rollouts: Rollouts) -> tuple[Tensor | None, ForwardWork]:
    if session.operator.auxiliary.distillation is None:
        return None, NOTHING
    with torch.no_grad():
        return token_states(session.frozen["teacher"], rollouts)


def _with_terms(
    base: Head,
    auxiliary: Auxiliary,
    temperature: float,
    other: Tensor | None,
    teacher: Any,
    entropy: bool,
) -> Head:
    """The base head's columns, the entropy differentiable, and the divergence as the last."""
    spec = auxiliary.distillation

    def head(z: Tensor, at: Tensor) -> Tensor:
        found = list(base(z, at).unbind(1)) if entropy else [base(z, at)]
        z = exact(z) / temperature
        if auxiliary.entropy is not None:
            log_p = torch.log_softmax(z, dim=-1)
            found[1] = -(log_p.exp() * log_p.clamp_min(-1e9)).sum(-1)
        if spec is not None and other is not None:
            with torch.no_grad():
                theirs = logits(teacher, other[at]) / temperature
            found.append(divergence(spec, z, theirs))
        return torch.stack(found, dim=1)

    return head


def divergence(
    term: FullVocabulary, student: Float[Tensor, "m V"], teacher: Float[Tensor, "m V"]
) -> Float[Tensor, " m"]:
    """D of every token, nats, from logits that are already divided by the temperature.

    The teacher gets no gradient. Half precision is computed in float32. See
    `tod.operators.divergence` for the equation.
    """
    log_q, log_p = (log_softmax(exact(z), dim=-1) for z in (student, teacher.detach()))
    few = term.top_k is not None and term.top_k < log_p.shape[-1]
    top = log_p.topk(term.top_k or 1, dim=-1).indices if few else None
    return of_laws(term, log_p, log_q, top)  # type: ignore[return-value]
