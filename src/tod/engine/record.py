"""From a batch and its updates to the step's record and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tod.candidates import Candidates, Labels
from tod.diagnostics import ProbeReading
from tod.engine.collect import NOTHING, BatchEvidence
from tod.engine.costs import ModelCost, spent
from tod.engine.forward.index import Index
from tod.engine.rescore import UNPROBED, Probed
from tod.engine.session import Session
from tod.engine.update import Updated
from tod.operators import WithinBudget
from tod.procedure import Declared, Examined, Procedure, examine
from tod.runs import Ledger, RunDirectory
from tod.targets import TargetSpec


def diagnose(
    procedure: Procedure,
    evidence: BatchEvidence,
    updated: Updated,
    ranges: Mapping[str, Sequence[float]] | None = None,
    probe: ProbeReading | None = None,
) -> Examined:
    """D of the batch with π before the update; what only the engine knows is declared."""
    anchors = {"policy": updated.log_policy}
    if "old" not in evidence.anchors:
        anchors["old"] = updated.log_policy
    examined = examine(
        procedure,
        evidence.with_anchors(**anchors).candidates(),
        declared=Declared(
            activation=_activation(updated.activation),
            entropy=float(updated.entropy.mean()),
            reward_range=ranges or {},
        ),
    )
    return replace(examined, summary=replace(examined.summary, probe=probe))


def reward_ranges(session: Session) -> dict[str, list[float]]:
    """Least and largest value of every utility that cannot be outside."""
    known = {spec.name: spec.range for spec in session.settings.utilities}
    return {name: list(between) for name, between in known.items() if between is not None}


def optimiser(
    evidence: BatchEvidence, updated: Updated, surpassed: float | None = None
) -> dict[str, float | None]:
    """What the updates were like, means over them, and how many contexts a kept one took.

    ``surpassed``: share of contexts that stay at their anchor, passing more often than the
    target's selectivity asks.
    """

    def mean(values: list[float]) -> float | None:
        return sum(values) / len(values) if values else None

    found = {"grad_norm": mean(updated.grad_norm)}
    if updated.auxiliary:
        found["auxiliary"] = mean(updated.auxiliary)
    if updated.critic:
        found["critic"] = mean(updated.critic)
    if evidence.drawn is not None:
        found["resampling"] = evidence.drawn / len(evidence.rollouts.contexts)
    found |= unjudged(evidence)
    if surpassed is not None:
        found["surpassed"] = surpassed
    return found


def unjudged(evidence: BatchEvidence) -> dict[str, float | None]:
    """Share of all candidates that were drawn which no server judged, where there are any."""
    if not evidence.unjudged:
        return {}
    return {"unjudged": evidence.unjudged / (evidence.unjudged + evidence.judged)}


def _activation(shares: list[float]) -> float | None:
    """Mean activation over the updates that can gate anything.

    Where μ is the policy the first update of several has ρ = 1 throughout and gates nothing.
    """
    telling = shares[1:] if len(shares) > 1 and shares[0] == 0.0 else shares
    return float(np.mean(telling)) if telling else None


def ledger(
    session: Session, evidence: BatchEvidence, updated: Updated, probed: Probed = UNPROBED
) -> Ledger:
    """Tokens and operations of one step; sampling counts every prompt once and no idle rows."""
    useful = Index(evidence.rollouts).useful + evidence.dropped
    if not session.operator.proposal.samplers or evidence.rollouts.log_mu is None:
        useful = NOTHING
    cost = ModelCost.of(session.policy)
    scored = [*evidence.work.items(), *updated.scored.items()]
    of_step = spent(
        (cost, useful),
        [(cost_of(session, name), work) for name, work in scored],
        [(cost, updated.work), (cost, updated.critic_work)],
    )
    if session.probe is None:
        return of_step
    return replace(of_step, flops=(of_step.flops or 0.0) + probed.flops, probe_flops=probed.flops)


def cost_of(session: Session, name: str) -> ModelCost:
    """What a scoring model costs; the policy where the name is not of a frozen one."""
    return ModelCost.of(session.frozen.get(name, session.policy))


def write_tables(
    directory: RunDirectory,
    step: int,
    session: Session,
    evidence: BatchEvidence,
    examined: Examined,
    **more: Any,
) -> None:
    """The rows of a step in ``contexts/`` and ``rollouts/``, the latter with ``more`` columns."""
    rows = examined.diagnostics.rows(Labels(context=examined.candidates.labels.context))
    directory.write_contexts(step, {**rows, "step": [step] * len(rows["k"])})
    columns = rollout_columns(session, evidence, examined.candidates, examined.log_w)
    version = evidence.rollouts.version
    if version is not None:
        columns |= {"version": version, "lag": step - 1 - version}
    directory.write_rollouts(step, columns | more)


def rollout_columns(
    session: Session, evidence: BatchEvidence, candidates: Candidates, log_w: Any
) -> dict[str, Any]:
    """Candidates as the rows of ``rollouts/``: text, utilities, log-probs summed over tokens.

    Token ids of prompts and completions too, unless ``record_token_ids`` is off: a text leaves out
    special tokens that were drawn, and does not tell how it was cut into tokens.
    """
    labels = evidence.candidates(session.tokenizer).labels
    contexts = candidates.contexts
    assert labels.prompt is not None and labels.context is not None  # noqa: S101, PT018
    columns: dict[str, Any] = {
        "context": [labels.context[int(c)] for c in contexts.owner],
        "candidate": contexts.position,
        "prompt": [labels.prompt[int(c)] for c in contexts.owner],
        "completion": list(evidence.completions),
        "length": evidence.rollouts.sequences.sizes,
        "truncated": evidence.rollouts.truncated,
        "log_w": log_w,
    }
    if session.settings.record_token_ids:
        rollouts = evidence.rollouts
        columns["prompt_ids"] = [rollouts.prompts[int(c)] for c in contexts.owner]
        columns["token_ids"] = rollouts.sequences.split(rollouts.ids)
    columns |= {f"utility.{name}": values for name, values in candidates.utility.items()}
    columns |= {f"log_{name}": candidates.log_prob(name, "") for name in candidates.recorded}
    return columns


def turnable(procedure: Procedure) -> dict[str, Any]:
    """What remedies may turn: the KL budget where one finds the sharpness, else the target's."""
    weights = getattr(procedure.operator.action, "weights", None)
    if isinstance(weights, WithinBudget):
        return {"budget": weights.budget}
    target = procedure.target
    return {"eta": target.target.common_sharpness, "anchors": _anchors(target)}


def _anchors(target: TargetSpec) -> tuple[float, float] | None:
    """τ and β where they are what makes the sharpness."""
    knobs = target.knobs()
    return (knobs["tau"], knobs["beta"]) if {"tau", "beta"} <= set(knobs) else None
