"""How far the policy has moved from an anchor: three estimators of one KL, nats.

With y ~ π and x = log anchor − log π, each of k1, k2, k3 estimates KL(π‖anchor) (Schulman 2020).
On samples of another policy μ they estimate KL(μ‖anchor) when log π is log μ, and otherwise need
the weight ρ = π/μ. Tokens and sequences are different quantities: a mean over tokens is not a KL of
sequences.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from tod.base import Array, DataError, Groups, Unknown, namespace, to_numpy
from tod.diagnostics.ess import ess_rel
from tod.diagnostics.quantiles import quantile
from tod.diagnostics.summary import Drift, Mismatch, finite

__all__ = ["GapSums", "drift_and_reasons", "gap_of_sequences"]

MOST_ERRORS = 3.0
"""Standard errors below 0 at which an estimate of a KL is still 0 and its noise."""
FEWEST_SHARE = 0.1
"""Share of the draws that must count, as an effective number, for a drift to be read off them."""


@dataclass(frozen=True)
class Kl:
    """Means of the three estimators, nats; k1 may be negative, k2 and k3 may not."""

    k1: float
    k2: float
    k3: float


def k1(log_pi: Float[Array, " N"], log_anchor: Float[Array, " N"]) -> Float[Array, " N"]:
    """−x = log π − log anchor: unbiased, of either sign; sd d for unit Gaussians d apart."""
    return log_pi - log_anchor  # type: ignore[no-any-return]


def k2(log_pi: Float[Array, " N"] | float, log_anchor: Float[Array, " N"]) -> Float[Array, " N"]:
    """x²/2: biased (d⁴/8 for unit Gaussians d apart), low variance."""
    x = log_anchor - log_pi
    return x * x / 2  # type: ignore[no-any-return]


def k3(log_pi: Float[Array, " N"], log_anchor: Float[Array, " N"]) -> Float[Array, " N"]:
    """e^x − 1 − x: unbiased, never negative, heavy upper tail for large drifts.

    Below |x| = 0.01 the difference is summed as a series, whose first terms would cancel. Above
    x = 709 it is +∞.
    """
    x = log_anchor - log_pi
    with np.errstate(over="ignore"):
        return _above_the_tangent(x, namespace(x).expm1(x))  # type: ignore[no-any-return]


def _above_the_tangent(x: Any, growth: Any) -> Any:
    """e^x − 1 − x, of x and of ``growth`` = e^x − 1."""
    series = x * x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720)))))
    xp = namespace(x)
    return xp.where(xp.abs(x) < 0.01, series, growth - x)


def kl(
    log_pi: Float[Array, " N"],
    log_anchor: Float[Array, " N"],
    log_rho: Float[Array, " N"] | None = None,
) -> Kl:
    """Means over tokens, or over sequences when the log-probs are sequence sums.

    Args:
        log_pi: log π of what was drawn.
        log_anchor: log-prob of the anchor there.
        log_rho: log π/μ when the draws come from μ; every term is then weighted by ρ.

    Source: Schulman 2020, Approximating KL divergence (equation drift)
    """
    rho: Any = 1.0 if log_rho is None else namespace(log_rho).exp(log_rho)
    terms = (f(log_pi, log_anchor) * rho for f in (k1, k2, k3))
    return Kl(*(float(namespace(log_pi).mean(term)) for term in terms))


def kl_per_sequence(
    log_pi: Float[Array, " M"], log_anchor: Float[Array, " M"], sequences: Groups
) -> Kl:
    """Mean over sequences of the tokens' estimators summed: KL_seq, nats."""
    sums = (sequences.sum(f(log_pi, log_anchor)) for f in (k1, k2, k3))
    return Kl(*(float(namespace(log_pi).mean(value)) for value in sums))


def nonnegative(value: float, error: float) -> float | None:
    """An estimate of what cannot be negative: 0 in the place of noise below 0, None of the rest.

    Args:
        value: The estimate.
        error: Its standard error.
    """
    if not math.isfinite(value):
        return None
    return max(value, 0.0) if value >= -MOST_ERRORS * error else None


def drift(
    log_pi: Float[Array, " N"],
    anchors: Mapping[str, Float[Array, " N"]],
    lengths: Num[np.ndarray, " N"] | None = None,
    log_rho: Float[Array, " N"] | None = None,
) -> Drift:
    """The record of `drift_and_reasons`, without its reasons."""
    return drift_and_reasons(log_pi, anchors, lengths, log_rho)[0]


def drift_and_reasons(
    log_pi: Float[Array, " N"],
    anchors: Mapping[str, Float[Array, " N"]],
    lengths: Num[np.ndarray, " N"] | None = None,
    log_rho: Float[Array, " N"] | None = None,
) -> tuple[Drift, tuple[Unknown, ...]]:
    """k1 on sequences by anchor, per token where lengths are known, and why a KL is not known.

    KL(π‖anchor) = Σ ρ (log π − log anchor)/Σ ρ; per token, over Σ ρ L. A KL is never negative: an
    estimate up to three standard errors below 0 is 0, and one further below is unknown, because
    the draws are then not those of π (unweighted draws of μ estimate KL(μ‖anchor) minus a gap), or
    the log-probs not of the same tokens. Unknown too where fewer than a tenth of the draws count,
    (Σρ)²/Σρ² < N/10: π is too far from μ to be read there.

    Args:
        log_pi: log π of every sequence, as a sum over its tokens.
        anchors: The same of ``ref`` and ``old``; others are ignored.
        lengths: Tokens of every sequence.
        log_rho: log π/μ when the draws come from μ; None for draws of π itself.
    """
    names = [name for name in ("ref", "old") if name in anchors]
    rho = _normalised(log_rho) if names else None
    if rho is None:
        return Drift(), tuple(_too_far(name) for name in names)
    record: dict[str, float | None] = {}
    reasons = []
    for name in names:
        with np.errstate(over="ignore", invalid="ignore"):
            x = to_numpy(k1(log_pi, anchors[name])).astype(np.float64)
            mean = float(np.mean(x * rho))
            error = float(np.sqrt(np.mean((rho * (x - mean)) ** 2) / max(x.size, 1)))
        value = record[name] = nonnegative(mean, error)
        if value is None:
            reasons.append(_impossible(name, mean, error))
        elif lengths is not None and np.any(lengths):
            record[f"{name}_token"] = finite(value / np.mean(np.asarray(lengths) * rho))
    return Drift(**record), tuple(reasons)


def gap(
    log_a: Float[Array, " M"],
    log_b: Float[Array, " M"],
    sequences: Groups,
    contexts: Groups,
) -> Mismatch:
    """Statistics of log ρ = log a − log b on tokens drawn from b (docs/equations.md C.8).

    ``gap(log_old, log_mu, …)`` is the engine mismatch, ``gap(log_pi, log_old, …)`` the staleness,
    exact in its KLs and χ² as far as tokens drawn from μ count as drawn from π_old. ESS is per
    sequence and within contexts, never pooled over tokens; singletons say nothing and are left out.

    Args:
        log_a: Token log-probs of the policy that is compared.
        log_b: Token log-probs of the policy that drew the tokens.
        sequences: Tokens in sequences.
        contexts: Sequences in contexts.

    Source: C.8 (equation engine-gap)
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
        growth: Σ ρ − 1.
    """

    tokens: int = 0
    total: float = 0.0
    absolute: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    squares: float = 0.0
    growth: float = 0.0

    def add(self, log_rho: Float[np.ndarray, " M"]) -> None:
        """Some tokens."""
        with np.errstate(over="ignore", invalid="ignore"):
            growth = np.expm1(log_rho)
            self.tokens += log_rho.size
            self.total += float(log_rho.sum())
            self.absolute += float(np.abs(log_rho).sum())
            self.k2 += float(to_numpy(k2(0.0, log_rho)).sum())
            self.k3 += float(_above_the_tangent(log_rho, growth).sum())
            self.squares += float((growth * (growth + 2)).sum())
            self.growth += float(growth.sum())

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
            "mean_abs": finite(self.absolute / n),
            "k1": finite(factor),
            "k2": finite(self.k2 / n),
            "k3": finite(self.k3 / n),
            "chi2_token": finite(self.squares / n),
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
        chi2_sequence=finite(squares.mean()),
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


def _too_far(name: str) -> Unknown:
    return Unknown(
        f"drift.{name}",
        "too few draws of mu count as draws of the policy, which is far from it",
        "a fresher proposal",
        "too_few",
    )


def _impossible(name: str, mean: float, error: float) -> Unknown:
    if not math.isfinite(mean):
        why = f"log policy - log {name} is infinite for some rollout"
        return Unknown(f"drift.{name}", why, f"finite log-probs of policy and {name}", "unbounded")
    return Unknown(
        f"drift.{name}",
        f"its estimate, {mean:.3g} nats with a standard error of {error:.2g}, is no KL: the "
        f"rollouts are no draws of the policy, or log policy and log {name} are not of the same "
        "tokens",
        "log_mu of the sampler, and log-probs of the same tokens and temperature",
        "impossible",
    )


def _normalised(log_rho: Any) -> Any:
    """ρ of mean 1; 1 for draws of π itself, None where too few of them count."""
    if log_rho is None:
        return 1.0
    r = to_numpy(log_rho).astype(np.float64)
    top = float(np.max(r, initial=-math.inf))
    if not math.isfinite(top):
        return None
    rho = np.exp(r - top)
    rho /= rho.mean()
    return rho if len(rho) / np.mean(rho * rho) >= FEWEST_SHARE * len(rho) else None
