"""Oracles in 50 digits, and contexts that are hard on floating point."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath
import numpy as np
import pytest

from tod.base import Groups

ADVERSARIAL = {
    "reference": [0.0, -0.5, -1.2, -3.0],
    "shifted_far": [1e6, 1e6 - 0.5, 1e6 - 1.25, 1e6 - 3.0],
    "huge_spread": [1e300, -1e300, 0.0],
    "huge_ties": [1e300, 1e300, -1e300, 1e300],
    "all_tied": [0.1] * 7,
    "all_tied_far": [-123456.7] * 3,
    "one_survivor": [-3.5, -np.inf, -np.inf, -np.inf],
    "two_survivors": [-np.inf, 2.0, -np.inf, 1.5],
    "one_far_ahead": [800.0, 0.0, 1.0, -1.0, 0.5],
    "one_far_behind": [0.25, 0.5, -1e5, 0.125],
    "nearly_tied": [1.0, 1.0 + 2e-13, 1.0 - 1e-13, 1.0],
    "outlier_above": [0.0] * 40 + [50.0],
    "wide": list(np.random.default_rng(3).standard_t(2, size=90) * 4),
    "singleton": [-7.25],
}
INVALID = {
    "all_outside": [-np.inf, -np.inf, -np.inf],
    "plus_infinity": [0.0, np.inf],
    "nan": [0.0, np.nan, 1.0],
    "nan_alone": [np.nan],
}


@dataclass(frozen=True)
class Exact:
    """Statistics of one context in 50 digits, written from their definitions."""

    log_w: list[float]

    def __post_init__(self) -> None:
        mpmath.mp.dps = 50

    @cached_property
    def w(self) -> list[Any]:
        top = max(self.log_w)
        return [
            mpmath.exp(mpmath.mpf(x) - mpmath.mpf(top)) if x > -np.inf else mpmath.mpf(0)
            for x in self.log_w
        ]

    @cached_property
    def bar(self) -> list[Any]:
        total = mpmath.fsum(self.w)
        return [x / total for x in self.w]

    def power_sum(self, alpha: float) -> Any:
        return mpmath.fsum(x**alpha for x in self.bar if x > 0)

    def ess(self) -> Any:
        return 1 / self.power_sum(2)

    def entropy(self) -> Any:
        return -mpmath.fsum(x * mpmath.log(x) for x in self.bar if x > 0)

    def max_weight(self) -> Any:
        return max(self.bar)

    def top_mass(self, m: int) -> Any:
        return mpmath.fsum(sorted(self.bar)[-m:])

    def log_z(self) -> Any:
        return mpmath.mpf(max(self.log_w)) + mpmath.log(mpmath.fsum(self.w) / len(self.log_w))

    def variance(self, ddof: int = 1) -> Any:
        x = [mpmath.mpf(v) for v in self.log_w if v > -np.inf]
        if len(x) <= ddof:
            return mpmath.nan
        mean = mpmath.fsum(x) / len(x)
        return mpmath.fsum((v - mean) ** 2 for v in x) / (len(x) - ddof)


def as_float(value: Any) -> float:
    """The nearest float; beyond the float range, infinity."""
    return float("inf") if value > mpmath.mpf("1.7976931348623157e308") else float(value)


@pytest.fixture
def exact():
    return Exact


@pytest.fixture
def rounded():
    return as_float


@pytest.fixture(params=["apart", "together"])
def adversarial(request):
    """(log_w, contexts, lists): each context alone in equal groups, or all of them ragged."""
    if request.param == "together":
        lists = list(ADVERSARIAL.values())
        yield [(np.concatenate(lists), Groups(np.array([len(x) for x in lists])), lists)]
    else:
        yield [(np.array(x), Groups.equal(1, len(x)), [x]) for x in ADVERSARIAL.values()]


@pytest.fixture
def invalid():
    """(log_w, contexts) in which no context has weights."""
    lists = list(INVALID.values())
    return np.concatenate(lists), Groups(np.array([len(x) for x in lists]))


@pytest.fixture
def batch(rng, ragged):
    """A skewed ragged batch: (log_w, contexts)."""
    return rng.gamma(0.7, 2.0, size=ragged.total) - 3, ragged
