"""Parts of a diagnosis that read more than log-weights: gaps, drift, feasible sharpness."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tod.base import Groups
from tod.candidates import Candidates, Labels
from tod.diagnosis.affordable import attained_as, largest_eta, search_top
from tod.diagnostics import Drift, GapSums, Mismatch, Summary, drift, gap_of_sequences
from tod.formats.reading import Reading
from tod.regimes import (
    EtaInterval,
    Thresholds,
    verdict_by_eta,
)

MOST_CONTEXTS = 4096
"""Contexts that a search over sharpness reads, evenly spread: its median then has a 90 % interval
of ±1.3 percentage points of rank, and a million candidates cost no more than some ten thousand."""
GRID = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
"""Sharpnesses tried, in units of 1/(deviation of the utility within contexts)."""


def policy_of(candidates: Candidates) -> Any:
    """Log π before it saw the batch: ``policy`` if recorded, else ``old``."""
    return candidates.log_anchor.get("policy", candidates.log_anchor.get("old"))


def mismatch(reading: Reading) -> Mismatch | None:
    """Engine mismatch log π_old − log μ where the sampler was not behind the trainer."""
    return _gap(reading, "old", "mu", fresh=True)


def staleness(reading: Reading) -> Mismatch | None:
    """The policy's travel log π − log π_old since it sampled."""
    return _gap(reading, "policy", "old", fresh=False)


def _gap(reading: Reading, first: str, second: str, *, fresh: bool) -> Mismatch | None:
    if first not in reading.recorded or second not in reading.recorded:
        return None
    contexts: Any = reading.contexts
    a, b = reading.log_prob(first, ""), reading.log_prob(second, "")
    if fresh and reading.lag is not None and int(reading.lag.max(initial=0)) > 0:
        behind = contexts.max(reading.lag.astype(np.float64)) > 0
        contexts, rows = contexts.take(np.flatnonzero(~behind))
        a, b = a[rows], b[rows]
    if not len(contexts):
        return None
    sums = GapSums()
    for part in reading.gaps.get((first, second), {}).values():
        sums.merge(part)
    return gap_of_sequences(a, b, contexts, sums)


def drift_of(reading: Reading) -> Drift:
    """KL(π‖ref) and KL(π‖π_old) by k1, draws of μ weighted by π/μ where μ is recorded.

    Without a recorded ``policy`` π is π_old itself. Nothing where the weights of too few
    candidates count: see ``diagnostics.drift``.
    """
    policy, mu = policy_of(reading), reading.log_mu
    if policy is None:
        return Drift()
    wanted = ("ref", "old") if "policy" in reading.log_anchor else ("ref",)
    anchors = {name: reading.log_anchor[name] for name in wanted if name in reading.log_anchor}
    if not anchors:
        return Drift()
    return drift(policy, anchors, reading.labels.length, None if mu is None else policy - mu)


def entropy_of(reading: Reading) -> float | None:
    """Nats per token: −Σ log μ / Σ length, unbiased for the entropy of μ at the drawn tokens.

    Empty candidates have no token, and do not count.
    """
    length = reading.labels.length
    if reading.log_mu is None or length is None or not int(length.sum()):
        return None
    return _finite(-float(np.asarray(reading.log_mu)[length > 0].sum()) / int(length.sum()))


def activation_of(reading: Reading) -> float | None:
    """Mean over the steps of what a run directory recorded; None without one."""
    recorded = reading.source.activation
    if not recorded:
        return None
    known = [recorded[s] for s in np.unique(reading.steps).tolist() if s in recorded]
    return float(np.mean(known)) if known else None


def cut(reading: Reading, step: int, at: slice) -> Reading:
    """The contexts of one step, as views, with the token sums of that step alone.

    The reading itself where nothing that is read of a part is recorded.
    """
    read = {"old", "ref"} & set(reading.recorded) or reading.source.activation
    if not read and reading.labels.length is None:
        return reading
    offsets = reading.contexts.offsets
    rows = slice(int(offsets[at.start]), int(offsets[at.stop]))
    labels = reading.labels
    return replace(
        reading,
        contexts=Groups(reading.contexts.sizes[at]),
        utility={name: x[rows] for name, x in reading.utility.items()},
        log_mu=None if reading.log_mu is None else reading.log_mu[rows],
        log_anchor={name: x[rows] for name, x in reading.log_anchor.items()},
        labels=Labels(
            step=reading.steps[at],
            length=None if labels.length is None else labels.length[rows],
        ),
        gaps={
            pair: {step: sums[step]} if step in sums else {} for pair, sums in reading.gaps.items()
        },
        lag=None if reading.lag is None else reading.lag[rows],
        read_texts=None,
    )


def spread_out(chosen: Any, most: int = MOST_CONTEXTS) -> Any:
    """At most ``most`` of the contexts, evenly spread."""
    if len(chosen) <= most:
        return chosen
    return chosen[np.linspace(0, len(chosen) - 1, most).astype(np.int64)]


def unknown_feasible(target: float) -> dict[str, Any]:
    """The block of ``feasible`` where no sharpness can be read."""
    return {"ess_rel_target": target, "quantile": 0.5, "eta_max": None, "attained": None}


def feasible(log_w0: Any, unit: Any, contexts: Groups, eta: float, target: float) -> dict[str, Any]:
    """Largest sharpness at which the median ESS_rel is still at the target, candidates held fixed.

    A context that no sharpness brings to the target counts as below it. ``attained`` is ``yes``,
    ``unbounded`` (no sharpness is too much), ``never`` (none is small enough), or None without any
    informative context.

    Args:
        log_w0: log b − log μ, or None for b = μ.
        unit: Utility at η = 1.
        contexts: Informative contexts.
        eta: Sharpness in force.
        target: ESS_rel to keep.
    """
    block = unknown_feasible(target)
    if not len(contexts):
        return block
    top = search_top(unit, contexts, eta)
    value, _ = largest_eta(log_w0, unit, contexts, target, 0.5, eta, top)
    attained = attained_as(value)
    return {**block, "eta_max": value if attained == "yes" else None, "attained": attained}


def intervals(
    log_w0: Any,
    unit: Any,
    contexts: Groups,
    eta: float,
    base: Summary,
    thresholds: Thresholds | None,
    log_r: Any,
    steps: Any,
) -> tuple[EtaInterval, ...]:
    """The verdict by sharpness, were the target declared; ``base`` is what was judged.

    ``steps`` are those of the contexts where the verdict is that of a run, else None.
    """
    deviation = np.sqrt(np.asarray(contexts.variance(unit)))
    known = deviation[np.isfinite(deviation) & (deviation > 0)]
    scale = 1.0 / float(np.median(known)) if known.size else 1.0
    grid = sorted({*(scale * x for x in GRID), abs(eta)})
    return verdict_by_eta(
        log_w0, unit, contexts, grid, thresholds=thresholds, base=base, log_r=log_r, steps=steps
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
