"""How many candidates a context needs, from what a pilot batch showed of it."""

import numpy as np
from jaxtyping import Float

from tod.base import Array, SpecError, to_numpy

__all__ = ["k_for_error", "k_for_ess", "k_for_kl"]


def k_for_ess(ess_rel: Float[Array, " C"], count: float) -> Float[np.ndarray, " C"]:
    """K with an expected ESS of ``count``: ⌈count·(1+χ²)⌉ = ⌈count/ESS_rel⌉, at least 1.

    A pilot's ESS_rel is biased upward at small K (it cannot read below 1/K), so this is a lower
    bound where ESS_rel is near 1/K of the pilot.

    Raises:
        SpecError: The count is not positive.

    Source: derived (equation needed-k)
    """
    if not count > 0:
        raise SpecError(f"count = {count}: the number of effective candidates wanted is positive.")
    return _whole(count / to_numpy(ess_rel).astype(np.float64))


def k_for_error(ess_rel: Float[Array, " C"], error: float) -> Float[np.ndarray, " C"]:
    """K with root mean square error ≤ ``error`` for any |f| ≤ 1: ⌈4(1+χ²)/error²⌉.

    From MSE ≤ 4(1+χ²)/K of self-normalised estimates (Agapiou et al., arXiv 1511.06196).

    Raises:
        SpecError: The error is not positive.

    Source: Agapiou et al. 2017, 1511.06196 (equation needed-k-error)
    """
    if not error > 0:
        raise SpecError(f"error = {error}: the root mean square error allowed is positive.")
    return _whole(4 / (to_numpy(ess_rel).astype(np.float64) * error**2))


def k_for_kl(kl: Float[Array, " C"], slack: float = 0.0) -> Float[np.ndarray, " C"]:
    """K ≈ ⌈exp(KL(q*‖μ) + slack)⌉, the size around which self-normalised averages begin to settle.

    Chatterjee and Diaconis, arXiv 1511.01437: L¹ error falls as exp(−slack/4) above it, and below
    it weights fail. A KL estimated on K candidates never exceeds log K.

    Raises:
        SpecError: A negative KL divergence.

    Source: Chatterjee and Diaconis 2018, 1511.01437 (equation needed-k-kl)
    """
    values = to_numpy(kl).astype(np.float64)
    if bool((values < -1e-9).any()):
        raise SpecError(f"kl = {values.min()}: a KL divergence is at least 0; hand in KL(q*‖mu).")
    with np.errstate(over="ignore"):
        return _whole(np.exp(np.maximum(values, 0.0) + slack))


def _whole(k: Float[np.ndarray, " C"]) -> Float[np.ndarray, " C"]:
    """Up to the next integer, forgiving rounding just above one."""
    with np.errstate(invalid="ignore"):
        return np.maximum(np.ceil(k * (1 - 1e-12)), 1.0)
