"""What a batch adds to the pool that a run is judged by."""

from typing import Any

import numpy as np

from tod.base import to_numpy
from tod.population import LegStatistics, leg_statistics
from tod.procedure.examine import Examined

__all__ = ["statistics_of"]


def statistics_of(examined: Examined) -> LegStatistics:
    """The sufficient statistics of a batch's legs: counts and moments, no rollout.

    Where the anchor is the proposal (b = μ) those of q*/μ are of the utility itself, and tell of
    any sharpness; elsewhere they are of log w at the sharpness in force. Statistics of q*/μ are
    None without a target, those of π/μ without the log-probs of both.
    """
    known, weights, seen = examined.known, examined.weights, examined.diagnostics
    contexts = known.candidates.contexts
    log_r: Any = known.log_r
    target: dict[str, Any] = {}
    if weights is not None and known.sampled:
        base = weights.base(slice(None))
        tilted = known.target is not None and bool(known.target.target.tilts)
        anchored = base is None and tilted and weights.declared is not None
        target = {
            "log_w": weights.unit(slice(None)) if anchored else weights.log_w,
            "anchored": anchored,
            "informative": seen.informative,
            "eta": weights.last,
            "width": known.width,
        }
    both = log_r is not None and weights is not None
    leg = seen.target_policy if both else None
    return leg_statistics(
        contexts,
        **target,
        log_r=None if log_r is None else to_numpy(log_r),
        target_policy=None if leg is None else leg[seen.informative & ~np.isnan(leg)],
    )
