"""A lower bound of ESS_rel of every prompt, where the range of the log-weights is declared."""

import math
from dataclasses import replace

from tod.base import SpecError
from tod.diagnostics.population_ess import Interval, PopulationEss

__all__ = ["range_at_bound", "range_bound", "with_bound"]


def range_bound(log_weight_range: float) -> float:
    """The least ESS_rel of any weights whose logarithms differ by at most R: sech²(R/2).

    It is reached by two values R apart, the lower with the chance 1/(1 + e^{−R}). R ≤ 1.2302 keeps
    every prompt at .7 and above, R ≤ 1.7627 at .5.

    Args:
        log_weight_range: R in nats, max − min over everything that μ may draw, ≥ 0.

    Raises:
        SpecError: R is negative or not a number.

    Source: Kantorovich's inequality, E w²/(E w)² ≤ (a + b)²/(4ab) for a ≤ w ≤ b.
    """
    if not log_weight_range >= 0:
        raise SpecError(
            f"a range of log-weights is a number of at least 0, got {log_weight_range}."
        )
    return 1 / math.cosh(log_weight_range / 2) ** 2 if log_weight_range < 1400 else 0.0


def range_at_bound(bound: float) -> float:
    """R = 2·arcosh(1/√bound), the widest range at which `range_bound` is still that, in (0, 1]."""
    return 2 * math.acosh(1 / math.sqrt(bound))


def with_bound(ess: PopulationEss, log_range: float) -> PopulationEss:
    """The same with no prompt below the bound of a declared range; readable even without prompts.

    Only where the anchor is the proposal is the range of the log-weights that of the rewards,
    R = Σ_k |η_k|·R_k: with b ≠ μ that of log b/μ is part of it, which nobody can declare. With
    μ = (.98, .02), b = (.5, .5), U = (0, 1) and η = 1 ESS_rel is .037, and sech²(1/2) is .786.

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
