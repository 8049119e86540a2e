"""What a batch adds to the pool that a run is judged by."""

from typing import Any

import numpy as np

from tod.base import to_numpy
from tod.population import LegStatistics, leg_statistics
from tod.procedure.examine import Examined

__all__ = ["statistics_of"]

EVERYTHING = slice(None)


def statistics_of(examined: Examined, at: slice = EVERYTHING) -> LegStatistics:
    """The sufficient statistics of a batch's legs: counts and moments, no rollout.

    Where the anchor is the proposal (b = μ) those of q*/μ are of the utility itself, and tell of
    any sharpness; elsewhere they are of log w at the sharpness in force. Statistics of q*/μ are
    None without a target, those of π/μ without the log-probs of both.

    Args:
        examined: The batch, or several steps of a run.
        at: Places of consecutive prompts; all of them by default.
    """
    whole, weights, seen = examined.known, examined.weights, examined.diagnostics
    first, last, _ = at.indices(len(seen))
    known = whole.cut(slice(first, last))
    offsets = whole.candidates.contexts.offsets
    rows = slice(int(offsets[first]), int(offsets[last]))
    log_r: Any = known.log_r
    informative = seen.informative[first:last]
    target: dict[str, Any] = {}
    if weights is not None and known.sampled:
        tilted = known.target is not None and bool(known.target.target.tilts)
        anchored = tilted and weights.declared is not None and weights.base(rows) is None
        eta: Any = weights.eta[rows] if np.ndim(weights.eta) else weights.last
        target = {
            "log_w": weights.unit(rows) if anchored else weights.log_w[rows],
            "anchored": anchored,
            "informative": informative,
            "eta": float(eta[-1]) if np.ndim(eta) and len(eta) else eta,
            "width": known.width,
        }
    both = seen.target_policy is not None and log_r is not None and weights is not None
    leg: Any = seen.target_policy[first:last] if both else None  # type: ignore[index]
    return leg_statistics(
        known.candidates.contexts,
        **target,
        log_r=None if log_r is None else to_numpy(log_r),
        target_policy=None if leg is None else leg[informative & ~np.isnan(leg)],
    )
