"""A number with the standard error that other seeds would give it."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.diagnostics.student import critical_t, two_sided_p

__all__ = ["Estimate", "mean_over_seeds"]


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error with seeds as clusters, and Student's t of seeds − 1.

    Attributes:
        value: The number.
        error: Its standard error over seeds; None where there are too few seeds to tell.
        seeds: How many seeds it rests on.
    """

    value: float
    error: float | None
    seeds: int

    @property
    def df(self) -> int:
        """Degrees of freedom: seeds − 1."""
        return self.seeds - 1

    @property
    def t(self) -> float | None:
        """Value in standard errors; ±∞ where other seeds change nothing, 0 if it is 0 besides."""
        if self.error is None:
            return None
        if self.error == 0:
            return math.copysign(math.inf, self.value) if self.value else 0.0
        return self.value / self.error

    @property
    def p(self) -> float | None:
        """Two-sided p of a value of 0; None without a standard error."""
        return None if self.t is None else two_sided_p(self.t, self.df)

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Value ± critical t · error; None without a standard error."""
        if self.error is None:
            return None
        half = critical_t(1 - level, self.df) * self.error
        return self.value - half, self.value + half

    def beyond(self, errors: float) -> bool | None:
        """Whether |value| exceeds so many standard errors; None without one."""
        return None if self.t is None else abs(self.t) > errors


def mean_over_seeds(values: Float[np.ndarray, " S"]) -> Estimate:
    """Mean of one value a seed, with its standard error √(Σ(v − v̄)²/(S(S − 1))).

    One seed has no error.
    """
    count = len(values)
    error = float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else None
    return Estimate(float(values.mean()), error, count)
