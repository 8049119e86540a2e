"""Worlds of policy/proposal legs: U is log π − log μ itself, normalised, and η = 1."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from population_coverage.graded_worlds import Maker, Scales
from population_coverage.world import Population, Sample, World
from tod.base import Groups

__all__ = ["HARD_LEGS", "LEGS"]


@dataclass
class LegWorld(World):
    """A leg: every prompt has its own staleness s. Constant groups are prompts of ESS_rel = 1.

    Attributes:
        scales: Law of s over prompts.
    """

    name: str
    scales: Scales
    hard: bool = False
    family = "legs"
    same_at_any_k = True

    @abstractmethod
    def ratios(
        self, rng: np.random.Generator, s: Float[np.ndarray, " prompts"], k: int
    ) -> Float[np.ndarray, "prompts k"]:
        """Draw log π − log μ of K rollouts of prompts of staleness s; E exp of it is 1."""

    @abstractmethod
    def log_ess(self, s: Float[np.ndarray, " prompts"]) -> Float[np.ndarray, " prompts"]:
        """−ln E ρ² of prompts of staleness s."""

    def draw(self, rng, prompts, k):
        """K rollouts of each of so many new prompts."""
        x = self.ratios(rng, self.scales.draw(rng, prompts), k)
        return Sample(x.ravel(), 1.0, None, Groups.equal(prompts, k))

    def population(self, rng, prompts, k):  # noqa: ARG002 - the same at any K
        """ESS of so many new prompts."""
        return Population(np.exp(self.log_ess(self.scales.draw(rng, prompts))), np.ones(prompts))


class LogNormal(LegWorld):
    """Log-ratios N(−s²/2, s²)."""

    def ratios(self, rng, s, k):
        return s[:, None] * rng.normal(size=(len(s), k)) - s[:, None] ** 2 / 2

    def log_ess(self, s):
        return -(s**2)


@dataclass
class RandomLength(LegWorld):
    """Sums over T tokens, each N(−v/2, v): N(−Tv/2, Tv); v = s²/E T; T/longest ~ beta, in 64ths.

    Attributes:
        lengths: a and b of the beta.
    """

    lengths: tuple[float, float] = (1.0, 1.0)

    def shares(self):
        """T/E T of 64 classes of length, and their chances."""
        x = (np.arange(64) + 0.5) / 64
        p = x ** (self.lengths[0] - 1) * (1 - x) ** (self.lengths[1] - 1)
        p = p / p.sum()
        return x / (p @ x), p

    def ratios(self, rng, s, k):
        x, p = self.shares()
        variance = s[:, None] ** 2 * rng.choice(x, size=(len(s), k), p=p)
        return np.sqrt(variance) * rng.normal(size=variance.shape) - variance / 2

    def log_ess(self, s):
        x, p = self.shares()
        return -np.logaddexp.reduce(np.log(p) + np.outer(s**2, x), axis=1)


@dataclass
class Sharpened(LegWorld):
    """π ∝ μ^(1+s), log μ = −Gamma(r)/√r: the policy is colder than the proposal, a left tail.

    Attributes:
        r: Shape of the gamma; 1 gives an exponential left tail.
    """

    r: float = 4.0

    def ratios(self, rng, s, k):
        x = s[:, None] / math.sqrt(self.r)
        return -x * rng.gamma(self.r, size=(len(s), k)) + self.r * np.log1p(x)

    def log_ess(self, s):
        x = s / math.sqrt(self.r)
        return self.r * (np.log1p(2 * x) - 2 * np.log1p(x))


@dataclass
class PartlyFresh(LegWorld):
    """A share of prompts was drawn from the policy itself: log-ratios of exactly 0.

    Attributes:
        fresh: That share.
    """

    fresh: float = 0.3

    def ratios(self, rng, s, k):
        s = np.where(rng.random(len(s)) < self.fresh, 0.0, s)[:, None]
        return s * rng.normal(size=(len(s), k)) - s**2 / 2

    def log_ess(self, s):
        # the first of many independent prompts are as good as a random choice
        return np.where(np.arange(len(s)) < self.fresh * len(s), 0.0, -(s**2))


@dataclass
class Jumps(LegWorld):
    """A share of sequences is off by a jump N(−j²/2, j²) on top of N(−s²/2, s²).

    Attributes:
        share: Of sequences.
        jump: j over s.
    """

    share: float = 0.1
    jump: float = 2.0

    def ratios(self, rng, s, k):
        off = rng.random((len(s), k)) < self.share
        variance = s[:, None] ** 2 * (1 + off * self.jump**2)
        return np.sqrt(variance) * rng.normal(size=off.shape) - variance / 2

    def log_ess(self, s):
        off = math.log(self.share) + s**2 * (1 + self.jump**2)
        return -np.logaddexp(math.log1p(-self.share) + s**2, off)


def _leg(name: str, make: Callable[[np.random.Generator, Scales], LegWorld]) -> Maker:
    """Worlds of one kind with random parameters; the name says them."""

    def made(rng: np.random.Generator) -> World:
        world = make(rng, Scales.random(rng))
        own = {k: v for k, v in vars(world).items() if k not in ("name", "scales", "hard")}
        world.name = f"{name} {own or ''} {world.scales}"
        return world

    return made


def _lengths(rng: np.random.Generator, scales: Scales) -> LegWorld:
    a, b = rng.uniform(1.0, 6.0, size=2).tolist()
    return RandomLength("", scales, lengths=(a, b))


def _jumps(rng: np.random.Generator, scales: Scales) -> LegWorld:
    share, jump = float(rng.uniform(0.05, 0.2)), float(rng.uniform(1.0, 3.0))
    return Jumps("", scales, True, share=share, jump=jump)


LEGS: tuple[Maker, ...] = (
    _leg("log-normal", lambda _, scales: LogNormal("", scales)),
    _leg("random length", _lengths),
    _leg("sharpened", lambda rng, scales: Sharpened("", scales, r=float(rng.uniform(1, 9)))),
    _leg("partly fresh", lambda rng, s: PartlyFresh("", s, fresh=float(rng.uniform(0.05, 0.4)))),
)
"""Staleness, lengths, temperature."""
HARD_LEGS: dict[str, Maker] = {"jump legs": _leg("jumps", _jumps)}
"""Rows of their own, by name."""
