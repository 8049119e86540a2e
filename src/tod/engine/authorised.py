"""Authorisation in a run: credits of neighbouring operators on one batch, and what is decided."""

from dataclasses import replace
from typing import Any

import numpy as np

from tod.arc import (
    Authorise,
    Authorised,
    AuthoriseState,
    Decision,
    authorise,
    credit_cosine,
    watched,
)
from tod.arc.authorise import NEXT, WATCH
from tod.base import TodError
from tod.engine.collect import BatchEvidence
from tod.engine.session import Session
from tod.engine.update import Updated
from tod.procedure import Examined, Procedure, credit


def authorised(
    session: Session,
    watch: AuthoriseState,
    procedure: Procedure,
    evidence: BatchEvidence,
    updated: Updated,
    examined: Examined,
    flops: float | None,
) -> tuple[AuthoriseState, Authorised]:
    """Read one batch: hold, hand over, or take back; moments are reset where the recipe says so.

    The credits are compared on the last batch of a window, at the policy before its updates.

    Args:
        session: The run.
        watch: What was remembered.
        procedure: The triple in force.
        evidence: The batch.
        updated: What its updates saw.
        examined: D of the batch.
        flops: Operations of the step.
    """
    config = session.settings.arc
    assert config is not None  # noqa: S101 - the caller checked
    assert config.authorise is not None  # noqa: S101 - the caller checked
    settings: Authorise = config.authorise
    cosines: dict[str, float | None] = {}
    if len(watch.seen) + 1 == settings.window:
        cosines = _cosines(session, config.operators, watch, procedure, evidence, updated)
    seen = watched(examined.summary, cosines)
    after, said = authorise(settings, config.operators, watch, seen, flops)
    if said.action != "hold" and settings.optimiser == "reset":
        session.optimiser.state.clear()
    return after, said


def with_operator(decision: Decision, said: Authorised, before: str, after: str) -> Decision:
    """A controller's decision with what was decided on the operator."""
    return replace(
        decision,
        action=decision.action if said.action == "hold" else said.action,
        before={**decision.before, "operator": before},
        after={**decision.after, "operator": after},
        why="; ".join(text for text in (decision.why, said.why) if text),
        compared=(*decision.compared, *said.compared),
    )


def _cosines(
    session: Session,
    operators: tuple[str, ...],
    watch: AuthoriseState,
    procedure: Procedure,
    evidence: BatchEvidence,
    updated: Updated,
) -> dict[str, float | None]:
    """Cosine of the credit in force with that of the operators next to it in the list."""
    place = operators.index(watch.operator)
    own = _credit(procedure, evidence, updated)
    found: dict[str, float | None] = {}
    for name, at in ((NEXT, place + 1), (WATCH, place - 1)):
        if not 0 <= at < len(operators):
            continue
        operator = session.settings.operator_named(operators[at])
        other = _credit(procedure.revised(operator=operator), evidence, updated)
        found[name] = None if own is None or other is None else credit_cosine(own, other)
    return found


def _credit(procedure: Procedure, evidence: BatchEvidence, updated: Updated) -> Any:
    """What an operator gives every token of the batch, [M]; None where it needs more than that."""
    log_policy = updated.log_policy
    log_old = evidence.anchors.get("old", log_policy)
    candidates = evidence.with_anchors(policy=log_policy, old=log_old).candidates()
    try:
        found = credit(procedure, candidates, log_policy, log_old).per_token
    except TodError:  # a critic, or columns that only its own proposal makes
        return None
    return np.asarray(found, dtype=np.float64)
