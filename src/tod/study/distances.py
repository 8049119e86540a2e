"""Distances and overlaps between laws over an enumerated language. All exact, per context."""

import numpy as np
from jaxtyping import Float

from tod.study.world import Law, normalised

_GOLDEN = (5**0.5 - 1) / 2


def total_variation(log_p: Law, log_q: Law) -> Float[np.ndarray, " C"]:
    """½·Σ|p − q|, in [0, 1]."""
    return variation(np.exp(log_p), np.exp(log_q))


def variation(
    p: Float[np.ndarray, "*n Y"], q: Float[np.ndarray, "*n Y"]
) -> Float[np.ndarray, "*n"]:
    """½·Σ|p − q| of probabilities, in [0, 1]."""
    return 0.5 * np.abs(p - q).sum(axis=-1)  # type: ignore[no-any-return]


def mean_variation(log_p: Law, log_q: Law) -> float:
    """Mean of the total variation over contexts, in [0, 1]."""
    return float(total_variation(log_p, log_q).mean())


def kl(log_p: Law, log_q: Law) -> Float[np.ndarray, " C"]:
    """KL(p‖q) in nats; +∞ where p has mass that q has not."""
    p = np.exp(log_p)
    gap = np.where(p > 0, log_p, 0.0) - np.where(p > 0, log_q, 0.0)
    return (p * gap).sum(axis=1)  # type: ignore[no-any-return]


def entropy(log_p: Law) -> Float[np.ndarray, " C"]:
    """−Σ p log p, nats."""
    p = np.exp(log_p)
    return -(p * np.where(p > 0, log_p, 0.0)).sum(axis=1)  # type: ignore[no-any-return]


def expectation(log_p: Law, values: Law) -> Float[np.ndarray, " C"]:
    """E_p of the values."""
    return (np.exp(log_p) * values).sum(axis=1)  # type: ignore[no-any-return]


def overlap(log_p: Law, log_q: Law) -> Float[np.ndarray, " C"]:
    """Population ESS_rel of p against draws of q: 1/(1 + χ²(p‖q)), in [0, 1]; 0 off q's support."""
    p = np.exp(log_p)
    with np.errstate(over="ignore"):
        second = (p * np.exp(np.where(p > 0, log_p - log_q, -np.inf))).sum(axis=1)
    return 1.0 / second  # type: ignore[no-any-return]


def uncovered(log_target: Law, log_proposal: Law, draws: int) -> Float[np.ndarray, " C"]:
    """Mass of the target on sequences of which ``draws`` draws are expected to hold none at all.

    Σ q(y)·(1 − μ(y))^draws: an oracle, for no weight statistic sees it.
    """
    miss = np.exp(draws * np.log1p(-np.minimum(np.exp(log_proposal), 1.0 - 1e-15)))
    return (np.exp(log_target) * miss).sum(axis=1)  # type: ignore[no-any-return]


def best_sharpness(log_p: Law, log_b: Law, u: Law, largest: float = 40.0) -> tuple[float, float]:
    """(η̂, what is left): the sharpness whose b·exp(η̂U) is nearest in mean TV, and that TV.

    One η̂ for all contexts, in [0, largest]: a grid, then golden sections around its best point.
    A law that no finite sharpness describes has η̂ = ``largest``.
    """

    def left(eta: float) -> float:
        return mean_variation(log_p, normalised(log_b + eta * u))

    grid = np.concatenate([np.linspace(0.0, 4.0, 21), np.geomspace(4.0, largest, 25)[1:]])
    best = int(np.argmin([left(eta) for eta in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(30):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, b) if left(a) < left(b) else (a, high)
    eta = min((float(grid[best]), float(0.5 * (low + high))), key=left)
    return eta, left(eta)


def geometric(parts: list[tuple[float, Law]]) -> Law:
    """The normalised product Π p_j^{ρ_j} of laws with exponents."""
    total = sum((rho * log_p for rho, log_p in parts), start=np.zeros(()))
    return normalised(np.asarray(total))
