"""A posterior by its mode and the curvature there: what is believed of a few parameters."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["LaplaceFit", "laplace_fit"]

Vector = Float[np.ndarray, " d"]
LogLikelihood = Callable[[Vector], tuple[float, Vector]]
"""Value and gradient."""
STEPS, LONGEST_STEP = 60, 2.0
"""Newton's steps at most, and the largest change of a parameter in one."""
ENDED = 1e-7
"""Newton's decrement, in nats, at which the mode is reached."""
DIFFERENCE = 1e-4
"""Step of the difference quotient of the gradient."""


@dataclass(frozen=True, eq=False)
class LaplaceFit:
    """A normal posterior.

    Attributes:
        mode: Most likely parameters, [d].
        root: R with R·Rᵀ the covariance, [d, d].
        log_evidence: Log of the integral of likelihood times prior, by the same normal.
    """

    mode: Vector
    root: Float[np.ndarray, "d d"]
    log_evidence: float

    def draws(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "R d"]:
        """So many parameters."""
        return np.asarray(self.mode + rng.standard_normal((count, self.mode.size)) @ self.root.T)


def laplace_fit(
    log_likelihood: LogLikelihood, start: Vector, prior_mean: Vector, prior_sd: Vector
) -> LaplaceFit:
    """Mode and covariance of likelihood times independent normal priors, by damped Newton steps.

    Args:
        log_likelihood: Value and gradient.
        start: Of the search.
        prior_mean: Of the priors.
        prior_sd: Of the priors.
    """

    def log_posterior(x: Vector) -> tuple[float, Vector]:
        value, gradient = log_likelihood(x)
        z = (x - prior_mean) / prior_sd
        return value - float(z @ z) / 2, gradient - z / prior_sd

    x, (value, gradient) = start, log_posterior(start)
    for _ in range(STEPS):
        curvature, axes = _curvature(log_posterior, x, prior_sd)
        step = axes @ ((axes.T @ gradient) / curvature)
        if float(gradient @ step) < ENDED:
            break
        step *= min(1.0, LONGEST_STEP / float(np.abs(step).max()))
        better = log_posterior(x + step)
        while not better[0] > value and float(np.abs(step).max()) > ENDED:
            step = step / 2
            better = log_posterior(x + step)
        if not better[0] > value:
            break
        x, (value, gradient) = x + step, better
    curvature, axes = _curvature(log_posterior, x, prior_sd)
    log_evidence = value - float(np.log(curvature).sum()) / 2 - float(np.log(prior_sd).sum())
    return LaplaceFit(x, axes / np.sqrt(curvature), log_evidence)


def _curvature(
    log_posterior: LogLikelihood, x: Vector, prior_sd: Vector
) -> tuple[Vector, Float[np.ndarray, "d d"]]:
    """Eigenvalues and axes of minus the Hessian; no flatter than a tenth of the flattest prior."""
    moves = DIFFERENCE * np.eye(x.size)
    rows = [log_posterior(x - move)[1] - log_posterior(x + move)[1] for move in moves]
    hessian = np.array(rows) / (2 * DIFFERENCE)
    values, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    return np.maximum(np.abs(values), 0.1 / float(prior_sd.max()) ** 2), axes
