"""One step's batch: examined, judged and put into records."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tod.candidates import Candidates
from tod.diagnostics import ProbeReading, Summary, activation_of_clip
from tod.live.export import LiveBatch
from tod.population import LegStatistics
from tod.procedure import Declared, Examined, examine, statistics_of
from tod.regimes import GrowingPool, Regime, classify
from tod.runs import facts

VERDICTS = {"undetermined": -1.0, "operator_dominated": 0.0, "transition": 1.0, "swap_stable": 2.0}
"""``tod/verdict`` as a number, for trackers that draw numbers only."""


@dataclass(frozen=True, eq=False)
class ExaminedStep:
    """A batch as it was examined under a target, and its regime."""

    examined: Examined
    summary: Summary
    """Diagnostics of the batch, with the population of the pool so far."""
    statistics: LegStatistics
    """What the batch adds to the pool."""
    regime: Regime
    left_out: int
    """Contexts with a reward or log-prob that the target needs and that is unknown."""


def judge(
    batch: LiveBatch,
    target: Any,
    pool: GrowingPool,
    step: int,
    *,
    assumed: bool,
    on_policy: bool,
    clipped: float | None,
    entropy: float | None,
    probe: ProbeReading | None = None,
) -> ExaminedStep:
    """D of the batch and its regime; π before the batch is π_old.

    Args:
        batch: The step's candidates.
        target: q*, any family.
        pool: The run so far, to which the batch is added.
        step: The batch's number.
        assumed: Whether the target is a guess.
        on_policy: Whether π is μ by the way the batch was made, for when it is not recorded.
        clipped: Share of all tokens that the trainer logged as clipped, when known.
        entropy: Mean token entropy, when known.
        probe: What the policy says of a probe, where one was read at this step.

    Raises:
        DataError: No context has all that the target reads.
        MissingLogProbs: The target names a policy that the trainer did not compute.
    """
    general = target.target
    candidates, kept = batch.candidates(general.needs(), general.utilities)
    activation = None if clipped is None else activation_of_clip(clipped, _active(candidates))
    old: Any = candidates.log_anchor.get("old")
    mu: Any = candidates.log_mu
    copied = old is not None and mu is not None and np.array_equal(old, mu)
    declared = Declared(on_policy, activation, entropy, one_engine=copied)
    examined = examine(target, candidates, declared=declared)
    examined = replace(examined, summary=replace(examined.summary, probe=probe))
    statistics = statistics_of(examined)
    summary = pool.add(step, statistics, examined.summary)
    regime = classify(summary, assumed_target=assumed, eta=general.common_sharpness)
    return ExaminedStep(examined, summary, statistics, regime, len(batch.contexts) - len(kept))


def metrics(found: ExaminedStep, knobs: dict[str, float | None]) -> dict[str, float]:
    """What goes to the trainer's log, under ``tod/``; what is not known is absent."""
    values = {
        **facts.metrics(found.summary.to_dict()),
        **population(found.summary),
        "left_out": found.left_out,
        "verdict": VERDICTS[found.regime.verdict],
        **knobs,
    }
    return {f"tod/{name}": float(v) for name, v in values.items() if v is not None}


def population(summary: Summary) -> dict[str, float | None]:
    """Population median of every leg with its 90 % interval, of the pool as it was last read."""
    found: dict[str, float | None] = {}
    for leg, ess in (summary.population or {}).items():
        if ess.median is not None:
            ends = {"low": ess.median.low, "value": ess.median.value, "high": ess.median.high}
            found |= {f"population/{leg}_{end}": value for end, value in ends.items()}
    return found


def _active(candidates: Candidates) -> float:
    """Share of the tokens whose context has candidates of different reward: A ≠ 0 there."""
    contexts: Any = candidates.contexts
    reward = next(iter(candidates.utility.values()), None)
    length = candidates.labels.length
    if reward is None or length is None:
        return 1.0
    varied = contexts.spread(contexts.max(reward) > contexts.min(reward))
    return float(length[varied].sum() / length.sum())


def utility_means(batch: LiveBatch) -> dict[str, float | None]:
    """Mean of every utility over the rows that have it."""
    found: dict[str, float | None] = {}
    for name, values in batch.utility.items():
        known: Any = values[~np.isnan(values)]
        found[name] = float(known.mean()) if known.size else None
    return found
