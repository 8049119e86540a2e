"""ESS_rel depends on K: its trend under subsampling, and its bias to first order in 1/K."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, to_numpy
from tod.diagnostics.ess import ess_rel
from tod.diagnostics.quantiles import Ordered

__all__ = ["TrendPoint", "k_trend"]


@dataclass(frozen=True)
class TrendPoint:
    """ESS_rel of k candidates drawn without replacement from each context that has k.

    Attributes:
        k: Candidates kept per context.
        contexts: Contexts that hold at least k.
        median: Median over contexts, averaged over resamples.
        q10: The 10 % quantile likewise.
        mean: The mean likewise.
    """

    k: int
    contexts: int
    median: float
    q10: float
    mean: float


def k_trend(
    log_w: Float[Array, " N"],
    contexts: Groups,
    sizes: Sequence[int],
    *,
    resamples: int = 16,
    seed: int = 0,
) -> list[TrendPoint]:
    """ESS_rel against K, all points from the contexts that reach the largest attainable size.

    One set of contexts for all points: otherwise the trend would mix K with which contexts have
    it. A trend still falling at the right end says that K is too small to read the population.
    Sizes that no context reaches are left out; contexts with unusable weights too.

    Args:
        log_w: log q̃*/μ, nats.
        contexts: Candidates in contexts.
        sizes: The values of K wanted.
        resamples: Draws of a subset per context and size.
        seed: Seed of the draws.
    """
    x = to_numpy(log_w).astype(np.float64)
    valid = np.isfinite(to_numpy(contexts.max(x)))
    reached = [k for k in sorted(set(sizes)) if 1 < k <= contexts.sizes[valid].max(initial=0)]
    if not reached:
        return []
    reaching = np.flatnonzero(valid & (contexts.sizes >= reached[-1]))
    large, rows = contexts.take(reaching)
    rng = np.random.default_rng(seed)
    many = Groups(np.tile(large.sizes, resamples))
    shuffled = _shuffled(np.tile(x[rows], resamples), many, rng)
    return [_point(shuffled, many, resamples, k) for k in reached]


def _shuffled(x: np.ndarray, contexts: Groups, rng: np.random.Generator) -> np.ndarray:
    """X in random order within contexts; the first k of each are a draw without replacement."""
    return x[np.argsort(contexts.owner + rng.random(len(x)))]


def _point(shuffled: np.ndarray, contexts: Groups, resamples: int, k: int) -> TrendPoint:
    """Statistics of every resample, which are consecutive runs of contexts, averaged."""
    first, equal = contexts.position < k, Groups.equal(len(contexts), k)
    values = to_numpy(ess_rel(shuffled[first], equal)).reshape(resamples, -1)
    drawn = [Ordered(v) for v in values]  # a subset may fall wholly outside the support: NaN
    drawn = [v for v in drawn if len(v)]
    return TrendPoint(
        k=k,
        contexts=values.shape[1],
        median=float(np.mean([v.quantile(0.5) for v in drawn])),
        q10=float(np.mean([v.quantile(0.1) for v in drawn])),
        mean=float(np.mean([v.values.mean() for v in drawn])),
    )


def delta_ess_rel(m2: float, m3: float, m4: float, k: int) -> float:
    """E[ESS_rel] at K to first order in 1/K from normalised moments m_j = E w^j / (E w)^j.

    1/m₂ + (1/K)[(m₂−1)/m₂ − 2(m₃−m₂)/m₂² + (m₄−m₂²)/m₂³]. Useful while ESS_rel stays above
    about .35; below, read the trend.

    Source: delta method (equation finite-k-bias)
    """
    correction = (m2 - 1) / m2 - 2 * (m3 - m2) / m2**2 + (m4 - m2**2) / m2**3
    return 1 / m2 + correction / k


@dataclass(frozen=True)
class LegMoments:
    """Moments under μ of w and ρ, both of mean 1, that the leg target/policy needs.

    Attributes:
        w2: E w².
        rho2: E ρ².
        w_rho: E wρ.
        w2_rho: E w²/ρ, the inverse of the leg.
        w3_rho: E w³/ρ.
        w4_rho2: E w⁴/ρ².
    """

    w2: float
    rho2: float
    w_rho: float
    w2_rho: float
    w3_rho: float
    w4_rho2: float


def delta_target_policy(moments: LegMoments, k: int) -> float:
    """E of the leg target/policy at K to first order in 1/K; ``delta_ess_rel`` when π = μ.

    Good to ±.03 where all three population legs are at least .35 and K ≥ 16.
    """
    m, e = moments.w2_rho, moments
    correction = (
        (e.w2 - 1 + e.rho2 - 1 - 2 * (e.w_rho - 1)) / m
        + (e.w4_rho2 - m**2) / m**3
        - 2 * (e.w3_rho - m) / m**2
        + (e.w2 - m) / m**2
    )
    return 1 / m + correction / k


def rare_pass_ess_rel(p: float, k: int) -> tuple[float, float]:
    """(E[ESS_rel | at least one pass], P(no pass)) when only passes, of probability p, weigh.

    p/(1 − (1−p)^K) and (1−p)^K: the population value is p, and a small K cannot show it.
    """
    no_hit = float(np.exp(k * np.log1p(-p)))
    return p / (1 - no_hit), no_hit
