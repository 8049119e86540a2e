"""Dynamic sampling with refill: contexts are drawn until enough of them say something."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from tod.diagnostics import constant_within
from tod.engine.collect import (
    BatchEvidence,
    drawn,
    everywhere,
    joined,
    judged_by_all,
    judged_or_error,
    only_judged,
)
from tod.engine.forward.index import Index
from tod.engine.session import Session
from tod.operators import Dynamic, Proposal


def dynamic(session: Session, step: int, spec: Proposal) -> BatchEvidence:
    """``prompts`` contexts, informative ones first come first kept, others only to fill up.

    Every round draws as many contexts as the last one's yield asks for, at most ``prompts``;
    its prompts follow from (step, round), so that a resumed run draws the same.

    Raises:
        UtilityError: A utility failed or returned nonsense.
    """
    rule = spec.dynamic
    assert isinstance(rule, Dynamic)  # noqa: S101 - asked only when configured
    parts: list[BatchEvidence] = []
    kept = seen = 0
    wanted = spec.prompts
    for turn in range(rule.max_rounds):
        block = (step - 1) * rule.max_rounds + turn
        examples = session.task.batch(block, spec.prompts)[:wanted]
        base = turn * spec.prompts
        part = everywhere(
            session,
            examples,
            lambda mine, numbers, base=base: drawn(session, mine, base + numbers, step),  # type: ignore[misc]
        )
        parts.append(part)
        seen += wanted
        if judged_by_all(session, part).any():
            kept += int(informative(session, only_judged(session, part)).sum())
        if kept >= spec.prompts:
            break
        missing, rate = spec.prompts - kept, max(kept / seen, 1.0 / seen)
        wanted = min(spec.prompts, int(np.ceil(missing / rate)))
    return _first(session, parts, spec.prompts)


def informative(session: Session, evidence: BatchEvidence) -> Bool[np.ndarray, " C"]:
    """Contexts whose tilts Σ_k η_k U_k differ."""
    tilt = session.settings.target.target.tilt(evidence.candidates())
    return ~constant_within(tilt, evidence.rollouts.contexts)


def _first(session: Session, parts: list[BatchEvidence], count: int) -> BatchEvidence:
    """The first ``count`` informative contexts in the order of drawing, filled up with others."""
    all_drawn = joined(parts)
    whole = judged_or_error(session, all_drawn)
    keep = informative(session, whole)
    order = np.concatenate([np.flatnonzero(keep), np.flatnonzero(~keep)])[:count]
    found = whole.take(np.sort(order))
    dropped = Index(all_drawn.rollouts).useful - Index(found.rollouts).useful
    return replace(found, drawn=len(all_drawn.examples), dropped=dropped)
