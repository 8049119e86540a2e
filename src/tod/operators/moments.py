"""Moments of a whole optimiser step, for advantages that are scaled by the batch."""

from dataclasses import dataclass

from jaxtyping import Float

from tod.base import Array, to_numpy


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations; moments of parts add up to those of the whole.

    Attributes:
        count: Number of values.
        mean: Their mean.
        squares: Σ (x − mean)²; exactly 0 where all are equal.
    """

    count: int
    mean: float
    squares: float

    @classmethod
    def of(cls, x: Float[Array, " N"]) -> "Moments":
        """Moments of some values, in float64."""
        values = to_numpy(x).astype("float64")
        if not values.size:
            return cls(0, 0.0, 0.0)
        if values.min() == values.max():
            return cls(values.size, float(values[0]), 0.0)
        mean = float(values.mean())
        return cls(values.size, mean, float(((values - mean) ** 2).sum()))

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both together. Source: Chan, Golub and LeVeque 1979."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        step = other.mean - self.mean
        mean = self.mean + step * other.count / count
        between = step * step * self.count * other.count / count
        return Moments(count, mean, self.squares + other.squares + between)

    def variance(self, ddof: int) -> float:
        """Variance with divisor count − ddof; 0 where that is not positive."""
        return self.squares / (self.count - ddof) if self.count > ddof else 0.0
