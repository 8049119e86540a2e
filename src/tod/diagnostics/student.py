"""Student's t: tails, quantiles, and the power of its test."""

import math
from functools import lru_cache

import numpy as np

from tod.base import SpecError
from tod.diagnostics.quantiles import incomplete_beta

__all__ = ["critical_t", "effect_for_power", "power_of_t", "two_sided_p"]


def two_sided_p(t: float, df: int) -> float:
    """P(|T| ≥ |t|) for T with ``df`` degrees of freedom: I_{df/(df + t²)}(df/2, 1/2).

    Absolute error below 1e-11. 0 where |t| is infinite.

    Source: Abramowitz and Stegun 26.7.1
    """
    return 0.0 if math.isinf(t) else incomplete_beta(df / 2, 0.5, df / (df + t * t))


@lru_cache(maxsize=1024)
def critical_t(alpha: float, df: int) -> float:
    """The t that |T| exceeds with probability ``alpha``, in (1e-9, 1): by bisection to rounding.

    >>> round(critical_t(0.05, 3), 4)
    3.1824

    Raises:
        SpecError: ``alpha`` is outside, or there is no degree of freedom.
    """
    if not 1e-9 < alpha < 1 or df < 1:
        raise SpecError(
            f"no t that |T| exceeds with probability {alpha:g} at {df} degrees of freedom: give a "
            "probability in (1e-9, 1) and two seeds at least."
        )
    low, high = 0.0, 1.0
    while two_sided_p(high, df) > alpha:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, df) > alpha else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=4096)
def power_of_t(effect: float, df: int, alpha: float = 0.05) -> float:
    """P(|T| > critical t) where the true effect is ``effect`` standard errors.

    T = (Z + effect)/√(V/df) with Z normal and V χ² of df: the mean over V of the normal's tails,
    by the midpoint rule in log V (absolute error below 1e-4).

    Source: Student's t with a non-centrality; Johnson, Kotz and Balakrishnan 1995, 31.2
    """
    bound, edge = critical_t(alpha, df), math.log(math.sqrt(df) + 8.0)
    chi = np.exp(np.linspace(edge - 20.0, edge, 2001)[:-1] + 0.005)
    log_density = df * np.log(chi) - chi**2 / 2
    density = np.exp(log_density - log_density.max())
    reach = bound * chi / math.sqrt(df)
    erf = np.vectorize(math.erf)
    beyond = 1 - 0.5 * (erf((reach - effect) / 2**0.5) + erf((reach + effect) / 2**0.5))
    return float((density * beyond).sum() / density.sum())


@lru_cache(maxsize=1024)
def effect_for_power(df: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true effect, in standard errors, that a test at ``alpha`` sees with ``power``.

    >>> round(effect_for_power(3, 0.05, 0.8), 2)
    4.26

    Args:
        df: Degrees of freedom: seeds − 1.
        alpha: Level of the test; of m tests after Holm at least level/m.
        power: Probability with which it is seen, in (alpha, 1).
    """
    low, high = 0.0, 1.0
    while power_of_t(high, df, alpha) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if power_of_t(middle, df, alpha) < power else (low, middle)
    return (low + high) / 2
