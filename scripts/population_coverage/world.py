"""Worlds with a known population of prompts: what a step draws of one, and what is true of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.base import Groups

__all__ = ["TRUTH_PROMPTS", "Population", "Sample", "World", "weighted_quantile"]

TRUTH_PROMPTS = 100_000
"""Prompts of which the truth is computed: a standard error of √(.25/100 000) in the share."""
TRUTH_SEED = 20_000_003


@dataclass(frozen=True)
class Sample:
    """Rollouts of a step.

    Attributes:
        utility: U of every rollout, [N].
        eta: Sharpness η of the target, nats per unit of U.
        log_base: log b − log μ of every rollout, [N], nats; None where b = μ.
        groups: Rollouts in prompts.
    """

    utility: Float[np.ndarray, " N"]
    eta: float
    log_base: Float[np.ndarray, " N"] | None
    groups: Groups

    @property
    def log_weight(self) -> Float[np.ndarray, " N"]:
        """ω = log b − log μ + η·U, [N], nats, up to a constant of the prompt."""
        tilt = self.eta * self.utility
        return tilt if self.log_base is None else self.log_base + tilt


@dataclass(frozen=True)
class Population:
    """Many prompts of a world.

    Attributes:
        ess: e = 1/(1 + χ²(q*‖μ)) of every prompt, exact, [P].
        signal: Chance that a group of K shows rewards that differ, [P].
    """

    ess: Float[np.ndarray, " P"]
    signal: Float[np.ndarray, " P"]


class World(ABC):
    """A law of prompts, and of the rewards of a prompt's rollouts.

    Attributes:
        family: Row of the table: "0/1", "partial credit", "graded light", "graded heavy", "legs".
        name: Of the world, with its parameters; the same name is the same world.
        hard: Reported as a row of its own and left out of the family's rates.
        same_at_any_k: Whether every group shows a signal, whatever K is.
    """

    family: str
    name: str
    hard: bool = False
    same_at_any_k = False

    @abstractmethod
    def draw(self, rng: np.random.Generator, prompts: int, k: int) -> Sample:
        """K rollouts of each of so many new prompts."""

    @abstractmethod
    def population(self, rng: np.random.Generator, prompts: int, k: int) -> Population:
        """ESS and chance of a signal at K of so many new prompts."""

    def truth(self, k: int, quantile: float) -> float:
        """φ-quantile of e over prompts, each with the weight of its chance to show a signal at K.

        Args:
            k: Rollouts of a group.
            quantile: φ.
        """
        cache: dict[int, Population] = self.__dict__.setdefault("_populations", {})
        key = 0 if self.same_at_any_k else k
        if key not in cache:
            cache[key] = self.population(np.random.default_rng(TRUTH_SEED), TRUTH_PROMPTS, k)
        return weighted_quantile(cache[key].ess, cache[key].signal, quantile)


def weighted_quantile(
    x: Float[np.ndarray, " P"], weight: Float[np.ndarray, " P"], quantile: float
) -> float:
    """Smallest x at which the weight of what is not larger reaches φ of the whole."""
    order = np.argsort(x, kind="stable")
    cumulative = np.cumsum(weight[order])
    at = int(np.searchsorted(cumulative, quantile * cumulative[-1]))
    return float(x[order][min(at, x.size - 1)])
