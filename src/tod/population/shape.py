"""ESS_rel of a log-weight from its standard deviation, skewness and excess kurtosis."""

import math

import numpy as np
from jaxtyping import Float

__all__ = ["ess_of_scale", "log_ess_of_scale", "scale_at_ess"]

SERIES = 1e-2
"""Below it −(ln(1−x) + x)/x² is summed as a series: the logarithm would cancel."""


CUTS, REFINED = 64, 8
"""A bracket is cut into so many, so many times: 64⁻⁸ of it is left."""


def ess_of_scale(
    h: Float[np.ndarray, "*s"] | float,
    skew: Float[np.ndarray, "*s"] | float,
    kurtosis: Float[np.ndarray, "*s"] | float,
) -> Float[np.ndarray, "*s"]:
    """ESS_rel, exp of `log_ess_of_scale`; 0 where E w² = ∞.

    >>> float(ess_of_scale(0.6, 0.0, 0.0).round(5))
    0.69768
    """
    return np.exp(log_ess_of_scale(h, skew, kurtosis))  # type: ignore[no-any-return]


SMALLEST = 1e-150
"""Chance of a value of a two-point law, at the least: its odds stay numbers."""
LARGEST = 1e6
"""Standard deviation of log-weights beyond which ESS_rel is 0 whatever their shape."""


def log_ess_of_scale(
    h: Float[np.ndarray, "*s"] | float,
    skew: Float[np.ndarray, "*s"] | float,
    kurtosis: Float[np.ndarray, "*s"] | float,
) -> Float[np.ndarray, "*s"]:
    """Logarithm of ESS_rel: 2κ(h) − κ(2h) of ω = h·X, κ the cumulant function of a unit-variance X.

    The law of X is closed by its skewness γ1 and excess kurtosis γ2: for γ2 ≥ 5γ1²/3
    normal-inverse-Gaussian, for 0 ≤ γ2 < 5γ1²/3 a shifted gamma, for γ2 < 0 a two-point law plus a
    normal. It falls with h; −∞ where κ(2h) = ∞; to fourth order −h² − γ1h³ − (7/12)γ2h⁴.

    Args:
        h: Standard deviation of ω, ≥ 0, nats.
        skew: γ1.
        kurtosis: γ2; a value below γ1² − 2, which no law has, is read as that.
    """
    h, skew, kurtosis = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (h, skew, kurtosis))
    )
    shape = h.shape
    t = np.minimum(h.ravel(), LARGEST)
    skew, kurtosis = skew.ravel(), kurtosis.ravel()
    both = np.concatenate([t, 2 * t]), np.tile(skew, 2), np.tile(kurtosis, 2)
    once, twice = np.split(cumulant_function(*both), 2)
    with np.errstate(invalid="ignore"):
        value = np.where(np.isinf(twice), -np.inf, np.minimum(2 * once - twice, 0.0))
    return value.reshape(shape)


def cumulant_function(
    t: Float[np.ndarray, " n"], skew: Float[np.ndarray, " n"], kurtosis: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """κ(t) = ln E exp(tX) of the closing law; ∞ outside its domain."""
    value = np.empty_like(t)
    heavy = kurtosis >= 5 * skew**2 / 3
    light = kurtosis < 0
    between = ~heavy & ~light
    value[heavy] = _normal_inverse_gaussian(t[heavy], skew[heavy], kurtosis[heavy])
    value[light] = _two_point_and_normal(t[light], skew[light], kurtosis[light])
    value[between] = _shifted_gamma(t[between], skew[between])
    return value


def _normal_inverse_gaussian(
    t: Float[np.ndarray, " n"], skew: Float[np.ndarray, " n"], kurtosis: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """κ = δ(g − √(α² − (β+t)²)) − tδβ/g, rearranged so that nothing cancels or divides by γ2.

    With v = 1/D = (γ2 − 4γ1²/3)/3, ρ² = γ1²/(9v), q = 1 − ρ², u = 2γ1t/3 + q·v·t², s = √(1−u):
    κ = [q·t² + t·(2ρ²t + γ1·q·t²/3)/(1+s)]/(1+s). At γ1 = γ2 = 0 it is the normal's t²/2.
    """
    v = (kurtosis - 4 * skew**2 / 3) / 3
    rho2 = np.minimum(np.divide(skew**2, 9 * v, out=np.zeros_like(v), where=v > 0), 1.0)
    q = 1 - rho2
    u = 2 * skew * t / 3 + q * v * t * t
    root = 1 + np.sqrt(np.maximum(1 - u, 0.0))
    value = (q * t * t + t * (2 * rho2 * t + skew * q * t * t / 3) / root) / root
    return np.where(u > 1, np.inf, value)


def _shifted_gamma(
    t: Float[np.ndarray, " n"], skew: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """κ = −r²·ln(1 − st/r) − s·r·t, r = 2/|γ1|, s its sign; γ1 ≠ 0."""
    x = skew * t / 2
    inside = x < 1
    value = np.full_like(t, np.inf)
    value[inside] = t[inside] ** 2 * _log_remainder(x[inside])
    return value


def _log_remainder(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """−(ln(1−x) + x)/x², 1/2 at 0."""
    small = np.abs(x) < SERIES
    near = np.where(small, x, 0.0)
    series = sum(near**j / (j + 2) for j in range(8))
    far = np.where(small, SERIES, x)
    return np.where(small, series, -(np.log1p(-far) + far) / far**2)


def _two_point_and_normal(
    t: Float[np.ndarray, " n"], skew: Float[np.ndarray, " n"], kurtosis: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """κ of A·B + √(1−A²)·N: B two-point of skewness γ1/A³, A⁴ = (γ1²/A² − γ2)/2, A ≤ 1."""
    share = _squared_amplitude(skew**2, kurtosis)
    point_skew = skew / share**1.5
    # P(B is its larger value); 1/2 − x and 1/2 + x by their product lose nothing in the tail
    root = np.sqrt(4 + point_skew**2)
    upper = np.where(
        point_skew > 0, 2 / (root * (root + point_skew)), 0.5 - point_skew / (2 * root)
    )
    lower = np.where(
        point_skew > 0, 0.5 + point_skew / (2 * root), 2 / (root * (root - point_skew))
    )
    a = t * np.sqrt(share)
    upper, lower = np.maximum(upper, SMALLEST), np.maximum(lower, SMALLEST)
    odds = np.sqrt(lower / upper)
    point = np.logaddexp(np.log(upper) + a * odds, np.log(lower) - a / odds)
    return point + (1 - share) * t * t / 2  # type: ignore[no-any-return]


def _squared_amplitude(
    skew2: Float[np.ndarray, " n"], kurtosis: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """A² ∈ (0, 1]: the positive root x of 2x³ + γ2·x = γ1², γ2 < 0; 1 where it is larger.

    By Vieta's trigonometric form, and its hyperbolic one where the other roots are complex.
    """
    third, half = -kurtosis / 6, skew2 / 4  # x³ − 3·third·x − 2·half = 0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        turn = half / third**1.5
        one = 2 * np.sqrt(third) * np.cos(np.arccos(np.minimum(turn, 1.0)) / 3)
        other = 2 * np.sqrt(third) * np.cosh(np.arccosh(np.maximum(turn, 1.0)) / 3)
    # without γ2 to the last digit the root is that of x³ = γ1²/2, and the ratio may overflow
    root = np.where(turn > 1e24, np.cbrt(2 * half), np.where(turn > 1, other, one))
    return np.minimum(root, 1.0)


def scale_at_ess(ess: float, skew: float, kurtosis: float) -> float:
    """The largest h at which ESS_rel of the closing law is at least ``ess``, in (0, 1).

    Where ESS_rel jumps to 0 from above ``ess``, the h of the jump.
    """
    wanted = math.log(ess)
    low, high = 0.0, 1.0
    while float(log_ess_of_scale(high, skew, kurtosis)) >= wanted and high < 1e6:
        low, high = high, 2 * high
    for _ in range(REFINED):
        grid = np.linspace(low, high, CUTS + 1)
        last = int(np.flatnonzero(log_ess_of_scale(grid, skew, kurtosis) >= wanted)[-1])
        low, high = float(grid[last]), float(grid[min(last + 1, CUTS)])
    return low
