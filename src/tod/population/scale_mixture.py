"""The law of σ over prompts, from the variances of their groups: ln σ ~ N(m, τ)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

__all__ = ["ScaleLaw", "scale_law"]

STEP = 1 / 64
"""Grid of ln σ on which densities are tabled."""
POINTS = 1024
"""Points of that grid: ± 8 about 0; a value further out counts as one there."""
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
    values = np.concatenate([x for x, _ in cells.values()]) / 2
    groups = np.concatenate([n for _, n in cells.values()])
    order = np.argsort(values)
    middle = float(values[order][np.searchsorted(np.cumsum(groups[order]), groups.sum() / 2)])
    m, tau = np.linspace(middle - 1.2, middle + 1.2, 25), np.geomspace(*TAU, 9)
    law = _posterior(cells, width, kurtosis, m, tau)
    for _ in range(4):
        step = law.m[1] - law.m[0]
        (mean, sd), (log_mean, log_sd) = _moments(law)
        m = np.linspace(mean - 4.5 * sd, mean + 4.5 * sd, 25)
        low, high = np.exp([log_mean - 4 * log_sd, log_mean + 4 * log_sd])
        tau = np.geomspace(max(low, TAU[0]), min(high, TAU[1]), 15)
        law = _posterior(cells, width, kurtosis, m, tau)
        if sd > step:
            break
    return law


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
        place = (log_k2[:, None] / 2 - m) / STEP + POINTS / 2
        place = np.clip(place, 0, POINTS - 1.001)
        at = place.astype(np.int64)
        part = (place - at)[..., None]
        log_p = table[at] * (1 - part) + table[at + 1] * part
        log_mass += np.tensordot(groups, log_p, 1)
    mass = np.exp(log_mass - log_mass.max())
    return ScaleLaw(m, tau, mass / mass.sum())


def _log_density(nu: float, tau: Float[np.ndarray, " T"], width: float) -> Float[np.ndarray, "P T"]:
    """Log density of ½ ln k2 − m on the grid, by τ: that of ½ ln(χ²_ν/ν), blurred by N(0, τ).

    Blurred by the width of a cell too.
    """
    d = (np.arange(POINTS) - POINTS // 2) * STEP
    log_front = math.log(2) + nu / 2 * math.log(nu / 2) - math.lgamma(nu / 2)
    density = np.exp(log_front + nu * d - nu / 2 * np.exp(2 * d))
    frequency = 2 * math.pi * np.fft.rfftfreq(POINTS, STEP)
    blur = np.exp(-0.5 * np.outer(tau**2 + width**2 / 12, frequency**2))
    blurred = np.fft.irfft(np.fft.rfft(density) * blur, POINTS, axis=1)
    return np.log(np.maximum(blurred, SMALLEST)).T
