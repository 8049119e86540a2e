"""A lower bound of ESS_rel of every prompt, where the range of the log-weights is declared."""

import math
from collections.abc import Sequence

from tod.base import SpecError
from tod.population.interval import Interval, PopulationEss

__all__ = ["declared_ess", "range_bound"]


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


def declared_ess(
    tilts: Sequence[tuple[float, float | None]], *, anchor_is_proposal: bool
) -> PopulationEss:
    """What the declared ranges of utilities say of every prompt, without any rollout.

    With b = μ the log-probs cancel and ω = Σ_k η_k·U_k up to a constant of the prompt, of range
    R ≤ Σ_k |η_k|·R_k. The bound then holds for all prompts, those without a signal among them.
    Otherwise log b − log μ has a range that nobody declares, and the bound is false: with
    μ = (.98, .02), b = (.5, .5), U = (0, 1) and η = 1 ESS_rel is .037, and sech²(1/2) is .786.

    Args:
        tilts: η_k with the declared range of U_k (of its definition, not of a sample), None where
            none is declared.
        anchor_is_proposal: Whether b = μ, by name: the anchor is the policy that drew the rollouts.
    """
    if not anchor_is_proposal:
        return _unreadable("the anchor is not the proposal: log b − log μ has no declared range")
    ranges = [abs(eta) * width for eta, width in tilts if width is not None and eta]
    if any(width is None and eta for eta, width in tilts):
        return _unreadable("the range of a reward is not declared")
    least = Interval(range_bound(sum(ranges)), None, None)
    return PopulationEss(least, least, 0, "declared")


def _unreadable(reason: str) -> PopulationEss:
    return PopulationEss(None, None, 0, None, reason)
