"""Adam as an explicit state, ascending."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Vector = Float[np.ndarray, " P"]


@dataclass(frozen=True, eq=False)
class Adam:
    """First and second moments of the gradient, and how many updates made them.

    ε is 1e-6 at least: below it, rounding noise at a stationary point becomes full steps, and
    looks like an effect of the operator. Source: Kingma and Ba 2015.

    Attributes:
        mean: First moment.
        square: Second moment.
        count: Updates so far.
    """

    mean: Vector
    square: Vector
    count: int = 0

    @classmethod
    def start(cls, parameters: Vector) -> "Adam":
        """No updates yet."""
        return cls(np.zeros_like(parameters), np.zeros_like(parameters))

    def step(
        self,
        parameters: Vector,
        gradient: Vector,
        rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-6,
    ) -> tuple[Vector, "Adam"]:
        """One update up the gradient; returns the parameters and the new state."""
        count = self.count + 1
        mean = betas[0] * self.mean + (1 - betas[0]) * gradient
        square = betas[1] * self.square + (1 - betas[1]) * gradient**2
        unbiased = mean / (1 - betas[0] ** count)
        scale = np.sqrt(square / (1 - betas[1] ** count)) + epsilon
        return parameters + rate * unbiased / scale, Adam(mean, square, count)
