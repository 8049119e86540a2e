"""ESS_rel over the prompts of 0/1 rewards: empirical Bayes on the pass rates, at any K.

A prompt of pass rate p has, with b = μ and η in nats between a failure and a pass,

    e(p) = ((1−p)e^{−η} + p)² / ((1−p)e^{−2η} + p) = 1 / (1 + sinh²(η/2) / cosh²((logit p + η)/2)),

so that quantiles of e are those of |logit p + η|. A few rollouts cannot tell the p of their prompt;
the counts of all groups tell the law of p over prompts, which is all that a quantile needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population.beta_family import EDGES, STEP, cumulative, family, log_chance
from tod.population.fewest import FEWEST_GROUPS
from tod.population.pass_counts import PassCounts

__all__ = [
    "PassRatePosterior",
    "pass_rate_ess",
    "pass_rate_ess_many",
    "pass_rate_posterior",
]

LEVELS = (0.05, 0.5, 0.95)
"""Ends and point of an interval."""
NEGLIGIBLE = 1e-5
"""Weight, relative to the largest, below which a law is left out of a posterior."""
HALVINGS = 22
"""Of the bracket of |logit p + η|: 2e-7 of its length are left."""
TRUSTED, COARSE = 500, 7000
"""Rollouts of groups with a signal up to which the likelihood is taken as it is, and how many more
halve it. More tell laws apart than the family has: none of its laws is the true one, and the
nearest would be told with an error that its own interval does not have."""
CHUNK = 64
"""Tables weighed at once: 64 × 7226 doubles, 4 MB."""


@dataclass(frozen=True, eq=False)
class PassRatePosterior:
    """What is believed of the law of pass rates after some counts; asked at any η, quickly.

    Attributes:
        counts: The counts.
        rows: Laws of the family that are left, [h].
        weight: Of each of them; they sum to one, [h].
        below: Share of the prompts with a signal below every edge of logit p, [h, J + 1].
    """

    counts: PassCounts
    rows: Int[np.ndarray, " h"]
    weight: Float[np.ndarray, " h"]
    below: Float[np.ndarray, "h J+1"]

    def ess(self, eta: float, quantile: float = 0.5) -> Interval:
        """φ-quantile of e over the prompts with a signal, 90 % interval.

        Args:
            eta: η·(U_pass − U_fail), nats, of either sign.
            quantile: φ in (0, 1).
        """
        return weighted_interval(ess_quantile(self.below, eta, quantile), self.weight)

    def pass_rate(self, quantile: float = 0.5) -> Interval:
        """φ-quantile of p over the prompts with a signal, 90 %: the limit of e for η → ∞."""
        at = np.argmax(self.below >= quantile, axis=1)
        row = np.arange(len(self.below))
        start, end = self.below[row, at - 1], self.below[row, at]
        x = EDGES[at - 1] + STEP * (quantile - start) / (end - start)
        return weighted_interval(1 / (1 + np.exp(-x)), self.weight)

    def eta_at_ess(self, ess: float, quantile: float = 0.5) -> Interval:
        """The largest η ≥ 0 at which the φ-quantile of e is at least ``ess``, 90 % interval.

        e(p) < ess where |logit p + η| < r, sinh(η/2) = cosh(r/2)·√(1/ess − 1); of a law of p the
        share of such prompts rises with η, and the largest η is where it reaches φ. It is ∞ where
        it never does: the φ-quantile of p is above ``ess``.

        Args:
            ess: In (0, 1).
            quantile: φ in (0, 1).
        """
        odds = np.sqrt(1 / ess - 1)
        low = np.zeros(len(self.below))
        high = np.full(len(self.below), 2 * EDGES[-1] + 2 * abs(np.log(odds)) + 4)
        for _ in range(2 * HALVINGS):
            middle = (low + high) / 2
            r = 2 * np.arccosh(np.maximum(np.sinh(middle / 2) / odds, 1.0))
            inside = share_below(self.below, r - middle) - share_below(self.below, -r - middle)
            low, high = (
                np.where(inside < quantile, middle, low),
                np.where(inside < quantile, high, middle),
            )
        never = share_below(self.below, np.full(len(self.below), -2 * np.log(odds))) < quantile
        return weighted_interval(np.where(never, np.inf, low), self.weight)

    def read(self, eta: float) -> PopulationEss:
        """Median and 10 % quantile of e at η."""
        prompts = self.counts.with_signal
        return PopulationEss(self.ess(eta), self.ess(eta, 0.1), prompts, "pass_rates")


@lru_cache(maxsize=4)
def pass_rate_posterior(counts: PassCounts) -> PassRatePosterior:
    """The law of pass rates over prompts, from the groups with a signal.

    ℓ_h = Σ_K Σ_{m=1}^{K−1} n_{K,m}·ln P(m | h, K); the weight of law h is softmax(λ·ℓ_h + ln prior)
    with λ of `trust`, 1 up to 500 rollouts.

    Args:
        counts: Groups by passes; without any with a signal the posterior is the prior.
    """
    log = _log_weights([counts])[0]
    rows = np.flatnonzero(log > log.max() + np.log(NEGLIGIBLE))
    weight = np.exp(log[rows] - log.max())
    below = cumulative(counts.shares(), rows)
    return PassRatePosterior(counts, rows, weight / weight.sum(), below)


def pass_rate_ess(counts: PassCounts, eta: float) -> PopulationEss:
    """Median and 10 % quantile of e over prompts with a signal, from 0/1 rewards with b = μ.

    Prompts count with 1 − pᴷ − (1 − p)ᴷ, averaged over the K that occurred. Nothing is assumed of
    prompts that never or always pass. Few groups give a wide interval, none is refused for its K.

    Args:
        counts: Groups by passes, of any steps.
        eta: η·(U_pass − U_fail), nats, of either sign.
    """
    return pass_rate_ess_many([counts], eta)[0]


def pass_rate_ess_many(tables: Sequence[PassCounts], eta: float) -> list[PopulationEss]:
    """`pass_rate_ess` of every table: steps of a run, in one call.

    Args:
        tables: Counts, each read for itself.
        eta: η·(U_pass − U_fail), nats, of either sign.
    """
    results = [_too_few(table) for table in tables]
    alike: dict[tuple[tuple[int, float], ...], list[int]] = {}
    for place, table in enumerate(tables):
        if table.with_signal >= FEWEST_GROUPS:
            alike.setdefault(table.shares(), []).append(place)
    for shares, places in alike.items():
        if len(places) == 1:
            results[places[0]] = pass_rate_posterior(tables[places[0]]).read(eta)
            continue
        for first in range(0, len(places), CHUNK):
            several = places[first : first + CHUNK]
            read = _read_alike([tables[place] for place in several], shares, eta)
            for place, one in zip(several, read, strict=True):
                results[place] = one
    return results


def ess_quantile(
    below: Float[np.ndarray, "h J+1"], eta: float, quantile: float | Float[np.ndarray, " h"]
) -> Float[np.ndarray, " h"]:
    """φ-quantile of e under laws of logit p: that of r = |logit p + η|, where e rises with r.

    Args:
        below: Share below every edge of logit p, a law a row, [h, J + 1].
        eta: η, nats.
        quantile: φ, one for all or one a row; 0 and less give min e = sech²(η/2), more than 1 gives
            1.
    """
    wanted = np.broadcast_to(quantile, len(below))
    low = np.zeros(len(below))
    high = np.full(len(below), EDGES[-1] + abs(eta))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = share_below(below, middle - eta) - share_below(below, -middle - eta)
        low, high = np.where(inside < wanted, middle, low), np.where(inside < wanted, high, middle)
    flat = np.expm1(-abs(eta)) / (1 + np.exp(-high))
    e = 1 / (1 + np.exp(abs(eta) - high) * flat**2)
    return np.where(wanted > 1, 1.0, e)


def share_below(
    below: Float[np.ndarray, "h J+1"], x: Float[np.ndarray, " h"]
) -> Float[np.ndarray, " h"]:
    """Share of the prompts whose logit p is below x, a law and an x a row."""
    place = np.clip((x - EDGES[0]) / STEP, 0, EDGES.size - 1)
    cell = np.minimum(place.astype(np.int64), EDGES.size - 2)
    flat = np.ravel(below)
    first = cell + np.arange(len(below)) * EDGES.size
    start = flat.take(first)
    return start + (flat.take(first + 1) - start) * (place - cell)  # type: ignore[no-any-return]


def trust(counts: PassCounts) -> float:
    """What ℓ is multiplied by: 1/(1 + max(N − 500, 0)/7000), N rollouts in groups with a signal.

    Source: the coarsened posterior (Miller and Dunson, JASA 114, 2019)
    """
    seen = sum(k * int(row[1:-1].sum()) for k, row in counts.by_size.items())
    return 1 / (1 + max(seen - TRUSTED, 0) / COARSE)


def _log_weights(tables: Sequence[PassCounts]) -> Float[np.ndarray, "S H"]:
    """ℓ, as far as it is trusted, + log prior of every law, for every table."""
    log = np.zeros((len(tables), len(family().log_prior)))
    for k in sorted({k for table in tables for k in table.by_size if k > 1}):
        nothing = np.zeros(k + 1)
        counted = np.stack([table.by_size.get(k, nothing)[1:-1] for table in tables])
        passes = np.flatnonzero(counted.any(axis=0)) + 1
        if passes.size:
            log += counted[:, passes - 1].astype(np.float64) @ log_chance(k, passes)
    log *= np.array([trust(table) for table in tables])[:, None]
    return log + family().log_prior  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _quantile_of_all(
    shares: tuple[tuple[int, float], ...], eta: float, quantile: float
) -> Float[np.ndarray, " H"]:
    return ess_quantile(cumulative(shares), eta, quantile)


def _read_alike(
    tables: Sequence[PassCounts], shares: tuple[tuple[int, float], ...], eta: float
) -> list[PopulationEss]:
    """Of tables with the same shares of K: quantiles of a law are the same for all of them."""
    log = _log_weights(tables)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    weight[weight <= NEGLIGIBLE] = 0.0
    medians = _intervals(_quantile_of_all(shares, eta, 0.5), weight)
    q10 = _intervals(_quantile_of_all(shares, eta, 0.1), weight)
    return [
        PopulationEss(median, low, table.with_signal, "pass_rates")
        for median, low, table in zip(medians, q10, tables, strict=True)
    ]


def weighted_interval(value: Float[np.ndarray, " h"], weight: Float[np.ndarray, " h"]) -> Interval:
    """The values that 5, 50 and 95 % of the weight are not above."""
    return _intervals(value, weight[None])[0]


def _intervals(value: Float[np.ndarray, " h"], weight: Float[np.ndarray, "S h"]) -> list[Interval]:
    """5, 50 and 95 % of the weight, by rising value."""
    order = np.argsort(value)
    total = np.cumsum(weight[:, order], axis=1)
    ends = [np.searchsorted(row, np.array(LEVELS) * row[-1]) for row in total]
    return [Interval(*(float(x) for x in value[order][end])) for end in ends]


def _too_few(counts: PassCounts) -> PopulationEss:
    seen = counts.with_signal
    groups = "1 group" if seen == 1 else f"{seen} groups"
    reason = f"{groups} of {counts.prompts} with rewards that differ: {FEWEST_GROUPS} needed"
    return PopulationEss(None, None, seen, None, reason)
