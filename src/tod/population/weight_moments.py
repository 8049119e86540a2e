"""ESS_rel over prompts from moments of any log-weights: a law of scales times one pooled shape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.diagnostics.quantiles import fraction_interval
from tod.population.fewest import FEWEST_GROUPS
from tod.population.jackknife import EssCounts
from tod.population.moments import CELL, POWERS, SMALLEST_GROUP, WeightMoments
from tod.population.scale_mixture import ScaleLaw, degrees_of_freedom, scale_law
from tod.population.shape import log_ess_of_scale, scale_at_ess

__all__ = [
    "WeightShape",
    "weight_moment_ess",
    "weight_shape",
]

MEDIAN = 0.5
EXTREME = 40.0
"""|ln η| beyond which the sums are read without η, whose eighth power is not a number."""
HEAVIER_Z = 2.3
"""Standard errors that skewness and kurtosis are moved up by: samples mostly miss the tail, so that
their errors are skewed themselves."""
FEW, HEAVIER_Z_OF_FEW = 8, 3.3
"""Standard errors instead, of groups of fewer than 8: their fourth cumulants hold so little of the
tail that with 2.3 every low end that fails at K = 4 is too high, .11 to .37 of them."""
LIGHTER_Z = 2.3
"""Standard errors that they are moved down by."""
SAFE_Z = 1.64
"""Standard errors that they are moved by for a sharpness to be safe."""


@dataclass(frozen=True)
class WeightShape:
    """The law of log-weights over prompts: σ_c·X, ln σ_c ~ N(m, τ), one law of X for all.

    Attributes:
        scales: Posterior of the law of σ over prompts.
        skew: γ1 of X.
        skew_error: Its standard error.
        kurtosis: γ2 of X, excess.
        kurtosis_error: Its standard error.
        correlation: Of the errors of the two.
        heavier: Standard errors that the two are moved up by for an end.
    """

    scales: ScaleLaw
    skew: float
    skew_error: float
    kurtosis: float
    kurtosis_error: float
    correlation: float
    heavier: float = HEAVIER_Z

    @property
    def bounded(self) -> bool:
        """Whether the tails are those of a bounded law: γ2 < 0 by more than its error."""
        return self.kurtosis + LIGHTER_Z * self.kurtosis_error < 0

    def eta_at_ess(self, ess: float, *, share: float = 0.5, z: float = 0.0) -> float:
        """The largest factor on ω at which the ``share``-quantile of ESS_rel is at least ``ess``.

        Args:
            ess: In (0, 1).
            share: Of prompts below it.
            z: Standard errors by which skewness and kurtosis are taken larger; `SAFE_Z` for a
                factor that is safe.
        """
        skew, kurtosis = self.skew + z * self.skew_error, self.kurtosis + z * self.kurtosis_error
        return scale_at_ess(ess, skew, kurtosis) / self.scales.quantile(1 - share)[1]

    def log_ends(self, share: float) -> tuple[float, float, float]:
        """Ends and middle of ln of the ``share``-quantile of ESS_rel over prompts.

        Each end is the middle plus the root of the sum of the squared moves by: σ to its own end,
        γ1 and γ2 by so many standard errors, each where it moves that way; the moves by γ1 and γ2
        add up as their errors correlate. Where the middle is −∞, the upper end is ln ESS_rel with
        all three moved.
        """
        low, middle, high = self.scales.quantile(1 - share)
        skew, kurtosis = self.skew_error, self.kurtosis_error
        h = np.array([middle, high, middle, middle, low, middle, middle, low])
        moves = np.array([0, 0, self.heavier, 0, 0, -LIGHTER_Z, 0, -LIGHTER_Z])
        g1 = self.skew + moves * skew
        g2 = self.kurtosis + moves[[0, 1, 3, 2, 4, 6, 5, 7]] * kurtosis
        value, *moved, together = log_ess_of_scale(h, g1, g2).tolist()
        if math.isinf(value):
            return value, value, together
        down = self._root([max(value - x, 0.0) for x in moved[:3]])
        up = self._root([max(x - value, 0.0) for x in moved[3:]])
        return value - down, value, min(value + up, 0.0)

    def _root(self, moves: Sequence[float]) -> float:
        """Root of the squared moves by σ, γ1 and γ2, and of the product of the latter two."""
        scale, skew, kurtosis = moves
        if math.inf in moves:
            return math.inf
        both = skew**2 + kurtosis**2 + 2 * self.correlation * skew * kurtosis
        return math.sqrt(scale**2 + max(both, 0.0))


def weight_shape(moments: WeightMoments) -> WeightShape | None:
    """The law of the log-weights over prompts; None where fewer than 8 groups tell it.

    γ2 = Σk4/Σκ22 and γ1 = Σk3/Σ(k2^1.5/c), c = E(χ²_ν/ν)^1.5 at the ν of the law of scales. Their
    errors are those of ratios of sums over groups, and not below those of normal groups of the same
    variances: where one group makes most of a sum it leaves no residual.
    """
    if moments.groups < FEWEST_GROUPS:
        return None
    extreme = abs(moments.log_eta) > EXTREME
    unit = replace(moments, log_eta=0.0, sign=1) if extreme else moments
    sums = {name: unit.sum_of(name) for name in POWERS}
    if not sums["kappa22"] or not sums["cube"]:  # scales too far apart for one sum
        return None
    kurtosis, ratio = sums["k4"] / sums["kappa22"], sums["k3"] / sums["cube"]
    fourth = _residual(sums, ("k4", kurtosis, "kappa22"), ("k4", kurtosis, "kappa22"))
    third = _residual(sums, ("k3", ratio, "cube"), ("k3", ratio, "cube"))
    both = _residual(sums, ("k3", ratio, "cube"), ("k4", kurtosis, "kappa22"))
    normal = _normal_theory(unit, kurtosis)
    return WeightShape(
        scales=scale_law(moments.log_k2(), CELL, kurtosis),
        skew=(moments.sign if extreme else 1) * sums["k3"] / normal.cube,
        skew_error=math.sqrt(max(third, normal.third)) / normal.cube,
        kurtosis=kurtosis,
        kurtosis_error=math.sqrt(max(fourth, normal.fourth)) / sums["kappa22"],
        correlation=both / math.sqrt(third * fourth) if third > 0 and fourth > 0 else 0.0,
        heavier=_heavier(moments),
    )


def _heavier(moments: WeightMoments) -> float:
    """Standard errors that a tail is taken heavier by: the mean over groups, by their sizes."""
    few = sum(sum(cells.values()) for size, cells in moments.scales.items() if size < FEW)
    return HEAVIER_Z + (HEAVIER_Z_OF_FEW - HEAVIER_Z) * few / moments.groups


Ratio = tuple[str, float, str]
"""A sum over groups, its ratio to another, and that other: the residual of a group is a − r·b."""


def _residual(sums: dict[str, float], one: Ratio, other: Ratio) -> float:
    """Sum over groups of the product of two residuals."""
    (a, r, b), (c, q, d) = one, other
    product = {name: sums[name] for name in sums if "_" in name}
    product |= {f"{y}_{x}": v for name, v in product.items() for x, y in [name.split("_")]}
    total = product[f"{a}_{c}"] - q * product[f"{a}_{d}"] - r * product[f"{b}_{c}"]
    return total + r * q * product[f"{b}_{d}"]


@dataclass(frozen=True)
class NormalTheory:
    """Sums over groups: unbiased Σ σ³, and what Σ k3 and Σ k4 vary by for normal log-weights."""

    cube: float
    third: float
    fourth: float


def _normal_theory(moments: WeightMoments, kurtosis: float) -> NormalTheory:
    """From the histogram of ln k2: k2^r is E(χ²_ν/ν)^r times σ^2r on average.

    Source: variances of k3 and k4 of normal draws, 6K/((K−1)(K−2))·σ⁶ and
    24K(K+1)/((K−1)(K−2)(K−3))·σ⁸ (Kendall and Stuart, 12.17)
    """
    cube = third = fourth = 0.0
    for n, (log_k2, groups) in moments.log_k2().items():
        nu = degrees_of_freedom(n, kurtosis)
        cube += n * float(groups @ np.exp(1.5 * log_k2)) / _chi_power(nu, 1.5)
        sixth = float(groups @ np.exp(3 * log_k2)) / _chi_power(n - 1, 3)
        eighth = float(groups @ np.exp(4 * log_k2)) / _chi_power(n - 1, 4)
        third += n**2 * sixth * 6 * n / ((n - 1) * (n - 2))
        fourth += n**2 * eighth * 24 * n * (n + 1) / ((n - 1) * (n - 2) * (n - 3))
    return NormalTheory(cube, third, fourth)


def _chi_power(nu: float, power: float) -> float:
    """E (χ²_ν/ν)^power."""
    return math.exp(power * math.log(2 / nu) + math.lgamma(nu / 2 + power) - math.lgamma(nu / 2))


def weight_moment_ess(moments: WeightMoments, jackknife: EssCounts | None = None) -> PopulationEss:
    """Median and 10 % quantile of ESS_rel over the prompts behind some moments, 90 % intervals.

    Where no lower end exists (E w² = ∞ for a law as heavy as the moments allow, or weights of zero)
    the low end is 0 and the point None: ESS_rel is not above the high end.

    Args:
        moments: Of ω with η included (``scaled``).
        jackknife: `jackknife_counts` of the same groups at the same η. It caps the median's high
            end, and widens the intervals where the tail is bounded. Without it groups with ω = −∞
            are not readable.
    """
    reason = _unreadable(moments, jackknife)
    prompts = moments.groups + moments.infinite + _ones(moments)
    if reason is not None:
        return PopulationEss(None, None, prompts, None, reason)
    if moments.infinite and jackknife is not None:
        median, q10 = (Interval(0.0, None, jackknife.interval(share)[1]) for share in (0.5, 0.1))
        return PopulationEss(median, q10, prompts, "weight_moments")
    shape = weight_shape(moments)
    ends = {share: _log_ends(shape, moments, share) for share in (0.5, 0.1)}
    if ends[0.5] is None:
        reason = f"the log-weights of {moments.groups} prompts vary: {FEWEST_GROUPS} are needed"
        return PopulationEss(None, None, prompts, None, reason)
    return PopulationEss(
        _interval(ends[0.5], shape, jackknife, 0.5),
        None if ends[0.1] is None else _interval(ends[0.1], shape, jackknife, 0.1),
        prompts,
        "weight_moments",
    )


def _unreadable(moments: WeightMoments, jackknife: EssCounts | None) -> str | None:
    """Why nothing can be read, in words; None where something can."""
    prompts = moments.groups + moments.infinite + _ones(moments)
    if not prompts and moments.short:
        return f"fewer than {SMALLEST_GROUP} rollouts a prompt: {SMALLEST_GROUP} are needed"
    if prompts < FEWEST_GROUPS:
        what = "prompts" if moments.constant_is_one else "prompts whose rewards differ"
        return f"{prompts} {what}: {FEWEST_GROUPS} are needed"
    if moments.infinite and jackknife is None:
        return f"some rollouts of {moments.infinite} prompts have a weight of zero"
    return None


def _ones(moments: WeightMoments) -> int:
    """Constant groups that count as ESS_rel = 1."""
    return moments.constant if moments.constant_is_one else 0


def _log_ends(
    shape: WeightShape | None, moments: WeightMoments, share: float
) -> tuple[float, float, float] | None:
    """Ends and middle of ln of a quantile over all prompts, those with ESS_rel = 1 among them.

    With a share a of ones it is the share/(1−a)-quantile of the others; a has its own interval,
    whose ends are one move more. None where the others are too few to be read and too many to be
    neglected.
    """
    ones = _ones(moments)
    if not ones:
        return None if shape is None else shape.log_ends(share)
    all_prompts = ones + moments.groups
    low, high = fraction_interval(ones, all_prompts)
    if low >= 1 - share:
        return 0.0, 0.0, 0.0
    if shape is None:
        return None
    return _moved(shape, share, low, ones / all_prompts, high)


def _moved(
    shape: WeightShape, share: float, low: float, ones: float, high: float
) -> tuple[float, float, float]:
    """`log_ends` of the others, and the moves by the share of ones."""

    def ends(a: float) -> tuple[float, float, float]:
        return shape.log_ends(share / (1 - a)) if share < 1 - a else (0.0, 0.0, 0.0)

    bottom, middle, top = ends(ones)
    worse, better = ends(low)[1], ends(high)[1]
    if math.isinf(middle):
        return middle, middle, max(top, better)
    down = math.hypot(middle - bottom, middle - worse)
    return middle - down, middle, min(middle + math.hypot(top - middle, better - middle), 0.0)


def _interval(
    log_ends: tuple[float, float, float],
    shape: WeightShape | None,
    jackknife: EssCounts | None,
    share: float,
) -> Interval:
    """An interval of ESS_rel from ends of its logarithm, with what the jackknife adds to it."""
    low, value, high = (math.exp(x) for x in log_ends)
    if jackknife is not None and len(jackknife):
        lower, upper = jackknife.interval(share)
        bounded = shape is not None and shape.bounded
        if share == MEDIAN and not bounded:
            high = max(min(high, upper), low)
        if bounded:
            low, high = min(low, lower), max(high, upper)
    return Interval(low, None if low == 0 else min(max(value, low), high), high)
