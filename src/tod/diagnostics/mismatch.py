"""Two gaps that both bend log π − log μ and must be read apart.

log π − log μ = (log π − log π_old) + (log π_old − log μ): staleness, because the policy has moved
since it sampled, and engine mismatch, because the sampler's numerics are not the training
forward's. On long sequences either one alone drives the sequence ESS towards 1/K.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, Groups, to_numpy
from tod.diagnostics.drift import k2, k3, nonnegative
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
    sums = GapSums()
    sums.add(log_rho)
    return gap_of_sequences(to_numpy(sequences.sum(log_rho)), 0.0, contexts, sums)


@dataclass
class GapSums:
    """Running sums of log ρ_t = log a − log b over tokens drawn from b.

    Attributes:
        tokens: How many tokens.
        total: Σ log ρ.
        absolute: Σ |log ρ|.
        k2: Σ (log ρ)²/2.
        k3: Σ ρ − 1 − log ρ.
        squares: Σ ρ² − 1.
    """

    tokens: int = 0
    total: float = 0.0
    absolute: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    squares: float = 0.0

    def add(self, log_rho: Float[np.ndarray, " M"]) -> None:
        """Some tokens."""
        zero = np.zeros_like(log_rho)
        with np.errstate(over="ignore", invalid="ignore"):
            self.tokens += log_rho.size
            self.total += float(log_rho.sum())
            self.absolute += float(np.abs(log_rho).sum())
            self.k2 += float(np.sum(to_numpy(k2(zero, log_rho))))
            self.k3 += float(np.sum(to_numpy(k3(zero, log_rho))))
            self.squares += float(np.expm1(2 * log_rho).sum())

    def merge(self, other: "GapSums") -> None:
        """Add another's sums."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def means(self) -> dict[str, Any]:
        """The fields of a `Mismatch` that tokens tell; nothing without tokens."""
        if not self.tokens:
            return {}
        n, factor = self.tokens, -self.total / self.tokens
        return {
            "tokens": n,
            "mean_abs": _finite(self.absolute / n),
            "k1": _finite(factor),
            "k2": _finite(self.k2 / n),
            "k3": _finite(self.k3 / n),
            "chi2_token": _finite(self.squares / n),
            "perplexity_factor": math.exp(factor) if factor < 700 else None,
        }


def gap_of_sequences(
    log_a: Float[Array, " N"],
    log_b: Float[Array, " N"] | float,
    contexts: Groups,
    tokens: GapSums | None = None,
) -> Mismatch:
    """The same from sums over sequences; what needs tokens is None without theirs.

    The KL of sequences is 0 where its estimate is below 0 by noise, and None where by more.
    """
    b = log_b if isinstance(log_b, float) else to_numpy(log_b).astype(np.float64)
    log_rho = to_numpy(log_a).astype(np.float64) - b
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.expm1(2 * log_rho)
        error = float(log_rho.std()) / math.sqrt(max(log_rho.size, 1))
    return Mismatch(
        kl_sequence=nonnegative(-float(log_rho.mean()), error),
        ess_rel=_median_ess_rel(log_rho, contexts),
        chi2_sequence=_finite(squares.mean()),
        **({} if tokens is None else tokens.means()),
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
