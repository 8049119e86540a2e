"""Sums of k-statistics of the log-weights of groups: all that the population is read from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Array, DataError, Groups, to_numpy
from tod.population.equal_sizes import by_size

__all__ = ["Cumulants", "WeightMoments", "k_statistics"]

Constant = Literal["blind", "one"]
"""What a group is whose log-weights do not vary: without a signal, or a prompt of ESS_rel = 1."""
CELL = 1 / 16
"""Width of a cell of the histogram of ln k2: σ to 3 %, where a group of 8 tells it to 27 %."""
SMALLEST_GROUP = 4
"""Rollouts a group needs for its fourth cumulant."""
ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""A group whose log-weights differ by no more than this, relative to the largest, is constant."""
POWERS = {
    "weight": 0,
    "cube": 3,
    "k3": 3,
    "k4": 4,
    "kappa22": 4,
    "k3_k3": 6,
    "k3_cube": 6,
    "cube_cube": 6,
    "k3_k4": 7,
    "k3_kappa22": 7,
    "cube_k4": 7,
    "cube_kappa22": 7,
    "k4_k4": 8,
    "k4_kappa22": 8,
    "kappa22_kappa22": 8,
}
"""Every sum over groups, weighted by K (products by K²), and the power of η that it scales with."""
ODD = ("k3", "k3_cube", "k3_k4", "k3_kappa22")
"""Sums that change sign with η."""


@dataclass(frozen=True)
class Cumulants:
    """Fisher's k-statistics of every group, [G]: unbiased for its law's cumulants at any K.

    Attributes:
        k2: Variance.
        k3: Third cumulant.
        k4: Fourth cumulant.
        kappa22: Unbiased for the squared variance: (K−1)/(K+1)·(k2² − k4/K).
    """

    k2: Float[np.ndarray, " G"]
    k3: Float[np.ndarray, " G"]
    k4: Float[np.ndarray, " G"]
    kappa22: Float[np.ndarray, " G"]


def k_statistics(columns: Float[np.ndarray, "K G"]) -> Cumulants:
    """The k-statistics of groups of equal size K ≥ 4, a group a column.

    With S_r = Σ(x − x̄)^r: k2 = S2/(K−1), k3 = K·S3/((K−1)(K−2)),
    k4 = [K(K+1)·S4 − 3(K−1)·S2²]/((K−1)(K−2)(K−3)).

    Source: Fisher's k-statistics (Kendall and Stuart, The Advanced Theory of Statistics, 12.9)
    """
    n = len(columns)
    centred = columns - columns.mean(axis=0)
    square = centred * centred
    s2 = square.sum(axis=0)
    s3 = np.einsum("kg,kg->g", square, centred)
    s4 = np.einsum("kg,kg->g", square, square)
    k2 = s2 / (n - 1)
    k3 = n * s3 / ((n - 1) * (n - 2))
    k4 = (n * (n + 1) * s4 - 3 * (n - 1) * s2 * s2) / ((n - 1) * (n - 2) * (n - 3))
    return Cumulants(k2, k3, k4, (n - 1) / (n + 1) * (k2 * k2 - k4 / n))


@dataclass(frozen=True)
class WeightMoments:
    """Additive moments of groups of log-weights ω; those of U scale to those of ηU.

    ``a + b`` is what one pass over the groups of both gives, whatever their order. A group of K
    weighs K in the sums, as the variance of its k-statistics falls with 1/K.

    Attributes:
        sums: The sums of `POWERS` by name, of ω / η.
        scales: By K, the number of groups in every cell of ln k2 of ω / η, `CELL` wide.
        log_eta: ln |η|.
        sign: Sign of η.
        constant: Groups whose ω does not vary.
        constant_is_one: Whether a constant group is a prompt with ESS_rel = 1 (log π − log μ); else
            it has no signal and is left out (rewards).
        infinite: Groups with ω = −∞ and finite ones: they have no cumulants.
        invalid: Groups that hold NaN or +∞, or nothing finite.
        short: Other groups of fewer than 4 rollouts.
    """

    sums: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(POWERS, 0.0))
    scales: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    log_eta: float = 0.0
    sign: int = 1
    constant: int = 0
    constant_is_one: bool = False
    infinite: int = 0
    invalid: int = 0
    short: int = 0

    @classmethod
    def of(
        cls, log_w: Float[Array, " N"], groups: Groups, *, constant: Constant
    ) -> "WeightMoments":
        """The moments of groups, one pass in float64; groups of any sizes.

        Args:
            log_w: ω of every rollout, [N], nats; any constant per group cancels.
            groups: Rollouts of one prompt each.
            constant: What a group is whose ω does not vary: ``"blind"`` for rewards (no signal:
                left out), ``"one"`` for log π − log μ (the two agree: ESS_rel = 1).

        Raises:
            DataError: ``log_w`` and ``groups`` differ in length.
        """
        x = to_numpy(log_w).astype(np.float64, copy=False)
        if x.shape != (groups.total,):
            raise DataError(
                f"{x.shape} log-weights for {groups.total} rollouts: give one for each."
            )
        total = cls(constant_is_one=constant == "one")
        for _, columns in by_size(x, groups):
            total = total + _of_columns(columns, constant == "one")
        return total

    @property
    def groups(self) -> int:
        """Groups whose cumulants are in the sums."""
        return sum(count for cells in self.scales.values() for count in cells.values())

    @property
    def eta(self) -> float:
        """The factor that the moments are scaled by."""
        return self.sign * math.exp(self.log_eta)

    def sum_of(self, name: str) -> float:
        """One of the sums of `POWERS`, of ω."""
        scale = math.exp(POWERS[name] * self.log_eta)
        return self.sums[name] * scale * (self.sign if name in ODD else 1)

    def log_k2(self) -> dict[int, tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]]:
        """By K: the centres of the cells of ln k2 of ω that hold groups, and how many they hold."""
        return {
            size: (
                np.array(list(cells), dtype=np.float64) * CELL + 2 * self.log_eta,
                np.array(list(cells.values()), dtype=np.int64),
            )
            for size, cells in sorted(self.scales.items())
        }

    def scaled(self, eta: float) -> "WeightMoments":
        """The moments of η·ω, exactly.

        Raises:
            DataError: η is 0 or not finite: nothing would vary.
        """
        if not math.isfinite(eta) or eta == 0:
            raise DataError(f"eta = {eta}: scale log-weights by a finite number other than 0.")
        sign = self.sign if eta > 0 else -self.sign
        return replace(self, log_eta=self.log_eta + math.log(abs(eta)), sign=sign)

    def __add__(self, other: "WeightMoments") -> "WeightMoments":
        """The moments of the groups of both.

        Raises:
            DataError: One counts constant groups as ESS_rel = 1 and the other leaves them out.
        """
        if self.constant_is_one != other.constant_is_one:
            raise DataError("moments of rewards and of log-ratios do not add: pool each apart.")
        larger = self if self.log_eta >= other.log_eta else other  # the other may underflow
        a, b = self._at_eta_of(larger), other._at_eta_of(larger)
        sizes = {*a.scales, *b.scales}
        return replace(
            a,
            sums={name: a.sums[name] + b.sums[name] for name in POWERS},
            scales={k: _joined(a.scales.get(k, {}), b.scales.get(k, {})) for k in sorted(sizes)},
            constant=a.constant + b.constant,
            infinite=a.infinite + b.infinite,
            invalid=a.invalid + b.invalid,
            short=a.short + b.short,
        )

    def _at_eta_of(self, other: "WeightMoments") -> "WeightMoments":
        """The same, stored as moments of ω over the other's η; cells move to the nearest."""
        shift = self.log_eta - other.log_eta
        flip = self.sign * other.sign
        if shift == 0 and flip == 1:
            return self
        move = round(2 * shift / CELL)
        return replace(
            self,
            sums={
                name: value * math.exp(POWERS[name] * shift) * (flip if name in ODD else 1)
                for name, value in self.sums.items()
            },
            scales={k: {c + move: n for c, n in cells.items()} for k, cells in self.scales.items()},
            log_eta=other.log_eta,
            sign=other.sign,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, at most about 2 kB."""
        return {
            "sums": dict(self.sums),
            "scales": {
                str(k): {"cells": list(cells), "groups": list(cells.values())}
                for k, cells in self.scales.items()
            },
            "log_eta": self.log_eta,
            "sign": self.sign,
            "constant": self.constant,
            "constant_is_one": self.constant_is_one,
            "infinite": self.infinite,
            "invalid": self.invalid,
            "short": self.short,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "WeightMoments":
        """What ``to_dict`` made."""
        scales = {
            int(k): dict(zip(cells["cells"], cells["groups"], strict=True))
            for k, cells in data["scales"].items()
        }
        return cls(**{**data, "scales": scales})


def constant_columns(columns: Float[np.ndarray, "K G"]) -> Bool[np.ndarray, " G"]:
    """Groups of two rollouts or more whose log-weights are finite and do not vary, [G]."""
    with np.errstate(invalid="ignore"):
        top, bottom = columns.max(axis=0), columns.min(axis=0)
        largest = np.maximum(np.abs(top), np.abs(bottom))
        same = np.isfinite(largest) & (top - bottom <= ROUNDING * largest)
    return same if len(columns) > 1 else np.zeros_like(same)


def _joined(a: Mapping[int, int], b: Mapping[int, int]) -> dict[int, int]:
    """Counts of two histograms, by cell."""
    return {cell: a.get(cell, 0) + b.get(cell, 0) for cell in sorted({*a, *b})}


def _of_columns(columns: Float[np.ndarray, "K G"], constant_is_one: bool) -> WeightMoments:
    """Moments of groups of equal size."""
    size = len(columns)
    with np.errstate(invalid="ignore"):
        top, bottom = columns.max(axis=0), columns.min(axis=0)
    invalid = ~np.isfinite(top)
    infinite = ~invalid & (bottom == -np.inf)
    constant = constant_columns(columns)
    counts = WeightMoments(
        constant=int(constant.sum()),
        constant_is_one=constant_is_one,
        infinite=int(infinite.sum()),
        invalid=int(invalid.sum()),
    )
    varying = ~invalid & ~infinite & ~constant
    if size < SMALLEST_GROUP:
        return replace(counts, short=int(varying.sum()))
    if not varying.any():
        return counts
    k = k_statistics(columns if varying.all() else columns[:, varying])
    cells, numbers = np.unique(np.rint(np.log(k.k2) / CELL).astype(np.int64), return_counts=True)
    return replace(
        counts,
        sums=_sums(k, size),
        scales={size: dict(zip(cells.tolist(), numbers.tolist(), strict=True))},
    )


def _sums(k: Cumulants, size: int) -> dict[str, float]:
    """The sums of `POWERS`."""
    cube = k.k2**1.5
    single = {"cube": cube, "k3": k.k3, "k4": k.k4, "kappa22": k.kappa22}
    sums = {name: size * float(x.sum()) for name, x in single.items()}
    sums["weight"] = float(size * len(cube))
    for name in POWERS:
        one, _, two = name.partition("_")
        if two:
            sums[name] = size**2 * float(single[one] @ single[two])
    return sums
