"""One step's batch: examined, judged and put into records."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tod.base import to_numpy
from tod.candidates import Candidates
from tod.diagnostics import Diagnostics, Drift, Mismatch, Summary, drift, gap, measure
from tod.diagnostics.activation import activation_of_clip
from tod.live.batch import LiveBatch
from tod.procedure import utility_value
from tod.regimes import Regime, classify
from tod.targets import Target

VERDICTS = {"undetermined": -1.0, "operator_dominated": 0.0, "transition": 1.0, "swap_stable": 2.0}
"""``tod/verdict`` as a number, for trackers that draw numbers only."""


@dataclass(frozen=True, eq=False)
class Examined:
    """What a batch says under a target."""

    candidates: Candidates
    diagnostics: Diagnostics
    summary: Summary
    regime: Regime
    left_out: int
    """Contexts with a reward or log-prob that the target needs and that is unknown."""


def examine_batch(
    batch: LiveBatch,
    target: Target,
    *,
    assumed: bool,
    on_policy: bool,
    clipped: float | None,
    entropy: float | None,
) -> Examined:
    """Diagnostics, summary and regime; π before the batch is π_old.

    Args:
        batch: The step's candidates.
        target: q*.
        assumed: Whether the target is a guess.
        on_policy: Whether π is μ by the way the batch was made, for when it is not recorded.
        clipped: Share of all tokens that TRL logged as clipped, when known.
        entropy: Mean token entropy, when known.

    Raises:
        DataError: No context has all that the target reads.
        MissingLogProbs: The target names a policy that TRL did not compute.
    """
    needs = target.needs()
    candidates, kept = batch.candidates(needs, target.utilities)
    policy, log_mu = candidates.log_anchor.get("old"), candidates.log_mu
    diagnostics = measure(
        target.log_weights(candidates),
        target.tilt(candidates),
        candidates.contexts,
        utility=utility_value(target, candidates),
        log_r=None if policy is None or log_mu is None else policy - log_mu,
        legs_declared=("policy_proposal",) if on_policy else (),
    )
    summary = replace(
        diagnostics.summary(),
        drift=_drift(candidates),
        mismatch=_mismatch(candidates),
        activation=None if clipped is None else activation_of_clip(clipped, _active(candidates)),
        entropy=entropy,
    )
    regime = classify(summary, assumed_target=assumed, eta=target.sharpness)
    return Examined(candidates, diagnostics, summary, regime, len(batch.contexts) - len(kept))


def metrics(found: Examined, knobs: dict[str, float | None]) -> dict[str, float]:
    """What goes to the trainer's log, under ``tod/``; what is not known is absent."""
    summary, total = found.summary, max(found.summary.contexts.total, 1)
    values = {
        "ess_rel_median": summary.ess_rel.median,
        "ess_rel_q10": summary.ess_rel.q10,
        "max_weight_median": summary.tails.max_weight_median,
        "overlap_min": summary.overlap.minimum,
        "zero_information": summary.contexts.zero_information / total,
        "informative": float(summary.contexts.informative),
        "left_out": float(found.left_out),
        "drift_ref": summary.drift.ref,
        "mismatch_k3": None if summary.mismatch is None else summary.mismatch.k3,
        "verdict": VERDICTS[found.regime.verdict],
        **knobs,
    }
    return {f"tod/{name}": float(v) for name, v in values.items() if v is not None}


def _active(candidates: Candidates) -> float:
    """Share of the tokens whose context has candidates of different reward: A ≠ 0 there."""
    contexts: Any = candidates.contexts
    reward = next(iter(candidates.utility.values()), None)
    length = candidates.labels.length
    if reward is None or length is None:
        return 1.0
    varied = contexts.spread(contexts.max(reward) > contexts.min(reward))
    return float(length[varied].sum() / length.sum())


def _drift(candidates: Candidates) -> Drift:
    """KL(π‖ref) at the start of the step; π has not moved from π_old there."""
    policy = candidates.log_anchor.get("old")
    if policy is None or "ref" not in candidates.log_anchor:
        return Drift()
    anchors = {"ref": candidates.log_anchor["ref"]}
    mu = candidates.log_mu
    log_rho = None if mu is None else policy - mu
    return drift(policy, anchors, candidates.labels.length, log_rho)


def _mismatch(candidates: Candidates) -> Mismatch | None:
    """Training forward against the sampler, where the sampler's own log-probs were recorded."""
    tokens = candidates.tokens
    if tokens is None or tokens.log_mu is None or "old" not in tokens.log_anchor:
        return None
    old, log_mu = to_numpy(tokens.log_anchor["old"]), to_numpy(tokens.log_mu)
    if np.array_equal(old, log_mu):
        return None  # log mu was read off the training forward: there is no second engine
    return gap(old, log_mu, tokens.sequences, candidates.contexts)


def utility_means(batch: LiveBatch) -> dict[str, float | None]:
    """Mean of every utility over the rows that have it."""
    found: dict[str, float | None] = {}
    for name, values in batch.utility.items():
        known: Any = values[~np.isnan(values)]
        found[name] = float(known.mean()) if known.size else None
    return found
