"""Laws of the pass rate over prompts: betas and mixtures of two, on a grid of its logit.

A group of K that shows a signal has m = 1 … K − 1 passes with the chance

    P(m | h) = Σ_j P_hj·Bin(m; K, p_j) / Σ_j P_hj·i_j,   i_j = 1 − p_jᴷ − (1 − p_j)ᴷ,

under law h. Prompts that always or never pass are divided out, however many there are.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

__all__ = ["EDGES", "STEP", "cumulative", "family", "log_chance", "signal"]

STEP = 1 / 16
"""Step of the grid of x = logit p. Sums of Bin(m; K, p) over it are exact to 1e-8 for K ≤ 1000."""
REACH = 9.0
"""The grid runs from −9 to 9: pass rates of 1.2e-4 to 1 − 1.2e-4."""
MEAN_REACH, MEAN_STEP = 4.5, 0.075
"""Logits of the means of single betas. A step beyond half the posterior sd of logit p leaves gaps:
.25 covered .37 at K = 64 where .05 covered .98."""
SHARPNESS = (0.15, 3000.0, 26)
"""a + b of single betas: geometric, from, to, how many."""
TWO_MEANS = (-4.0, 4.0, 17)
"""Logits of the means of the two betas of a mixture."""
TWO_SHARPNESS = (0.6, 2.0, 6.0, 20.0, 80.0, 400.0)
"""a + b of both betas of a mixture."""
TWO_SHARES = (0.15, 0.3, 0.5, 0.7, 0.85)
"""Share of the first."""
WHOLE_TABLE = 64
"""K up to which the chances of all m are computed at once and remembered."""

X = np.arange(-REACH, REACH + STEP / 2, STEP)
EDGES = np.append(X - STEP / 2, REACH + STEP / 2)
"""Between them the mass of a grid point is spread evenly, [J + 1]."""
LOG_P, LOG_Q = -np.logaddexp(0.0, -X), -np.logaddexp(0.0, X)


class Family(NamedTuple):
    """The laws and what is believed of them beforehand.

    Attributes:
        mass: P_hj, each row sums to one, [H, J].
        log_prior: Half of the mass to single betas, half to mixtures, even within, [H].
    """

    mass: Float[np.ndarray, "H J"]
    log_prior: Float[np.ndarray, " H"]


def betas(
    mean_logit: Float[np.ndarray, " h"], sharpness: Float[np.ndarray, " h"]
) -> Float[np.ndarray, "h J"]:
    """Mass of beta(a, b) on the grid: density pᵃ(1 − p)ᵇ of logit p, with a/(a+b) as told."""
    mean = 1 / (1 + np.exp(-mean_logit))
    mass = np.outer(mean * sharpness, LOG_P)
    mass += np.outer((1 - mean) * sharpness, LOG_Q)
    mass -= mass.max(axis=1, keepdims=True)
    np.exp(mass, out=mass)
    mass /= mass.sum(axis=1, keepdims=True)
    return mass


@lru_cache(maxsize=1)
def family() -> Family:
    """All laws: 3146 betas and 4080 mixtures of two."""
    means = np.arange(-MEAN_REACH, MEAN_REACH + MEAN_STEP / 2, MEAN_STEP)
    sharpness = np.geomspace(*SHARPNESS)
    single = betas(np.repeat(means, sharpness.size), np.tile(sharpness, means.size))
    places = np.linspace(*TWO_MEANS)
    first, second = np.triu_indices(places.size, 1)
    mixtures = []
    for value in TWO_SHARPNESS:
        one = betas(places, np.full(places.size, value))
        mixtures += [share * one[first] + (1 - share) * one[second] for share in TWO_SHARES]
    double = np.concatenate(mixtures)
    each = [math.log(0.5 / len(single)), math.log(0.5 / len(double))]
    return Family(np.concatenate([single, double]), np.repeat(each, [len(single), len(double)]))


SMALLEST = float(np.finfo(np.float64).tiny)
"""Chance of a count under a law that all but excludes it: of hundreds of rollouts it underflows."""


@lru_cache(maxsize=64)
def signal(k: int) -> Float[np.ndarray, " J"]:
    """i_j = 1 − pᴷ − (1 − p)ᴷ on the grid: the chance that a group of K shows a signal."""
    if k == 1:
        return np.zeros(X.size)
    return np.maximum(-np.expm1(k * LOG_P) - np.exp(k * LOG_Q), 0.0)  # type: ignore[no-any-return]


def log_chance(k: int, passes: Int[np.ndarray, " M"]) -> Float[np.ndarray, "M H"]:
    """Log P(m | h), a signal taken as read, of some m in 1 … K − 1 under every law."""
    if k <= WHOLE_TABLE:
        return _whole_table(k)[passes - 1]  # type: ignore[no-any-return]
    return _log_chance(k, passes)


@lru_cache(maxsize=16)
def _whole_table(k: int) -> Float[np.ndarray, "M H"]:
    return _log_chance(k, np.arange(1, k))


def _log_chance(k: int, passes: Int[np.ndarray, " M"]) -> Float[np.ndarray, "M H"]:
    ways = [math.lgamma(k + 1) - math.lgamma(m + 1) - math.lgamma(k - m + 1) for m in passes]
    log = np.array(ways)[:, None] + np.outer(passes, LOG_P) + np.outer(k - passes, LOG_Q)
    mass = family().mass
    chance = np.maximum(np.exp(log) @ mass.T, SMALLEST)
    return np.log(chance) - np.log(mass @ signal(k))  # type: ignore[no-any-return]


def cumulative(
    shares: tuple[tuple[int, float], ...], rows: Int[np.ndarray, " h"] | slice = slice(None)
) -> Float[np.ndarray, "h J+1"]:
    """Share of the prompts with a signal whose logit p is below every edge.

    Args:
        shares: Every K with its share of the groups: a prompt counts with the mean of i over them.
        rows: Laws of the family; all of them by default.
    """
    seen = sum(share * signal(k) for k, share in shares)
    total = np.zeros((len(family().log_prior[rows]), EDGES.size))
    np.cumsum(family().mass[rows] * seen, axis=1, out=total[:, 1:])
    total /= total[:, -1:].copy()
    return total
