"""Tempering by the ESS of an increment, as adaptive sequential Monte Carlo chooses its bridges."""

from math import log, sqrt


def ess_tempering(current: float, goal: float, increment: float, variance: float | None) -> float:
    """η + Δ with ESS_rel of exp(Δ·U) equal to ``increment``, to second order; at most the goal.

    −ln ESS_rel = Δ²·Var U, so that Δ = √(−ln α / Var U). Where U does not differ it is not known,
    and η stays.

    Args:
        current: η in force.
        goal: η*.
        increment: α, ESS_rel that one step leaves.
        variance: Mean variance of η·U within a context, nats², of the batch drawn at η.

    Source: docs/equations.md D.3 (equation ess-tempering)
    """
    if variance is None or not variance > 0:
        return current
    return min(goal, current * (1 + sqrt(-log(increment) / variance)))
