"""Parts of a plan: the sharpness, the number of candidates and the staleness one can afford."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups, to_numpy
from tod.candidates import Candidates
from tod.diagnostics import (
    ess_rel,
    k_trend,
    kl_target_proposal,
    max_weight,
    policy_proposal,
    quantile,
    quantile_interval,
)
from tod.regimes import eta_for_ess, k_for_error, k_for_ess, k_for_kl

QUANTILES = {"median": 0.5, "q10": 0.1}
POINTS = 512
"""Sharpnesses at which an ESS_rel that need not be monotone is looked at: between two of them a
gap of infeasibility may be missed."""
FRESH = 0.99
"""ESS_rel(π/μ) from which a step counts as just refreshed, where no lag is recorded."""


def varied(unit: Any, contexts: Groups) -> Any:
    """Positions of contexts whose candidates differ in utility: the others are blind."""
    groups: Any = contexts
    top, bottom = groups.max(unit), groups.min(unit)
    return np.flatnonzero((top > bottom) & np.isfinite(top))


def weights_at(log_w0: Any, unit: Any, eta: float) -> Any:
    """The weights log w at sharpness η; −∞ stays −∞ at η = 0."""
    alive = np.isfinite(unit)
    tilt = np.where(alive, eta * np.where(alive, unit, 0.0), -np.inf)
    return tilt if log_w0 is None else log_w0 + tilt


def largest_eta(
    log_w0: Any, unit: Any, contexts: Groups, target: float, p: float, eta: float, top: float
) -> tuple[float | None, tuple[float | None, float | None] | None]:
    """Largest common η at which the p-quantile of ESS_rel is ≥ target, and its 90 % interval.

    With b = μ it is the order statistic ⌈pn⌉ of the contexts' own roots, exactly, and the interval
    is that of order statistics. Otherwise the quantile is followed from ``eta`` to the end of the
    feasible interval that holds it (or of the nearest one), and there is no interval.

    Returns:
        ∞ where no sharpness up to ``top`` is too much; None where none is feasible.
    """
    if log_w0 is not None:
        return _followed(log_w0, unit, contexts, target, p, eta, top), None
    star = eta_for_ess(unit, contexts, target)
    star = np.where(np.isnan(star), -np.inf, star)  # infeasible at every sharpness
    low, high = quantile_interval(star, p)
    found = quantile(star, p)
    bounds = tuple(None if not math.isfinite(x) else float(x) for x in (low, high))
    return (None if found == -np.inf else found), (bounds[0], bounds[1])


def attained_as(value: float | None) -> str:
    """What ``largest_eta`` found: ``yes``, ``unbounded`` or ``never``."""
    return "never" if value is None else "unbounded" if value == math.inf else "yes"


def _followed(
    log_w0: Any, unit: Any, contexts: Groups, target: float, p: float, eta: float, top: float
) -> float | None:
    def margin(value: float) -> float:
        rel = to_numpy(ess_rel(weights_at(log_w0, unit, value), contexts))
        return quantile(np.where(np.isnan(rel), 0.0, rel), p) - target

    grid = np.unique(np.concatenate([np.linspace(0.0, top, POINTS), [eta]]))
    good = np.array([margin(float(value)) >= 0 for value in grid])
    if not good.any():
        return None
    here = int(np.searchsorted(grid, eta))
    places = np.flatnonzero(good)
    at = int(places[np.argmin(np.abs(grid[places] - grid[here]))])
    while at + 1 < len(grid) and good[at + 1]:
        at += 1
    if at + 1 == len(grid):
        return math.inf
    low, high = float(grid[at]), float(grid[at + 1])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if margin(middle) >= 0 else (low, middle)
    return low


def search_top(unit: Any, contexts: Groups, eta: float) -> float:
    """Where a search over sharpness ends: 64 deviations of the utility within contexts."""
    return max(64.0 * scale_of(unit, contexts), 4.0 * eta)


def scale_of(unit: Any, contexts: Groups) -> float:
    """1/(median deviation of the utility within contexts), the natural unit of sharpness."""
    deviation = np.sqrt(to_numpy(contexts.variance(np.where(np.isfinite(unit), unit, np.nan))))
    known = deviation[np.isfinite(deviation) & (deviation > 0)]
    return 1.0 / float(np.median(known)) if known.size else 1.0


def row_at(
    log_w0: Any, unit: Any, contexts: Groups, eta: float, target: float, count: float
) -> dict[str, Any]:
    """One line of the table: what the candidates say at a sharpness."""
    log_w = weights_at(log_w0, unit, eta)
    rel = to_numpy(ess_rel(log_w, contexts))
    known = rel[~np.isnan(rel)]
    if not known.size:
        return {
            "eta": eta,
            "median": None,
            "q10": None,
            "below": None,
            "max_weight": None,
            "k": None,
        }
    heaviest = to_numpy(max_weight(log_w, contexts))
    return {
        "eta": eta,
        "median": quantile(known, 0.5),
        "q10": quantile(known, 0.1),
        "below": float((known < target - 1e-12).mean()),
        "max_weight": quantile(heaviest[~np.isnan(heaviest)], 0.5),
        "k": int(quantile(k_for_ess(known, count), 0.5)),
    }


def needed_k(log_w: Any, contexts: Groups, count: float, error: float) -> dict[str, dict[str, Any]]:
    """K for an effective number, for an error, and the size at which averages begin to settle.

    ``q90`` serves nine contexts in ten. ``at_floor`` is the share of contexts whose pilot reads
    under two effective candidates: their K is a lower bound.
    """
    rel = to_numpy(ess_rel(log_w, contexts))
    usable = ~np.isnan(rel)
    divergence = to_numpy(kl_target_proposal(log_w, contexts))[usable]
    floor = float((rel[usable] * contexts.sizes[usable] < 2).mean()) if usable.any() else None
    found = {
        "ess_count": (count, k_for_ess(rel[usable], count)),
        "error": (error, k_for_error(rel[usable], error)),
        "kl": (None, k_for_kl(np.maximum(divergence, 0.0))),
    }
    return {
        name: {
            "wanted": wanted,
            "median": int(quantile(k, 0.5)) if k.size else None,
            "q90": int(quantile(k, 0.9)) if k.size else None,
            "at_floor": floor,
        }
        for name, (wanted, k) in found.items()
    }


def by_k(
    log_w: Any, unit: Any, contexts: Groups, chosen: Any, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """ESS_rel with fewer candidates, and how many contexts would still be informative.

    ESS_rel by subsampling the informative contexts without replacement; the informative share over
    all contexts with at least k candidates, exactly: 1 − Σ_v C(n_v, k)/C(K, k) over the values v
    of the utility.
    """
    kept, rows = contexts.take(chosen)
    points = {point.k: point for point in k_trend(log_w[rows], kept, sizes)}
    found = []
    for k in sorted(set(sizes)):
        point = points.get(k)
        found.append(
            {
                "k": k,
                "contexts": 0 if point is None else point.contexts,
                "median": None if point is None else point.median,
                "q10": None if point is None else point.q10,
                "ess": None if point is None else point.median * k,
                "informative": informative_share(unit, contexts, k),
            }
        )
    return found


def informative_share(unit: Float[np.ndarray, " N"], contexts: Groups, k: int) -> float | None:
    """Expected share of contexts in which k of their candidates do not all agree.

    1 − Σ_v C(n_v, k)/C(K, k) over the values v of the utility, averaged over contexts with K ≥ k.
    """
    enough = np.flatnonzero(contexts.sizes >= k)
    if not enough.size:
        return None
    kept, rows = contexts.take(enough)
    values = unit[rows]
    order = np.lexsort((values, kept.owner))
    values, owner = values[order], kept.owner
    new = np.ones(len(values), dtype=bool)
    new[1:] = (values[1:] != values[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(new)
    times = np.diff(starts, append=len(values))  # n_v, one value of one context after the other
    alike = np.exp(_log_choose(times, k) - _log_choose(kept.sizes[owner[starts]], k))
    return float(1.0 - np.bincount(owner[starts], alike, len(kept)).mean())


def _log_choose(n: Any, k: int) -> Any:
    """Log C(n, k) by a sum over k; −∞ where n < k."""
    with np.errstate(divide="ignore"):
        terms = np.log(np.maximum(n[:, None] - np.arange(k), 0)) - np.log(np.arange(1, k + 1))
    return terms.sum(axis=1)


def staleness(candidates: Candidates, steps: Any, lag: Any, goal: float) -> dict[str, Any] | None:
    """ESS_rel(π/μ) by age of the proposal, and the age up to which it stays at the goal.

    The age is the recorded lag of the sampler, or else the number of steps since the leg last read
    ``FRESH``. Beyond the ages seen, a policy that drifts steadily has ln ESS_rel = −c·age²; c is
    fitted through the origin to medians between 1/K and ``FRESH`` and used to extrapolate only.
    None where log μ or π is not recorded.
    """
    policy = candidates.log_anchor.get("policy", candidates.log_anchor.get("old"))
    if policy is None or candidates.log_mu is None:
        return None
    contexts = candidates.contexts
    leg = to_numpy(policy_proposal(policy - candidates.log_mu, contexts))
    usable = ~np.isnan(leg) & (contexts.sizes > 1)
    if not usable.any():
        return None
    trend = _medians(np.asarray(steps)[usable], leg[usable])
    ages = _ages(np.asarray(steps), trend) if lag is None else _max_lag(contexts, lag)
    block: dict[str, Any] = {
        "goal": goal,
        "trend": [{"step": step, "policy_proposal": value} for step, value in trend],
        "age_from": None if ages is None else ("lag" if lag is not None else "leg"),
        "by_age": [],
        "largest_age": None,
        "extrapolated": False,
    }
    if ages is None:
        return block
    seen = _medians(ages[usable], leg[usable])
    block["by_age"] = [{"age": age, "policy_proposal": value} for age, value in seen]
    failing = [age for age, value in seen if value < goal]
    if failing:
        kept = [age for age, value in seen if value >= goal and age < failing[0]]
        return {**block, "largest_age": kept[-1] if kept else 0}
    constant = _curvature(seen)
    if constant is None:
        return {**block, "largest_age": seen[-1][0]}
    reach = int(math.sqrt(-math.log(goal) / constant))
    last = seen[-1][0]
    return {**block, "largest_age": max(reach, last), "extrapolated": reach > last}


def _medians(keys: Any, values: Any) -> list[tuple[int, float]]:
    return [(int(key), quantile(values[keys == key], 0.5)) for key in np.unique(keys)]


def _ages(steps: Any, trend: list[tuple[int, float]]) -> Any:
    """Steps since the leg last read fresh, per context; None where that shows no age.

    It does where a refresh was seen, the leg fresh again after it was not, or where the leg falls
    from the start on. A leg that is always fresh, never fresh, or fresh for long and then never
    again says nothing of when the proposal was refreshed.
    """
    fresh = [value >= FRESH for _, value in trend]
    returned = any(now and not before for before, now in pairwise(fresh))
    falls = fresh[0] and len(fresh) > 2 and not any(fresh[2:])
    if all(fresh) or not (returned or falls):
        return None
    known = [step for (step, _), is_fresh in zip(trend, fresh, strict=True) if is_fresh]
    age = {step: step - max(f for f in known if f <= step) for step, _ in trend if step >= known[0]}
    return np.array([age.get(int(step), -1) for step in steps])


def _max_lag(contexts: Groups, lag: Any) -> Any:
    groups: Any = contexts
    return groups.max(np.asarray(lag, dtype=np.float64)).astype(np.int64)


def _curvature(seen: list[tuple[int, float]]) -> float | None:
    """The c of ln leg = −c·age² by least squares; None without an age at which the leg moved."""
    points = [(age**2, -math.log(value)) for age, value in seen if age > 0 and 0 < value < FRESH]
    if not points:
        return None
    return sum(x * y for x, y in points) / sum(x * x for x, _ in points)
