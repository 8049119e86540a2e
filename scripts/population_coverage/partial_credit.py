"""Worlds of partial credit: a few rewards between 0 and 1, of laws over prompts."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from population_coverage.world import Population, Sample, World
from tod.base import Groups

__all__ = ["FewValues", "partial_credit"]

Law = Callable[[np.random.Generator, int], Float[np.ndarray, "P L"]]


class FewValues(World):
    """Rewards of a few levels with b = μ; a prompt is its chances of the levels."""

    family = "partial credit"

    def __init__(
        self,
        name: str,
        levels: Float[np.ndarray, " L"],
        law: Law,
        eta: float,
    ) -> None:
        """Of a law, which draws the chances of so many prompts, and a sharpness."""
        self.name, self.levels, self.law, self.eta = name, levels, law, eta

    def draw(self, rng: np.random.Generator, prompts: int, k: int) -> Sample:
        """K levels of every prompt."""
        below = np.cumsum(self.law(rng, prompts), axis=1)[:, None, :-1]
        level = (rng.random((prompts, k, 1)) > below).sum(axis=2)
        return Sample(self.levels[level].ravel(), self.eta, None, Groups.equal(prompts, k))

    def population(self, rng: np.random.Generator, prompts: int, k: int) -> Population:
        """(E w)²/E w² over the levels, and 1 − Σ chanceᴷ."""
        chance = self.law(rng, prompts)
        weight = np.exp(self.eta * (self.levels - self.levels.max()))
        ess = (chance @ weight) ** 2 / (chance @ weight**2)
        return Population(ess, 1 - (chance**k).sum(axis=1))


def partial_credit(rng: np.random.Generator) -> World:
    """Tests passed, Dirichlet or logistic-normal chances, two kinds; 3 to 7 levels, η .5 to 6."""
    count = int(rng.integers(3, 8))
    levels = np.linspace(0, 1, count)
    kind = str(rng.choice(["tests", "Dirichlet", "logistic-normal", "two kinds"]))
    eta = float(np.exp(rng.uniform(np.log(0.5), np.log(6))))
    return FewValues(kind, levels, _law(kind, count, rng), eta)


def _law(kind: str, count: int, rng: np.random.Generator) -> Law:
    """A law of that kind, with parameters drawn."""
    mean, sums = rng.uniform(0.1, 0.9), float(np.exp(rng.uniform(np.log(0.7), np.log(15))))
    alpha = np.exp(rng.uniform(np.log(0.1), np.log(2), (2, count)))
    centre, width = rng.normal(0, 1, count), rng.uniform(0.3, 1.5)
    ways = np.array([_choose(count - 1, m) for m in range(count)])

    def tests(draws: np.random.Generator, prompts: int) -> Float[np.ndarray, "P L"]:
        p = draws.beta(mean * sums, (1 - mean) * sums, (prompts, 1))
        m = np.arange(count)
        return ways * p**m * (1 - p) ** (count - 1 - m)

    def dirichlet(draws: np.random.Generator, prompts: int) -> Float[np.ndarray, "P L"]:
        return draws.dirichlet(alpha[0], prompts)

    def logistic_normal(draws: np.random.Generator, prompts: int) -> Float[np.ndarray, "P L"]:
        x = np.exp(centre + width * draws.standard_normal((prompts, count)))
        return x / x.sum(axis=1, keepdims=True)

    def two_kinds(draws: np.random.Generator, prompts: int) -> Float[np.ndarray, "P L"]:
        easy = draws.random((prompts, 1)) < mean
        return np.where(
            easy, draws.dirichlet(alpha[0], prompts), draws.dirichlet(alpha[1][::-1], prompts)
        )

    laws: dict[str, Law] = {
        "tests": tests,
        "Dirichlet": dirichlet,
        "logistic-normal": logistic_normal,
        "two kinds": two_kinds,
    }
    return laws[kind]


def _choose(n: int, m: int) -> float:
    ways = 1.0
    for i in range(m):
        ways = ways * (n - i) / (i + 1)
    return ways
