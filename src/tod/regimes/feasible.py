"""The largest sharpness that keeps ESS_rel at a target, per context, with candidates held fixed.

Here b = μ (or the anchor ratio is part of what is tempered): log-weights are ηU up to a constant,
ESS falls with η, and one root answers. `tod.regimes.component` has the general case. Candidates
are held fixed, the optimiser sees new ones: use a low quantile over contexts, and damping.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, Groups, SpecError, to_numpy
from tod.base.roots import falling_roots
from tod.diagnostics import quantile


def eta_for_ess(
    utility: Float[Array, " N"], contexts: Groups, target: float, *, eta_max: float = np.inf
) -> Float[np.ndarray, " C"]:
    """Largest η with ESS_rel(ηU) ≥ target in every context, for b = μ; searched in float64.

    ∂ log ESS/∂η = 2(E_w̄U − E_v̄U) ≤ 0 with v̄ = softmax(2ηU), so the root is unique.

    Args:
        utility: U, [N]; −∞ marks a candidate outside the support, which counts in K.
        contexts: Candidates in contexts.
        target: ESS_rel to keep, in (0, 1]; below 1/K it is vacuous.
        eta_max: Where to stop looking; answers never exceed it.

    Returns:
        η per context. ``eta_max`` where ESS never falls below the target (ties at the maximum
        hold it, or U is constant); 0 where the target is 1 and U varies; NaN where not even
        η → 0 reaches the target (too many candidates outside the support) or U is invalid.

    Raises:
        SpecError: The target is outside (0, 1], or eta_max is not positive.
    """
    _check(target, eta_max)
    groups: Any = contexts  # its reductions of numpy arrays are numpy arrays
    u, goal = _exact(utility), np.log(target * contexts.sizes)
    top = groups.max(u)
    finite = np.isfinite(top)
    depth = u - contexts.spread(np.where(finite, top, 0.0))
    alive = np.isfinite(u)
    limit = np.log(np.maximum(groups.sum((alive & (depth == 0)).astype(float)), 1e-300))
    start = np.log(np.maximum(groups.sum(alive.astype(float)), 1e-300))
    answer: Any = np.full(len(contexts), np.inf)
    tight = goal >= start - 1e-12  # rounding of log(target K)
    answer[tight] = np.where(goal[tight] > start[tight] + 1e-12, np.nan, 0.0)
    answer[limit >= goal - 1e-12] = np.inf
    answer[~finite] = np.nan
    open_ = np.flatnonzero(finite & ~tight & (limit < goal - 1e-12))
    if open_.size:
        chosen, rows = contexts.take(open_)
        answer[open_] = _roots(depth[rows], alive[rows], chosen, goal[open_])
    return np.minimum(answer, eta_max)  # type: ignore[no-any-return]


def eta_for_ess_binary(
    passes: Int[Array, " C"], size: Int[Array, " C"], target: float
) -> Float[np.ndarray, " C"]:
    """`eta_for_ess` for U ∈ {0, 1} from the counts alone.

    η* = log((p(1−p) + √(p(1−p)α(1−α))) / (p(α−p))) with p = passes/K < α; ∞ where α ≤ p (ESS_rel
    never falls below the pass rate) or all candidates agree.

    Raises:
        SpecError: The target is outside (0, 1].
    """
    _check(target, 1.0)
    p = _exact(passes) / _exact(size)
    bounded = (p > 0) & (p < target) & (p < 1)
    q = np.where(bounded, p, target / 2)
    root = np.sqrt(q * (1 - q) * target * (1 - target))
    eta = np.log((q * (1 - q) + root) / (q * (target - q)))
    return np.where(bounded, eta, np.inf)


def path_temperature(
    log_w: Float[Array, " N"], contexts: Groups, target: float
) -> Float[np.ndarray, " C"]:
    """Largest t in [0, 1] with ESS_rel(t·log_w) ≥ target: the bridge q_t ∝ μ^{1−t} q*^t.

    Always monotone, whatever the anchor; but t also tempers the anchor, so report it as t and not
    as a sharpness. The step rule of adaptive sequential Monte Carlo. NaN as in `eta_for_ess`.

    Raises:
        SpecError: The target is outside (0, 1].
    """
    return eta_for_ess(log_w, contexts, target, eta_max=1.0)


def eta_for_fraction(eta_star: Float[np.ndarray, " n"], fraction: float = 0.1) -> float:
    """Largest common η at which at most ``fraction`` of contexts fall below the target.

    The order statistic ⌊φn⌋+1 of the per-context η*, no iteration needed. Contexts whose η* is
    NaN are left out; count them. ∞ when every context may fail.

    >>> round(eta_for_fraction(np.array([2.46, 1.34, 2.29]), 1 / 3), 2)
    2.29

    Raises:
        SpecError: The fraction is outside [0, 1], or no context is left.
    """
    known = np.sort(eta_star[~np.isnan(eta_star)])
    if not 0 <= fraction <= 1 or not known.size:
        raise SpecError(
            f"fraction = {fraction} over {known.size} contexts with a feasible eta: give a share "
            "in [0, 1] and at least one such context."
        )
    place = int(np.floor(fraction * known.size + 1e-9))  # 0.29 * 100 is 28.999…
    return float(known[place]) if place < known.size else np.inf


def eta_for_quantile(
    utility: Float[Array, " N"], contexts: Groups, target: float, p: float = 0.5
) -> float:
    """Largest common η at which the p-quantile over contexts of ESS_rel is still ≥ target (b = μ).

    The p-quantile is the order statistic ⌈pn⌉ from below, so ⌈pn⌉−1 contexts may fail: the
    η* of that rank. Constant-utility contexts are left out; NaN when none is left.

    Raises:
        SpecError: The target is outside (0, 1].
    """
    star = eta_for_ess(utility, contexts, target)
    varies = to_numpy(contexts.max(utility)) > to_numpy(contexts.min(utility))
    star = star[varies & ~np.isnan(star)]
    return quantile(star, p) if star.size else float("nan")


def gaussian_step(eta: float, ess_rel: float, target: float) -> float:
    """η·√(ln target/ln ESS_rel): one evaluation, exact when log-weights are Gaussian.

    ∞ where ESS_rel is 1 (all ties): clip it.

    >>> round(gaussian_step(1.0, 0.7118591348, 0.5), 8)
    1.42808143

    Raises:
        SpecError: The target is outside (0, 1], or ESS_rel outside (0, 1].
    """
    _check(target, 1.0)
    if not 0 < ess_rel <= 1:
        raise SpecError(f"ess_rel = {ess_rel}: a relative effective sample size lies in (0, 1].")
    if ess_rel == 1:
        return np.inf
    return float(eta * np.sqrt(np.log(target) / np.log(ess_rel)))


def _roots(depth: Any, alive: Any, contexts: Any, goal: Any) -> Any:
    """Roots of log ESS(ηU) − goal; depth = U − max U ≤ 0."""
    level = np.where(alive, depth, 0.0)

    def margin(eta: Any) -> tuple[Any, Any]:
        e = np.where(alive, np.exp(contexts.spread(eta) * level), 0.0)
        first, second = contexts.sum(e), contexts.sum(e * e)
        drift = contexts.sum(e * level) / first - contexts.sum(e * e * level) / second
        return 2 * np.log(first) - np.log(second) - goal, 2 * drift

    return falling_roots(margin, 1.0 / -contexts.min(level))


def _exact(x: Any) -> Any:
    return to_numpy(x).astype(np.float64)


def _check(target: float, eta_max: float) -> None:
    if not 0 < target <= 1:
        raise SpecError(
            f"target = {target}: a relative effective sample size to keep lies in (0, 1]. 0.5 is "
            "usual."
        )
    if not eta_max > 0:
        raise SpecError(f"eta_max = {eta_max}: the search needs room above 0.")
