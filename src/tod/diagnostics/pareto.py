"""Pareto-smoothed importance sampling: the tail index k̂ of the weights and what follows from it.

Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", JMLR 25(72), 2024;
fit by Zhang and Stephens 2009. The tail length is floored (arviz); R's posterior takes its ceiling.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tod.base import Array, Groups, to_numpy
from tod.diagnostics.ess import log_z
from tod.diagnostics.kernel import weight_statistics

__all__ = ["fit_tail", "pareto_k", "smoothed_log_weights"]

SMALLEST = 25
"""Fewest draws for a k̂: the tail then holds five (docs/equations.md C.7)."""
ROUNDING = 1e-9
"""Weights closer than this, relatively, are equal: log-weights are sums with rounding errors."""


@dataclass(frozen=True)
class ParetoFit:
    """A generalised Pareto tail: exceedances over ``cutoff``, weights relative to the largest.

    Attributes:
        k: Shape k̂ after the weak prior; NaN when there is no fit.
        sigma: Scale.
        cutoff: The (M+1)-th largest weight.
        tail: M, the number of draws in the tail.
    """

    k: float
    sigma: float
    cutoff: float
    tail: int


def tail_length(draws: int) -> int:
    """M = ⌊min(S/5, 3√S)⌋."""
    return int(min(draws / 5, 3 * math.sqrt(draws)))


def fit_tail(log_w: Float[np.ndarray, " n"], draws: int | None = None) -> ParetoFit:
    """Generalised Pareto fit to the M largest weights of one sample.

    Args:
        log_w: Log-weights of the sample, or at least its M + 1 largest.
        draws: Size S of the whole sample, when ``log_w`` is only its upper part.

    No fit (k̂ = NaN) for S < 25, for invalid log-weights, where the lower quarter of the tail ties
    with the cutoff (a constant tail has no shape), and where the tail holds few values: fewer than
    the five of the smallest sample, or fewer than half as many as draws. A generalised Pareto law
    is continuous and has no ties; the fit counts M values where there are d, so that from d < M/2
    on its spread is understated by more than √2. With a 0/1 utility d is at most the number of
    possible pass counts, and k̂ would read the grid of utilities. arviz fits such tails.
    """
    draws = len(log_w) if draws is None else draws
    size, none = tail_length(draws), ParetoFit(math.nan, math.nan, math.nan, 0)
    if draws < SMALLEST or not math.isfinite(top := float(np.max(log_w))):
        return none
    with np.errstate(over="ignore"):
        upper = np.sort(np.partition(log_w, -size - 1)[-size - 1 :] - top)
    weights = np.exp(upper)
    exceedances = weights[1:] - weights[0]
    exceedances[exceedances <= ROUNDING * weights[0]] = 0
    distinct = 1 + np.count_nonzero(np.diff(weights[1:]) > ROUNDING * weights[2:])
    if exceedances[_quarter(size)] <= 0 or distinct < max(tail_length(SMALLEST), size / 2):
        return none
    k, sigma = fit_generalised_pareto(exceedances)
    return ParetoFit(k, sigma, float(weights[0]), size)


def fit_generalised_pareto(x: Float[np.ndarray, " M"]) -> tuple[float, float]:
    """(k̂, σ̂) of ascending exceedances x ≥ 0 with a positive lower quarter.

    Zhang and Stephens' posterior mean of b = −k/σ over a grid of 30 + ⌊√M⌋ points under their
    profile likelihood; then k̂ ← (M k̂ + 5)/(M + 10), a weak prior of ten draws at ½.
    """
    count = len(x)
    points = 30 + int(math.sqrt(count))
    grid = 1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    b = 1 / x[-1] + grid / (3 * x[_quarter(count)])
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    # −b/k → 1/x̄ at b = 0, the exponential law
    rate = np.divide(-b, k, out=np.full(points, 1 / float(x.mean())), where=k != 0)
    log_profile = count * (np.log(rate) - k - 1)
    posterior = np.exp(log_profile - log_profile.max())
    b_mean = float(np.sum(b * posterior) / posterior.sum())
    shape = float(np.log1p(-b_mean * x).mean())
    sigma = -shape / b_mean if shape else float(x.mean())
    return (count * shape + 5) / (count + 10), sigma


def _quarter(count: int) -> int:
    return int(count / 4 + 0.5) - 1


def pareto_k(log_w: Float[Array, " N"], contexts: Groups) -> Float[np.ndarray, " C"]:
    """k̂ of every context; NaN below 25 candidates, for invalid contexts and for constant tails.

    Source: Vehtari et al. 2024, JMLR 25(72) (equation pareto-k)
    """
    values = to_numpy(log_w).astype(np.float64)
    shapes = np.full(len(contexts), np.nan)
    for c in np.flatnonzero(contexts.sizes >= SMALLEST):
        shapes[c] = fit_tail(values[contexts.offsets[c] : contexts.offsets[c + 1]]).k
    return shapes


def pareto_k_pooled(
    log_w: Float[Array, " N"],
    contexts: Groups,
    keep: Bool[np.ndarray, " C"] | None = None,
    max_weight: Float[np.ndarray, " C"] | None = None,
    log_mean: Float[np.ndarray, " C"] | None = None,
) -> float | None:
    """k̂ of K w̄ pooled over contexts (mean 1 in each); None when there is no fit.

    It is the tail of the batch, not of any context, and needs 25 candidates in all. The fit reads
    the M + 1 largest weights. They lie in the contexts whose own largest, K max w̄, is among the
    M + 1 largest of these, so only those contexts are read.

    Args:
        log_w: log q̃*/μ, nats.
        contexts: Candidates in contexts.
        keep: Contexts to pool: those that are valid and informative. All of them when None.
        max_weight: Largest w̄ of every context, if it is known already.
        log_mean: ``log_z`` of every context, if it is known already.
    """
    if keep is None:
        keep = np.ones(len(contexts), dtype=bool)
    draws = int(contexts.sizes[keep].sum())
    if draws < SMALLEST:
        return None
    known = weight_statistics(log_w, contexts).max_weight if max_weight is None else max_weight
    values, count = to_numpy(log_w), tail_length(draws) + 1
    return pareto_of_largest(
        largest_mean_one(values, contexts, keep, known, log_mean, count), draws
    )


def largest_mean_one(
    log_w: Float[np.ndarray, " N"],
    contexts: Groups,
    keep: Bool[np.ndarray, " C"],
    max_weight: Float[np.ndarray, " C"],
    log_mean: Float[np.ndarray, " C"] | None,
    count: int,
) -> Float[np.ndarray, " M"]:
    """The ``count`` largest log K w̄ of some contexts, ascending; all of them if there are fewer.

    Args:
        log_w: log q̃*/μ, nats.
        contexts: Candidates in contexts.
        keep: Contexts to pool.
        max_weight: Largest w̄ of every context.
        log_mean: ``log_z`` of every context, if it is known already.
        count: How many.
    """
    places = np.flatnonzero(keep)
    tops = contexts.sizes[places] * max_weight[places]
    if len(places) > count:
        least = np.partition(tops, -count)[-count] * (1 - 1e-9)  # rounding must drop nothing
        places = places[~(tops < least)]
    group, rows = contexts.take(places)
    x = log_w[rows].astype(np.float64, copy=False)
    x = x - group.spread(log_z(x, group) if log_mean is None else log_mean[places])
    return np.sort(np.partition(x, -count)[-count:] if len(x) > count else x)


def pareto_of_largest(largest: Float[np.ndarray, " M"], draws: int) -> float | None:
    """k̂ of a pool of ``draws`` weights from the largest of them; None when there is no fit.

    None too where fewer were kept than its tail is long.
    """
    if draws < SMALLEST or len(largest) <= tail_length(draws):
        return None
    k = fit_tail(largest, draws).k
    return None if math.isnan(k) else k


def smoothed_log_weights(log_w: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """Normalised log-weights with the M largest replaced by the fitted tail's quantiles at (j−½)/M.

    Truncated at the largest raw weight. Without a fit, the plain normalised log-weights.

    Source: Vehtari et al. 2024, JMLR 25(72) (equation smoothed-weights)
    """
    x = np.asarray(log_w - np.max(log_w), dtype=np.float64)
    fit = fit_tail(log_w)
    if not math.isnan(fit.k):
        order = np.argsort(x, kind="stable")[-fit.tail :]
        at = (np.arange(fit.tail) + 0.5) / fit.tail
        log_survival = np.log1p(-at)
        excess = -log_survival if fit.k == 0 else np.expm1(-fit.k * log_survival) / fit.k
        x[order] = np.minimum(np.log(fit.cutoff + fit.sigma * excess), 0)
    return x - np.log(np.exp(x).sum())  # type: ignore[no-any-return]


def khat_threshold(draws: int) -> float:
    """Largest k̂ with which S draws are reliable: min(1 − 1/log₁₀ S, 0.7).

    Source: Vehtari et al. 2024, JMLR 25(72) (equation pareto-threshold)
    """
    return min(1 - 1 / math.log10(draws), 0.7)


def min_sample_size(k: float) -> float:
    """Draws needed for a reliable estimate: 10^(1/(1−max(0,k̂))); +∞ from k̂ = 1 on.

    Source: Vehtari et al. 2024, JMLR 25(72) (equation pareto-sample-size)
    """
    if k >= 1:
        return math.inf
    exponent = 1 / (1 - max(0.0, k))
    return float(10**exponent) if exponent < 300 else math.inf


def convergence_rate(k: float, draws: int) -> float:
    """Factor by which the rate 1/S of the variance is slowed: 1 for k < 0, 0 for k > 1.

    max(0, [2(k−1)S^(2k+1) + (1−2k)S^(2k) + S²] / [(S−1)(S−S^(2k))]), with limits 1 at k = 0,
    1 − 1/ln S at k = ½ and 0 at k = 1.

    Source: Vehtari et al. 2024, JMLR 25(72) (equation pareto-convergence)
    """
    if k <= 0 or k >= 1:
        return 1.0 if k <= 0 else 0.0
    if k == 0.5:
        return 1 - 1 / math.log(draws)
    s = float(draws)
    power = s ** (2 * k)
    top = 2 * (k - 1) * s * power + (1 - 2 * k) * power + s * s
    return max(0.0, top / ((s - 1) * (s - power)))  # type: ignore[no-any-return]
