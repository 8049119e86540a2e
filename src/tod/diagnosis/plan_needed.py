"""How many candidates a context needs, at the pilot's own K and of the population."""

from typing import Any

import numpy as np

from tod.base import Groups, to_numpy
from tod.diagnostics import ess_rel, kl_target_proposal, quantile
from tod.population import LegStatistics, needed_k
from tod.regimes import k_for_error, k_for_ess, k_for_kl

__all__ = ["needed_at_k", "needed_of"]


def needed_at_k(
    log_w: Any, contexts: Groups, count: float, error: float
) -> dict[str, dict[str, Any]]:
    """K for an effective number, for an error, and the size at which averages begin to settle.

    ``q90`` serves nine contexts in ten. ``at_floor`` is the share of contexts whose pilot reads
    under two effective candidates: their K is a lower bound.
    """
    rel = to_numpy(ess_rel(log_w, contexts))
    usable = ~np.isnan(rel)
    divergence = to_numpy(kl_target_proposal(log_w, contexts))[usable]
    floor = float((rel[usable] * contexts.sizes[usable] < 2).mean()) if usable.any() else None
    found = {
        "ess_count": (count, k_for_ess(rel[usable], count)),
        "error": (error, k_for_error(rel[usable], error)),
        "kl": (None, k_for_kl(np.maximum(divergence, 0.0))),
    }
    return {
        name: {
            "wanted": wanted,
            "median": int(quantile(k, 0.5)) if k.size else None,
            "q90": int(quantile(k, 0.9)) if k.size else None,
            "at_floor": floor,
        }
        for name, (wanted, k) in found.items()
    }


def needed_of(
    statistics: LegStatistics, at_k: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The needed K, with that of the population."""
    ess = statistics.population().get("target_proposal")
    if ess is None:
        return at_k
    counts = {
        "ess_count": at_k["ess_count"]["wanted"],
        "error": 4 / at_k["error"]["wanted"] ** 2,
    }
    for name, count in counts.items():
        for key, interval in (("population", ess.median), ("population_q90", ess.q10)):
            needed = needed_k(interval, count)
            at_k[name][key] = None if needed is None else needed.to_dict()
    return at_k
