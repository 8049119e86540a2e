"""What other numbers of candidates would give: ESS_rel, and contexts that say something."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.diagnostics import k_trend
from tod.diagnostics.population_ess import Interval
from tod.population import (
    FEWEST_GROUPS,
    LegStatistics,
    pass_counts_of,
    pass_rate_posterior,
    signal_share,
)

__all__ = ["best_k", "by_k", "every_k", "informative_share", "sizes_of"]


def every_k(
    statistics: LegStatistics, at_k: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """The informative share at every K, twice and four times the pilot's too for 0/1 rewards."""
    known = [row["k"] for row in at_k]
    shares = _informative(statistics, sizes := [*known, 2 * known[-1], 4 * known[-1]])
    if shares is None:
        share = [row["informative"] for row in at_k]
        per = [None if x is None else 100 * x / k for x, k in zip(share, known, strict=True)]
        return tuple({**row, "per_100": each} for row, each in zip(at_k, per, strict=True))
    nothing = dict.fromkeys(("median", "q10", "ess", "informative")) | {"contexts": 0}
    rows = [*at_k, *({"k": k, **nothing} for k in sizes[len(known) :])]
    return tuple(
        {
            **row,
            "population_informative": shares[row["k"]].to_dict(),
            "per_100": 100 * (shares[row["k"]].value or 0.0) / row["k"],
        }
        for row in rows
    )


def best_k(statistics: LegStatistics) -> dict[str, Any] | None:
    """The K of the most informative contexts for the same candidates; None where unknown.

    Graded rewards differ in any group. For 0/1 rewards it is 2 or 3, whatever the pass rates are:
    (1 − pᵏ − (1−p)ᵏ)/k ≤ p(1 − p) with equality at k = 2 and 3. Of the two the larger, at which
    more contexts are informative.
    """
    k = 3
    shares = _informative(statistics, [k])
    if shares is not None:
        why = "groups that differ, per rollout, are most at K = 2 and 3 whatever the pass rates"
        return {"k": k, "per_100": 100 * (shares[k].value or 0.0) / k, "why": why}
    graded = statistics.weights
    if graded is None or not statistics.anchored or graded.moments.constant:
        return None
    why = "rewards are graded: every group differs at any K"
    return {"k": None, "per_100": None, "why": why}


def _informative(statistics: LegStatistics, sizes: Sequence[int]) -> dict[int, Interval] | None:
    """Shares of groups with a signal at any K; None but for rewards of two values."""
    passes = pass_counts_of(statistics.rewards)
    if passes is None or passes.with_signal < FEWEST_GROUPS:
        return None
    posterior = pass_rate_posterior(passes)
    return {k: signal_share(posterior, k) for k in sizes}


def by_k(
    log_w: Any, unit: Any, contexts: Groups, places: Any, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """ESS_rel with fewer candidates, and how many contexts would still be informative.

    ESS_rel by subsampling the informative contexts without replacement; the informative share over
    all contexts with at least k candidates, exactly: 1 − Σ_v C(n_v, k)/C(K, k) over the values v
    of the utility.
    """
    some, rows = contexts.take(places)
    points = {point.k: point for point in k_trend(log_w[rows], some, sizes)}
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
    """Log C(n, k) by a table of log n!; −∞ where n < k."""
    table = np.array([math.lgamma(i + 1) for i in range(int(n.max(initial=k)) + 1)])
    enough = n >= k
    return np.where(enough, table[n] - table[k] - table[np.where(enough, n - k, 0)], -np.inf)


def sizes_of(contexts: Groups) -> list[int]:
    """Powers of two up to the median K, and it."""
    k = int(np.median(contexts.sizes))
    return sorted({*(2**i for i in range(1, 12) if 2**i < k), k})
