"""The law of σ over prompts, from the variances of their groups: ln σ ~ N(m, τ)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Int, Real

__all__ = ["ScaleLaw", "scale_law"]

STEP = 1 / 64
"""Grid of ln σ on which densities are tabled."""
POINTS = 1024
"""Points of that grid: ± 8 about 0; a value further out counts as one there."""
FREQUENCY = 2 * math.pi * np.fft.rfftfreq(POINTS, STEP)
SMALLEST = 1e-13
"""Smallest density: below it is rounding of the transform. An outlier weighs ln of it at most."""
LARGEST_FREEDOM = 2000.0
"""Above it a density of ln k2 is narrower than the grid."""
TAU = (0.03, 1.5)
"""Range of τ; the prior is flat in ln τ, and in m."""
ENDS = (0.015, 0.5, 0.985)
"""Points of a quantile of σ, wider than 90 %: that k2 is a χ² of the pooled freedom and ln σ normal
are approximations, whose errors no posterior shows. With 5 and 95 % intervals of the median of
ESS_rel cover .77 to .95 of worlds, with these .87 to .97."""
QUARTILES_APART = 1.349
"""Standard deviations between the quartiles of a normal law."""
WIDE = 1.2
"""Reach of m where the middle half of the groups misleads."""
OUTSIDE, AWAY = 0.005, 0.5
"""Mass at the ends of a grid of m from which some, and from which most, may lie outside."""

Cells = Mapping[int, tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]]
"""By K: values of ln k2, and the groups that have them."""


@dataclass(frozen=True)
class ScaleLaw:
    """Posterior of m and τ on a grid.

    Attributes:
        m: Values of m, [M].
        tau: Values of τ, [T].
        mass: Their posterior probability, [M, T], sum 1.
    """

    m: Float[np.ndarray, " M"]
    tau: Float[np.ndarray, " T"]
    mass: Float[np.ndarray, "M T"]

    def quantile(self, share: float) -> tuple[float, float, float]:
        """1.5, 50 and 98.5 % points of the ``share``-quantile of σ over prompts, exp(m + z·τ)."""
        z = NormalDist().inv_cdf(share)
        values = (self.m[:, None] + z * self.tau).ravel()
        order = np.argsort(values)
        mass = self.mass.ravel()[order]
        below = np.cumsum(mass) - mass / 2
        low, middle, high = np.exp(np.interp(ENDS, below, values[order])).tolist()
        return low, middle, high


def scale_law(cells: Cells, width: float, kurtosis: float) -> ScaleLaw:
    """Posterior of (m, τ) given ln k2 of groups: ν·k2/σ² ~ χ²_ν, ln σ ~ N(m, τ).

    ν = 2/(max(γ2, −1.5)/K + 2/(K−1)), the freedom that gives k2 its variance, clipped to
    [1, 4(K−1)]. The grid is refined about the posterior until it resolves it.

    Args:
        cells: ln k2 of groups by K, one group at least, finite.
        width: Width of the cells; their centres are known to width/√12.
        kurtosis: γ2 of ω within prompts, of all.
    """
    law = _posterior(cells, width, kurtosis, *_first_grid(cells, width, kurtosis))
    if law.mass[[0, -1]].sum() > AWAY:
        m = np.linspace(law.m[12] - WIDE, law.m[12] + WIDE, 25)
        law = _posterior(cells, width, kurtosis, m, np.geomspace(*TAU, 9))
    for _ in range(4):
        (mean, sd), (log_mean, log_sd) = _moments(law)
        step = math.log(law.tau[1] / law.tau[0])
        fine = sd > law.m[1] - law.m[0] and (log_sd > step or math.exp(log_mean) * step < sd)
        if fine and law.mass[[0, -1]].sum() < OUTSIDE:
            break
        m = np.linspace(mean - 4.5 * sd, mean + 4.5 * sd, 25)
        low, high = np.exp([log_mean - 4 * log_sd, log_mean + 4 * log_sd])
        tau = np.geomspace(max(low, TAU[0]), min(high, TAU[1]), 15)
        law = _posterior(cells, width, kurtosis, m, tau)
    return law


def _first_grid(
    cells: Cells, width: float, kurtosis: float
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " T"]]:
    """Where m and τ are by the middle half of the groups: six standard errors to either side.

    The spread of ½ ln k2 is τ and that of ½ ln(χ²_ν/ν) together. Half of an interquartile range of
    n normal values, 0.6745 standard deviations, has a relative standard error of 1.17/√n.
    """
    count = np.array([groups.sum() for _, groups in cells.values()], dtype=np.float64)
    quartiles = np.array([_quartiles(x / 2, groups) for x, groups in cells.values()])
    known = [_scatter(degrees_of_freedom(size, kurtosis)) for size in cells]
    share = count / count.sum()
    middle = float(share @ (quartiles[:, 1] - [x.middle for x in known]))
    spread = np.maximum((quartiles[:, 2] - quartiles[:, 0]) / QUARTILES_APART, width / 2)
    error = 1.25 * float(share @ spread) / math.sqrt(count.sum())
    m = middle + np.linspace(-1, 1, 25) * min(6 * error, WIDE)
    variance = float(share @ (spread**2 - [x.spread**2 for x in known]))
    apart = 5 * 2 * 1.17 * float(share @ spread**2) / math.sqrt(count.sum())
    low, high = (math.sqrt(max(x, 0.0)) for x in (variance - apart, variance + apart))
    low = min(max(low, TAU[0]), TAU[1] / 2)
    return m, np.geomspace(low, min(max(high, 2 * low), TAU[1]), 15)


def _quartiles(x: Float[np.ndarray, " n"], groups: Real[np.ndarray, " n"]) -> list[float]:
    """Quartiles of values that so many groups have."""
    order = np.argsort(x)
    below = np.cumsum(groups[order]) - groups[order] / 2
    return np.interp([0.25, 0.5, 0.75], below / groups.sum(), x[order]).tolist()  # type: ignore[no-any-return]


def degrees_of_freedom(size: int, kurtosis: float) -> float:
    """ν: k2 of K draws of excess kurtosis γ2 varies like σ²·χ²_ν/ν."""
    nu = 2 / (max(kurtosis, -1.5) / size + 2 / (size - 1))
    return min(max(nu, 1.0), 4.0 * (size - 1), LARGEST_FREEDOM)


def _moments(law: ScaleLaw) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and standard deviation of m and of ln τ, the latter at least a step of the grid."""
    log_tau = np.log(law.tau)
    ends = []
    for x, mass in ((law.m, law.mass.sum(1)), (log_tau, law.mass.sum(0))):
        mean = float(mass @ x)
        sd = math.sqrt(float(mass @ (x - mean) ** 2))
        ends.append((mean, max(sd, float(x[1] - x[0]) / 2)))
    return ends[0], ends[1]


def _posterior(
    cells: Cells,
    width: float,
    kurtosis: float,
    m: Float[np.ndarray, " M"],
    tau: Float[np.ndarray, " T"],
) -> ScaleLaw:
    """The posterior on one grid."""
    log_mass = np.zeros((len(m), len(tau)))
    for size, (log_k2, groups) in cells.items():
        table = _log_density(degrees_of_freedom(size, kurtosis), tau, width / 2)
        log_mass += _groups_at_points(log_k2 / 2 - m[:, None], groups) @ table
    mass = np.exp(log_mass - log_mass.max())
    return ScaleLaw(m, tau, mass / mass.sum())


def _groups_at_points(
    d: Float[np.ndarray, "M n"], groups: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "M P"]:
    """Groups at every point of the grid, a row of d a row: each shared by the two points near it.

    A table times them is the sum over groups of what is linear between its points.
    """
    place = np.clip(d / STEP + POINTS / 2, 0, POINTS - 1.001)
    at = place.astype(np.int64)
    part = place - at
    at += np.arange(len(d))[:, None] * POINTS
    cells = len(d) * POINTS
    total = np.bincount(at.ravel(), (groups * (1 - part)).ravel(), cells)
    total += np.bincount(at.ravel() + 1, (groups * part).ravel(), cells)
    return total.reshape(len(d), POINTS)


def _log_density(nu: float, tau: Float[np.ndarray, " T"], width: float) -> Float[np.ndarray, "P T"]:
    """Log density of ½ ln k2 − m on the grid, by τ: that of ½ ln(χ²_ν/ν), blurred by N(0, τ).

    Blurred by the width of a cell too.
    """
    blur = np.exp(np.multiply.outer(tau**2 + width**2 / 12, -0.5 * FREQUENCY**2))
    blurred = np.fft.irfft(_scatter(nu).transform * blur, POINTS, axis=1)
    return np.log(np.maximum(blurred, SMALLEST)).T


class Scatter(NamedTuple):
    """The law of ½ ln(χ²_ν/ν), by which ½ ln k2 scatters about ln σ.

    Attributes:
        transform: Fourier transform of its density on the grid.
        middle: Its median.
        spread: Standard deviation of the normal law of its quartiles.
    """

    transform: Complex[np.ndarray, " F"]
    middle: float
    spread: float


@lru_cache(maxsize=16)
def _scatter(nu: float) -> Scatter:
    """Of ν degrees of freedom."""
    d = (np.arange(POINTS) - POINTS // 2) * STEP
    log_front = math.log(2) + nu / 2 * math.log(nu / 2) - math.lgamma(nu / 2)
    density = np.exp(log_front + nu * d - nu / 2 * np.exp(2 * d))
    low, middle, high = _quartiles(d, density)
    return Scatter(np.fft.rfft(density), middle, (high - low) / QUARTILES_APART)
