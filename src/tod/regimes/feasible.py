"""The largest sharpness that keeps ESS_rel at a target, per context, with candidates held fixed.

With b = μ (or the anchor ratio part of what is tempered) log-weights are ηU up to a constant, ESS
falls with η, and one root answers. With b ≠ μ ESS may rise, fall and be feasible in separate
intervals: `feasible_interval`. Candidates are held fixed, the optimiser sees new ones: use a low
quantile over contexts, and damping.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, Groups, SpecError, to_numpy
from tod.base.roots import falling_roots
from tod.diagnostics import log_ess, quantile

__all__ = ["eta_for_ess", "eta_for_quantile"]


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

    Source: TOD framework, section 6 (equation feasible-eta)
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
        selected, rows = contexts.take(open_)
        answer[open_] = _roots(depth[rows], alive[rows], selected, goal[open_])
    return np.minimum(answer, eta_max)  # type: ignore[no-any-return]


def eta_for_ess_binary(
    passes: Int[Array, " C"], size: Int[Array, " C"], target: float
) -> Float[np.ndarray, " C"]:
    """`eta_for_ess` for U ∈ {0, 1} from the counts alone.

    η* = log((p(1−p) + √(p(1−p)α(1−α))) / (p(α−p))) with p = passes/K < α; ∞ where α ≤ p (ESS_rel
    never falls below the pass rate) or all candidates agree.

    Raises:
        SpecError: The target is outside (0, 1].

    Source: derived for U ∈ {0, 1} (equation binary-eta)
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

    Source: Neal 2001, annealed importance sampling (equation path-temperature)
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

    Source: order statistics (equation feasible-quantile)
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

    Source: derived for Gaussian log-weights (equation gaussian-step)
    """
    _check(target, 1.0)
    if not 0 < ess_rel <= 1:
        raise SpecError(f"ess_rel = {ess_rel}: a relative effective sample size lies in (0, 1].")
    if ess_rel == 1:
        return np.inf
    return float(eta * np.sqrt(np.log(target) / np.log(ess_rel)))


@dataclass(frozen=True, eq=False)
class FeasibleInterval:
    """Per context, the connected interval of feasible η that is nearest to the current one.

    Attributes:
        low: Its lower end, [C]; NaN where no η in [0, eta_max] is feasible.
        high: Its upper end, [C]; NaN likewise. ``eta_max`` where it is cut there.
        contains: Whether the current η lies in it, [C].
    """

    low: Float[np.ndarray, " C"]
    high: Float[np.ndarray, " C"]
    contains: Any


def feasible_interval(
    log_w0: Float[Array, " N"],
    utility: Float[Array, " N"],
    contexts: Groups,
    target: float,
    *,
    eta: float,
    eta_max: float = 100.0,
    resolution: float | None = None,
) -> FeasibleInterval:
    """{η: ESS_rel(log_w0 + ηU) ≥ target}, the component that holds η, or else the nearest one.

    "Largest feasible" is its upper end: a controller that jumped to another component would cross
    infeasible sharpness. Where nothing is feasible the remedy is the anchor or the proposal, not η.
    |∂ log ESS/∂η| ≤ 2(max U − min U), so from a point with margin f no boundary lies within
    f/(2 range): the scan steps by that much, and by ``resolution`` at least.

    Args:
        log_w0: log b − log μ, [N], nats; −∞ outside the support.
        utility: U, [N], finite where log_w0 is.
        contexts: Candidates in contexts.
        target: ESS_rel to keep, in (0, 1].
        eta: The current sharpness.
        eta_max: Upper end of the search.
        resolution: Gaps and islands narrower than this may be missed; eta_max/2048 if None.

    Raises:
        SpecError: The target is outside (0, 1], or η outside [0, eta_max].

    Source: derived (equation feasible-interval)
    """
    if not 0 < target <= 1 or not 0 <= eta <= eta_max < np.inf:
        raise SpecError(
            f"target = {target}, eta = {eta}, eta_max = {eta_max}: needs 0 < target <= 1 and "
            "0 <= eta <= eta_max, finite."
        )
    scan = _Scan.of(log_w0, utility, contexts, target, eta_max, resolution or eta_max / 2048)
    start = np.full(len(contexts), float(eta))
    inside = scan.margin(start) >= 0
    up, down = scan.march(start, 1, ~inside), scan.march(start, -1, ~inside)
    rise = np.where(scan.margin(up) >= 0, up - eta, np.inf)
    fall = np.where(scan.margin(down) >= 0, eta - down, np.inf)
    seed = np.where(inside, start, np.where(rise <= fall, up, down))
    known = inside | np.isfinite(np.minimum(rise, fall))
    high = scan.march(seed, 1, ~known)
    low = scan.march(seed, -1, ~known)
    return FeasibleInterval(
        np.where(known, low, np.nan), np.where(known, high, np.nan), inside & known
    )


@dataclass(frozen=True, eq=False)
class _Scan:
    """The margin log ESS − log αK as a function of one η per context, and a march along it."""

    log_w0: Any
    utility: Any
    contexts: Any
    goal: Any
    slope: Any
    eta_max: float
    resolution: float

    @classmethod
    def of(
        cls, log_w0: Any, utility: Any, contexts: Any, target: float, top: float, step: float
    ) -> "_Scan":
        base, u = (to_numpy(x).astype(np.float64) for x in (log_w0, utility))
        alive = np.isfinite(base) & np.isfinite(u)
        centre = contexts.spread(contexts.max(np.where(alive, u, -np.inf)))
        level = np.where(alive, u - np.where(np.isfinite(centre), centre, 0.0), 0.0)
        base = np.where(alive | np.isnan(base) | (base > 0), base, -np.inf)
        spread = 2 * (contexts.max(level) - contexts.min(level))
        goal = np.log(target * contexts.sizes)
        return cls(base, level, contexts, goal, np.maximum(spread, 1e-300), top, step)

    def margin(self, eta: Any) -> Any:
        """Log ESS(η) − log αK, [C]; NaN where log-weights are invalid."""
        return log_ess(self.log_w0 + self.contexts.spread(eta) * self.utility, self.contexts) - (
            self.goal
        )

    def march(self, start: Any, direction: int, seek_feasible: Any) -> Any:
        """From ``start`` to the first change of feasibility, or to the end of [0, eta_max].

        Contexts in ``seek_feasible`` are infeasible and look for a feasible point; the others are
        feasible and look for their last feasible point.
        """
        sign = np.where(seek_feasible, -1.0, 1.0)
        here, there = start.copy(), start.copy()
        moving = np.ones(len(start), dtype=bool)
        end = self.eta_max if direction > 0 else 0.0
        room = sign * self.margin(here)
        while True:
            step = np.maximum(np.where(room > 0, room, 0.0) / self.slope, self.resolution)
            ahead = np.clip(here + direction * step, 0.0, self.eta_max)
            there = np.where(moving, ahead, there)
            room = np.where(moving, sign * self.margin(there), room)
            crossed = moving & (room < 0)
            here = np.where(moving & ~crossed, there, here)
            moving = moving & ~crossed & (there != end) & ~np.isnan(room)
            if not moving.any():
                return self._refine(here, there, seek_feasible)

    def _refine(self, here: Any, there: Any, seek_feasible: Any) -> Any:
        """The feasible side of the crossing between ``here`` and ``there``, by bisection."""
        near, far = here.copy(), there.copy()
        for _ in range(60):
            middle = (near + far) / 2
            same = (self.margin(middle) < 0) == seek_feasible
            near, far = np.where(same, middle, near), np.where(same, far, middle)
        return np.where(seek_feasible, far, near)


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
