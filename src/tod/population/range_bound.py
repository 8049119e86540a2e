"""What the declared range of a reward guarantees of every prompt, whatever was drawn."""

import math
from dataclasses import replace

from tod.diagnostics.population_ess import Interval, PopulationEss

__all__ = ["range_bound", "with_bound"]


def range_bound(log_range: float) -> float:
    """sech²(R/2): ESS_rel of no prompt is below it where log-weights lie within a range R, nats.

    Only where the anchor is the proposal is that range the one of the rewards, R = Σ_k η_k R_k;
    with b ≠ μ the range of log b/μ would be part of it, which nobody can declare. It is 0.786 for a
    0/1 reward at η = 1, 0.7 at R = 1.2309, 0.5 at R = 1.7627.

    Source: Kantorovich's inequality (equation range-bound)
    """
    half = abs(log_range) / 2
    return 4.0 * math.exp(-2 * half) / (1.0 + math.exp(-2 * half)) ** 2


def with_bound(ess: PopulationEss, log_range: float) -> PopulationEss:
    """The same with no prompt below the bound of a declared range; readable even without prompts.

    Args:
        ess: What the groups tell, with b = μ.
        log_range: Declared range of ηU, nats: never that of a sample.
    """
    bound = range_bound(log_range)
    method = ess.method if ess.median is not None else "range"
    return replace(
        ess,
        median=_lifted(ess.median, bound),
        q10=_lifted(ess.q10, bound),
        method=method,
        unreadable=None,
        bound=bound,
    )


def _lifted(interval: Interval | None, bound: float) -> Interval:
    if interval is None:
        return Interval(bound, None, 1.0)
    low, high = interval.low or 0.0, 1.0 if interval.high is None else interval.high
    value = None if interval.value is None else max(interval.value, bound)
    return Interval(max(low, bound), value, max(high, bound))
