"""Worlds of 0/1 rewards: laws of the pass rate over prompts, smooth ones and hard ones."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from population_coverage.world import Population, Sample, World
from tod.base import Groups

__all__ = ["PassRates", "homogeneous", "point_masses", "smooth", "two_points"]

Law = Callable[[np.random.Generator, int], Float[np.ndarray, " P"]]


class PassRates(World):
    """0/1 rewards with b = μ, of a law of pass rates."""

    family = "0/1"

    def __init__(self, name: str, law: Law, eta: float, *, hard: bool = False) -> None:
        """Of a law, which draws so many pass rates, and a sharpness."""
        self.name, self.law, self.eta, self.hard = name, law, eta, hard

    def draw(self, rng: np.random.Generator, prompts: int, k: int) -> Sample:
        """K passes or failures of every prompt."""
        rate = np.repeat(self.law(rng, prompts), k)
        utility = (rng.random(prompts * k) < rate).astype(np.float64)
        return Sample(utility, self.eta, None, Groups.equal(prompts, k))

    def population(self, rng: np.random.Generator, prompts: int, k: int) -> Population:
        """1/(1 + χ²) of two outcomes, and 1 − pᴷ − (1 − p)ᴷ."""
        p = self.law(rng, prompts)
        fail, once, twice = 1 - p, np.exp(-self.eta), np.exp(-2 * self.eta)
        ess = (fail * once + p) ** 2 / (fail * twice + p)
        return Population(ess, 1 - p**k - fail**k)


def smooth(rng: np.random.Generator) -> World:
    """A beta, two betas, a logit-normal or a uniform law, and prompts that never or always pass.

    These are a third of all on average. η is log-uniform from 1.3 to 8: below 1.23 every prompt is
    above .7.
    """
    kind = rng.choice(["beta", "two betas", "logit-normal", "uniform"], p=[0.4, 0.2, 0.2, 0.2])
    atoms = rng.dirichlet([1.0, 1.0, 4.0])
    inner = _inner(str(kind), rng)

    def law(draws: np.random.Generator, count: int) -> Float[np.ndarray, " P"]:
        p = inner(draws, count)
        which = draws.choice(3, size=count, p=atoms)
        return np.where(which == 2, p, which.astype(np.float64))

    return PassRates(str(kind), law, float(np.exp(rng.uniform(np.log(1.3), np.log(8)))))


def _inner(kind: str, rng: np.random.Generator) -> Law:
    """A law of that kind, with parameters drawn."""
    mean, sums = rng.uniform(0.05, 0.95, 2), np.exp(rng.uniform(np.log(0.5), np.log(30), 2))
    share = rng.uniform(0.15, 0.85)
    centre, width = rng.uniform(-3, 3), rng.uniform(0.2, 2.5)
    low, high = np.sort(rng.random(2))

    def beta(draws: np.random.Generator, count: int) -> Float[np.ndarray, " P"]:
        return draws.beta(mean[0] * sums[0], (1 - mean[0]) * sums[0], count)

    def two_betas(draws: np.random.Generator, count: int) -> Float[np.ndarray, " P"]:
        other = draws.beta(mean[1] * sums[1], (1 - mean[1]) * sums[1], count)
        return np.where(draws.random(count) < share, beta(draws, count), other)

    def logit_normal(draws: np.random.Generator, count: int) -> Float[np.ndarray, " P"]:
        return 1 / (1 + np.exp(-draws.normal(centre, width, count)))

    def uniform(draws: np.random.Generator, count: int) -> Float[np.ndarray, " P"]:
        return draws.uniform(low, high, count)

    laws: dict[str, Law] = {
        "beta": beta,
        "two betas": two_betas,
        "logit-normal": logit_normal,
        "uniform": uniform,
    }
    return laws[kind]


def _points(name: str, rng: np.random.Generator, count: int) -> World:
    places = 1 / (1 + np.exp(-rng.uniform(-3, 3, count)))
    shares = rng.dirichlet(np.full(count, 3.0))

    def law(draws: np.random.Generator, prompts: int) -> Float[np.ndarray, " P"]:
        return draws.choice(places, size=prompts, p=shares)

    return PassRates(name, law, float(np.exp(rng.uniform(np.log(1.3), np.log(8)))), hard=True)


def homogeneous(rng: np.random.Generator) -> World:
    """One pass rate for all prompts."""
    return _points("homogeneous", rng, 1)


def two_points(rng: np.random.Generator) -> World:
    """Two pass rates: a median between them is not defined by any amount of data."""
    return _points("two points", rng, 2)


def point_masses(rng: np.random.Generator) -> World:
    """Three to six pass rates."""
    return _points("point masses", rng, int(rng.integers(3, 7)))
