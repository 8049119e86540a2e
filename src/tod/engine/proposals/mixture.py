"""Candidates of several models, each weighed by the mixture of all: the balance heuristic."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups
from tod.engine.collect import BatchEvidence, decoded, draw, everywhere, scored
from tod.engine.costs import ForwardWork
from tod.engine.data.task import Example
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.rollouts import Rollouts
from tod.engine.session import Session
from tod.operators import MixtureProposal

Values = Float[np.ndarray, " _"]


def mixture(session: Session, step: int, spec: MixtureProposal) -> BatchEvidence:
    """K candidates of every prompt from all components, log μ of the mixture.

    Costs one scoring forward of every component over all candidates.
    """

    def make(examples: list[Example], numbers: Int[np.ndarray, " c"]) -> BatchEvidence:
        rollouts = _drawn(session, step, spec, examples, numbers)
        temperature = session.operator.proposal.temperature
        drawing = {str(name): session.model_named(name) for name in spec.counts}
        anchors: dict[str, Values] = {}
        work: dict[str, ForwardWork] = {}
        for name, model in (session.anchor_models | drawing).items():
            anchors[name], work[name] = scored_log_probs(model, rollouts, temperature)
        shares: dict[str, float] = {n: count / spec.size for n, count in spec.counts.items()}
        rollouts = replace(rollouts, log_mu=mixed_log_prob(anchors, shares, rollouts.sequences))
        completions = decoded(session, rollouts)
        utility, judged = scored(session, examples, rollouts, completions)
        return BatchEvidence(
            rollouts, tuple(examples), completions, utility, anchors, work | judged
        )

    return everywhere(session, session.task.batch(step - 1, spec.prompts), make)


def mixed_log_prob(
    found: Mapping[str, Values], shares: Mapping[str, float], sequences: Groups
) -> Values:
    """Log μ of every token under Σ_j α_j μ_j over whole sequences, [M], nats.

    The increments of log Σ_j α_j Π_{u≤t} μ_j(y_u): they add up to the sequence's log μ exactly.
    """
    before = np.full(sequences.total, -np.inf)
    after = before.copy()
    for name, share in shares.items():
        running = _cumulative(found[name], sequences)
        after = np.logaddexp(after, np.log(share) + running)
        before = np.logaddexp(before, np.log(share) + running - found[name])
    return after - before  # type: ignore[no-any-return]


def _cumulative(x: Values, sequences: Groups) -> Values:
    """Running sum within every sequence."""
    total = np.cumsum(x)
    start = sequences.offsets[:-1]
    return total - np.repeat(total[start] - x[start], sequences.sizes)  # type: ignore[no-any-return]


def _drawn(
    session: Session,
    step: int,
    spec: MixtureProposal,
    examples: list[Example],
    numbers: Int[np.ndarray, " c"],
) -> Rollouts:
    """Every component's candidates, then sorted into their contexts."""
    parts, owner = [], []
    for place, (name, count) in enumerate(spec.counts.items()):
        model, seed = session.model_named(name), session.settings.seed + place
        rollouts = draw(session, model, examples, count, step, numbers, seed=seed)
        parts.append(rollouts)
        owner.append(rollouts.contexts.owner)
    order = np.argsort(np.concatenate(owner), kind="stable")
    sequences, tokens = Groups(np.concatenate([p.sequences.sizes for p in parts])).take(order)
    return Rollouts(
        prompts=parts[0].prompts,
        contexts=Groups.equal(len(examples), spec.size),
        sequences=sequences,
        ids=np.concatenate([p.ids for p in parts])[tokens],
        log_mu=None,
        truncated=np.concatenate([p.truncated for p in parts])[order],
    )
