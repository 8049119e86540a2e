"""Populations of prompts of which the largest η and the needed K are known."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.special import betainc

from population_coverage.graded_worlds import Law

__all__ = ["WORLDS", "AnswersWorld", "CoinWorld", "GradedWorld", "World"]

Rows = Float[np.ndarray, "prompts k"]


class World(ABC):
    """One population.

    Attributes:
        name: What is shown of it.
        bounded: Largest less smallest reward; None where there is none.
    """

    name: str
    bounded: float | None = None

    @abstractmethod
    def draw(self, rng: np.random.Generator, prompts: int, k: int) -> Rows:
        """Rewards of the rollouts of new prompts."""

    @abstractmethod
    def ess(self, eta: float, k: int) -> float:
        """Median of ESS_rel over the prompts that show a signal at K."""

    def eta_at(self, ess: float, k: int) -> float:
        """The largest η at which it is at least ``ess``, by halving."""
        known: dict[tuple[float, int], float] = self.__dict__.setdefault("known", {})
        if (ess, k) not in known:
            known[ess, k] = self.halved(ess, k)
        return known[ess, k]

    def halved(self, ess: float, k: int) -> float:
        """The same, anew."""
        low, high = 0.0, 1e3
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.ess(middle, k) >= ess else (low, middle)
        return low


@dataclass
class GradedWorld(World):
    """Rewards s_c·X, ln s_c ~ N(0, τ): the median prompt has s = 1, whatever the law of X.

    Attributes:
        law: Of X, mean 0 and variance 1.
        tau: τ.
    """

    name: str
    law: Law
    tau: float

    def draw(self, rng, prompts, k):
        """Rewards of new prompts."""
        return np.exp(self.tau * rng.normal(size=(prompts, 1))) * self.law.draw(rng, (prompts, k))

    def ess(self, eta, k):  # noqa: ARG002 - the same at any K
        """exp(2κ(η) − κ(2η))."""
        return float(np.exp(self.law.log_ess(np.array([eta])))[0])


@dataclass(eq=False)
class CoinWorld(World):
    """0/1 rewards, pass rates of a beta law, some prompts impossible.

    Attributes:
        a: Of the beta.
        b: Of the beta.
        dead: Share of prompts that never pass.
    """

    name: str
    a: float
    b: float
    dead: float = 0.0
    bounded: float = 1.0
    cells: int = 4000

    def draw(self, rng, prompts, k):
        """Rewards of new prompts."""
        p = rng.beta(self.a, self.b, size=(prompts, 1)) * (rng.random((prompts, 1)) >= self.dead)
        return (rng.random((prompts, k)) < p).astype(np.float64)

    @cache  # noqa: B019 - a few worlds
    def mass(self, k):
        """Pass rates at the middles of cells of logit p, and their weight by a signal at K."""
        edges = np.linspace(-25, 25, self.cells + 1)
        mass = np.diff(betainc(self.a, self.b, 1 / (1 + np.exp(-edges))))
        x = (edges[1:] + edges[:-1]) / 2
        p, q = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))
        return p, q, mass * (1 - p**k - q**k)

    def ess(self, eta, k):
        """Weighted median of ((1−p) + p·e^η)²/((1−p) + p·e^2η)."""
        p, q, weight = self.mass(k)
        # in units of a pass, so that nothing overflows
        e = (q * math.exp(-eta) + p) ** 2 / (q * math.exp(-2 * eta) + p)
        order = np.argsort(e)
        below = np.cumsum(weight[order])
        return float(e[order][np.searchsorted(below, below[-1] / 2)])


@dataclass
class AnswersWorld(World):
    """Every prompt has so many equally likely answers, their rewards from one law, times s_c.

    Attributes:
        law: Of the answers' rewards.
        tau: Of ln s.
        answers: Answers of a prompt.
    """

    name: str
    law: Law
    tau: float
    answers: int = 250
    prompts: int = 8000
    cache: dict = field(default_factory=dict)

    def rewards(self, rng, prompts):
        """Of all answers of new prompts."""
        s = np.exp(self.tau * rng.normal(size=(prompts, 1)))
        return s * self.law.draw(rng, (prompts, self.answers))

    def draw(self, rng, prompts, k):
        """Rewards of new prompts' rollouts."""
        at = rng.integers(self.answers, size=(prompts, k))
        return np.take_along_axis(self.rewards(rng, prompts), at, axis=1)

    def ess(self, eta, k):  # noqa: ARG002 - the same at any K
        """Median over 8000 prompts, summed over their answers."""
        if not self.cache:
            self.cache["u"] = self.rewards(np.random.default_rng(77), self.prompts)
            self.cache["u"] -= self.cache["u"].max(axis=1, keepdims=True)
        if eta not in self.cache:
            w = np.exp(eta * self.cache["u"])
            self.cache[eta] = float(np.median(w.sum(1) ** 2 / (w * w).sum(1) / self.answers))
        return self.cache[eta]

    def halved(self, ess, k):
        """By halving, 14 times: a ten-thousandth."""
        low, high = 0.0, 4.0
        for _ in range(14):
            middle = (low + high) / 2
            low, high = (middle, high) if self.ess(middle, k) >= ess else (low, middle)
        return low


def _worlds() -> dict[str, tuple[World, ...]]:
    """Every class of the table with its worlds."""
    from population_coverage.graded_worlds import (
        Beta,
        Gamma,
        Gauss,
        Laplace,
        Logistic,
        NoMoments,
        UniformSum,
    )

    return {
        "gaussian": (
            GradedWorld("normal, one scale", Gauss(), 0.05),
            GradedWorld("normal, τ .35", Gauss(), 0.35),
            GradedWorld("normal, τ .7", Gauss(), 0.7),
        ),
        "0/1": (
            CoinWorld("beta(.6, 2)", 0.6, 2.0),
            CoinWorld("beta(2, 3), 30 % impossible", 2.0, 3.0, 0.3),
            CoinWorld("beta(.3, 1.2)", 0.3, 1.2),
            CoinWorld("beta(4, 9)", 4.0, 9.0),
        ),
        "0/1, limit at the goal": (CoinWorld("beta(1, 1)", 1.0, 1.0),),
        "bounded": (
            GradedWorld("uniform, τ .3", UniformSum(1), 0.3),
            GradedWorld("triangle, τ .3", UniformSum(2), 0.3),
            GradedWorld("beta(2, 4), τ .3", Beta(2.0, 4.0), 0.3),
            GradedWorld("beta(4, 1.5), τ .3", Beta(4.0, 1.5), 0.3),
        ),
        "left skew": (
            GradedWorld("−gamma(4), τ .3", Gamma(4.0, -1), 0.3),
            GradedWorld("−gamma(2), τ .3", Gamma(2.0, -1), 0.3),
        ),
        "right skew": (
            GradedWorld("gamma(4), τ .3", Gamma(4.0, 1), 0.3),
            GradedWorld("gamma(9), τ .3", Gamma(9.0, 1), 0.3),
        ),
        "heavy": (
            GradedWorld("Laplace, τ .3", Laplace(), 0.3),
            GradedWorld("logistic, τ .3", Logistic(), 0.3),
            AnswersWorld("250 answers of t3, τ .3", NoMoments(student=True), 0.3),
            AnswersWorld("250 answers of sinh, τ .3", NoMoments(student=False), 0.3),
        ),
    }


WORLDS = _worlds()
