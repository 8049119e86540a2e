"""Two gaps that both bend log π − log μ and must be read apart.

log π − log μ = (log π − log π_old) + (log π_old − log μ): staleness, because the policy has moved
since it sampled, and engine mismatch, because the sampler's numerics are not the training
forward's. On long sequences either one alone drives the sequence ESS towards 1/K.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, Groups, to_numpy
from tod.diagnostics.drift import k2, k3
from tod.diagnostics.ess import ess_rel
from tod.diagnostics.quantiles import quantile
from tod.diagnostics.summary import Mismatch


def gap(
    log_a: Float[Array, " M"],
    log_b: Float[Array, " M"],
    sequences: Groups,
    contexts: Groups,
) -> Mismatch:
    """Statistics of log ρ = log a − log b on tokens drawn from b (C.8).

    ``gap(log_old, log_mu, …)`` is the engine mismatch, ``gap(log_pi, log_old, …)`` the staleness,
    exact in its KLs and χ² as far as tokens drawn from μ count as drawn from π_old. ESS is per
    sequence and within contexts, never pooled over tokens; singletons say nothing and are left out.

    Args:
        log_a: Token log-probs of the policy that is compared.
        log_b: Token log-probs of the policy that drew the tokens.
        sequences: Tokens in sequences.
        contexts: Sequences in contexts.
    """
    log_rho = to_numpy(log_a).astype(np.float64) - to_numpy(log_b).astype(np.float64)
    log_rho_sequence = to_numpy(sequences.sum(log_rho))
    with np.errstate(over="ignore"):
        squares = np.exp(2 * log_rho), np.exp(2 * log_rho_sequence)
        factor = np.exp(-log_rho.mean())
    return Mismatch(
        tokens=log_rho.size,
        mean_abs=_finite(np.abs(log_rho).mean()),
        k1=_finite(-log_rho.mean()),
        k2=_finite(to_numpy(k2(np.zeros_like(log_rho), log_rho)).mean()),
        k3=_finite(to_numpy(k3(np.zeros_like(log_rho), log_rho)).mean()),
        kl_sequence=_finite(-log_rho_sequence.mean()),
        ess_rel=_median_ess_rel(log_rho_sequence, contexts),
        chi2_token=_finite(squares[0].mean() - 1),
        chi2_sequence=_finite(squares[1].mean() - 1),
        perplexity_factor=_finite(factor),
    )


def gap_of_sequences(
    log_a: Float[Array, " N"], log_b: Float[Array, " N"], contexts: Groups
) -> Mismatch:
    """The same from sequence sums alone; what needs tokens is None."""
    log_rho = to_numpy(log_a).astype(np.float64) - to_numpy(log_b).astype(np.float64)
    with np.errstate(over="ignore"):
        squares = np.exp(2 * log_rho)
    return Mismatch(
        kl_sequence=_finite(-log_rho.mean()),
        ess_rel=_median_ess_rel(log_rho, contexts),
        chi2_sequence=_finite(squares.mean() - 1),
    )


def fraction_outside(log_rho: Float[Array, " M"], low: float, high: float) -> float:
    """Share of ρ outside [low, high]; the bounds are on ρ itself, never on 1/ρ.

    Raises:
        DataError: The bounds are not 0 ≤ low < high.
    """
    if not 0 <= low < high:
        raise DataError(f"bounds [{low}, {high}] on ρ: they are ordered and not negative.")
    x = to_numpy(log_rho)
    floor = math.log(low) if low > 0 else -math.inf
    return float(((x < floor) | (x > math.log(high))).mean())


def _median_ess_rel(log_rho: Any, contexts: Groups) -> float | None:
    values = to_numpy(ess_rel(log_rho, contexts))[contexts.sizes > 1]
    values = values[~np.isnan(values)]
    return quantile(values, 0.5) if values.size else None


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
