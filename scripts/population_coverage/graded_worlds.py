"""Worlds of graded rewards: scales that differ between prompts, bounded to heavy tails."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import hyp1f1

from population_coverage.world import Population, Sample, World
from tod.base import Groups

__all__ = ["HARD", "HEAVY", "LIGHT", "Maker"]

Maker = Callable[[np.random.Generator], World]
"""Makes a world with parameters of its own."""
SMALL_POPULATION = 20_000
"""Prompts of a truth that is summed over every prompt's answers: a standard error of .0035."""


class Law(ABC):
    """A law of mean 0 and variance 1 with its cumulant function."""

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, size: tuple[int, ...]
    ) -> Float[np.ndarray, "prompts k"]:
        """Independent values."""

    @abstractmethod
    def kappa(self, t: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """κ(t) = ln E exp(tX), ∞ where it is; t ≥ 0."""

    def log_ess(self, h: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Logarithm of ESS_rel of weights exp(hX): 2κ(h) − κ(2h)."""
        twice = self.kappa(2 * h)
        with np.errstate(invalid="ignore"):
            return np.where(np.isinf(twice), -np.inf, 2 * self.kappa(h) - twice)


@dataclass(frozen=True)
class Gauss(Law):
    """The normal."""

    def draw(self, rng, size):
        return rng.normal(size=size)

    def kappa(self, t):
        return t * t / 2


@dataclass(frozen=True)
class UniformSum(Law):
    """Sum of so many uniforms: 1 the uniform, 2 the triangle."""

    number: int

    def draw(self, rng, size):
        return rng.uniform(-1, 1, size=(self.number, *size)).sum(0) * math.sqrt(3 / self.number)

    def kappa(self, t):
        x = np.maximum(np.sqrt(3 / self.number) * t, 1e-6)
        return self.number * (x + np.log(-np.expm1(-2 * x) / (2 * x)))


@dataclass(frozen=True)
class Beta(Law):
    """A beta law: bounded, skewed to either side, or two-humped for a, b < 1."""

    a: float
    b: float

    @property
    def sd(self):
        n = self.a + self.b
        return math.sqrt(self.a * self.b / (n + 1)) / n

    def draw(self, rng, size):
        return (rng.beta(self.a, self.b, size=size) - self.a / (self.a + self.b)) / self.sd

    def kappa(self, t):
        x = t / self.sd
        # from its upper end, where the weights are: 1F1 of a negative argument stays in [0, 1]
        return np.log(hyp1f1(self.b, self.a + self.b, -x)) + x - x * self.a / (self.a + self.b)


@dataclass(frozen=True)
class Gamma(Law):
    """A shifted gamma of skewness sign·2/√r."""

    r: float
    sign: int

    def draw(self, rng, size):
        return self.sign * (rng.gamma(self.r, size=size) - self.r) / math.sqrt(self.r)

    def kappa(self, t):
        x = self.sign * t / math.sqrt(self.r)
        inside = np.minimum(x, 0.999999)
        return np.where(x >= 1, np.inf, -self.r * (np.log1p(-inside) + x))


@dataclass(frozen=True)
class NormalMixture(Law):
    """A mixture of normals, centred and scaled."""

    share: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @property
    def standard(self):
        p, m, s = (np.array(x) for x in (self.share, self.mean, self.sd))
        centred = m - p @ m
        size = math.sqrt(p @ (centred**2 + s**2))
        return p, centred / size, s / size

    def draw(self, rng, size):
        p, m, s = self.standard
        at = rng.choice(len(p), size=size, p=p)
        return m[at] + s[at] * rng.normal(size=size)

    def kappa(self, t):
        p, m, s = self.standard
        return np.logaddexp.reduce(np.log(p) + np.outer(t, m) + np.outer(t**2, s**2) / 2, axis=1)


@dataclass(frozen=True)
class Laplace(Law):
    """Two exponentials."""

    def draw(self, rng, size):
        return rng.laplace(size=size) / math.sqrt(2)

    def kappa(self, t):
        x = t * t / 2
        return np.where(x >= 1, np.inf, -np.log1p(-np.minimum(x, 0.999999)))


@dataclass(frozen=True)
class Logistic(Law):
    """The logistic law, of excess kurtosis 1.2."""

    def draw(self, rng, size):
        return rng.logistic(size=size) * math.sqrt(3) / math.pi

    def kappa(self, t):
        x = np.sqrt(3) * t
        inside = np.clip(x, 1e-9, math.pi - 1e-9)
        return np.where(x >= math.pi, np.inf, np.log(inside / np.sin(inside)))


@dataclass(frozen=True)
class NoMoments(Law):
    """Student's t with 3 degrees, or sinh of a normal: E exp(tX) = ∞ for every t > 0."""

    student: bool

    def draw(self, rng, size):
        if self.student:
            return rng.standard_t(3, size=size) / math.sqrt(3)
        return np.sinh(0.9 * rng.normal(size=size)) / math.sqrt((math.exp(2 * 0.9**2) - 1) / 2)

    def kappa(self, t):
        return np.where(t > 0, np.inf, 0.0)


@dataclass(frozen=True)
class Scales:
    """ln h over prompts: two normals of one width, apart by a gap; one where the gap is 0."""

    middle: float
    width: float
    gap: float = 0.0

    @classmethod
    def random(
        cls, rng: np.random.Generator, *, width: tuple[float, float] = (0.1, 0.8)
    ) -> "Scales":
        """A median of h from .2 to 2; every third law is wider by two humps that overlap."""
        middle = math.exp(rng.uniform(math.log(0.2), math.log(2)))
        one = float(rng.uniform(*width))
        gap = float(rng.uniform(1.0, 2.5)) if rng.random() < 1 / 3 else 0.0
        return cls(middle, one / (1 + gap / 2), one * gap / (1 + gap / 2))

    def draw(self, rng: np.random.Generator, prompts: int) -> Float[np.ndarray, " prompts"]:
        """H of prompts, at most 6."""
        hump = rng.integers(0, 2, size=prompts) - 0.5
        log_h = self.width * rng.normal(size=prompts) + self.gap * hump
        return np.minimum(self.middle * np.exp(log_h), 6.0)

    def __str__(self) -> str:
        """Its parameters."""
        return f"h={self.middle:.3f} width={self.width:.2f} gap={self.gap:.2f}"


@dataclass
class GradedWorld(World):
    """Rewards h_c·X, one law of X or several in equal shares of prompts; η = 1.

    Attributes:
        laws: Laws of X.
        scales: Law of h over prompts.
    """

    name: str
    family: str
    laws: tuple[Law, ...]
    scales: Scales
    hard: bool = False
    same_at_any_k = True

    def draw(self, rng, prompts, k):
        """K rollouts of each of so many new prompts."""
        h, which = self.scales.draw(rng, prompts), rng.integers(len(self.laws), size=prompts)
        u = np.empty((prompts, k))
        for i, law in enumerate(self.laws):
            at = which == i
            u[at] = law.draw(rng, (int(at.sum()), k))
        return Sample((h[:, None] * u).ravel(), 1.0, None, Groups.equal(prompts, k))

    def population(self, rng, prompts, k):  # noqa: ARG002 - the same at any K
        """ESS of so many new prompts, from the cumulant functions."""
        h, which = self.scales.draw(rng, prompts), rng.integers(len(self.laws), size=prompts)
        ess = np.empty(prompts)
        for i, law in enumerate(self.laws):
            ess[which == i] = np.exp(law.log_ess(h[which == i]))
        return Population(ess, np.ones(prompts))


@dataclass
class AnswerWorld(World):
    """Every prompt has its own few hundred answers, equally likely, with rewards from one law.

    The shape differs between prompts by chance, and the tail is the largest answer's.

    Attributes:
        law: Law that the answers' rewards come from.
        scales: Law of h over prompts.
        answers: Answers of a prompt.
    """

    name: str
    family: str
    law: Law
    scales: Scales
    answers: int = 250
    hard: bool = False
    same_at_any_k = True

    def rewards(self, rng: np.random.Generator, prompts: int) -> Float[np.ndarray, "prompts n"]:
        """Rewards of all answers of new prompts."""
        return self.scales.draw(rng, prompts)[:, None] * self.law.draw(rng, (prompts, self.answers))

    def draw(self, rng, prompts, k):
        """K rollouts of each of so many new prompts."""
        at = rng.integers(self.answers, size=(prompts, k))
        u = np.take_along_axis(self.rewards(rng, prompts), at, axis=1)
        return Sample(u.ravel(), 1.0, None, Groups.equal(prompts, k))

    def population(self, rng, prompts, k):  # noqa: ARG002 - the same at any K
        """ESS of new prompts, summed over their answers."""
        ess = []
        for _ in range(0, min(prompts, SMALL_POPULATION), 2000):
            u = self.rewards(rng, 2000)
            w = np.exp(u - u.max(axis=1, keepdims=True))
            ess.append(w.sum(1) ** 2 / (w * w).sum(1) / self.answers)
        whole = np.concatenate(ess)
        return Population(whole, np.ones(len(whole)))


@dataclass
class SpikeWorld(World):
    """A share of a prompt's rollouts gets nothing, the others a graded reward h_c·B(a, b).

    Attributes:
        zero: Chance of nothing.
        beta: a and b.
        scales: Law of h over prompts, of the largest reward.
    """

    name: str
    family: str
    zero: float
    beta: Beta
    scales: Scales
    hard: bool = True

    def draw(self, rng, prompts, k):
        """K rollouts of each of so many new prompts."""
        h = self.scales.draw(rng, prompts)[:, None]
        u = (
            h
            * rng.beta(self.beta.a, self.beta.b, (prompts, k))
            * (rng.random((prompts, k)) > self.zero)
        )
        return Sample(u.ravel(), 1.0, None, Groups.equal(prompts, k))

    def population(self, rng, prompts, k):
        """ESS of new prompts, from the MGF of the beta."""
        h = self.scales.draw(rng, prompts)
        a, b = self.beta.a, self.beta.b
        once, twice = (self.zero + (1 - self.zero) * hyp1f1(a, a + b, t) for t in (h, 2 * h))
        return Population(once**2 / twice, np.full(prompts, 1 - self.zero**k))


@dataclass
class OffAnchorWorld(World):
    """0/1 rewards on rollouts whose proposal is not the anchor: log b − log μ ~ N(−s²/2, s²).

    Independent of the reward, so that ESS_rel is the product of the two.

    Attributes:
        beta: Of the pass rate.
        eta: Sharpness.
        scales: Law of s over prompts.
    """

    name: str
    family: str
    beta: tuple[float, float]
    eta: float
    scales: Scales
    hard: bool = True

    def draw(self, rng, prompts, k):
        """K rollouts of each of so many new prompts."""
        p, s = rng.beta(*self.beta, size=(prompts, 1)), self.scales.draw(rng, prompts)[:, None]
        u = (rng.random((prompts, k)) < p).astype(np.float64)
        log_base = s * rng.normal(size=(prompts, k)) - s * s / 2
        return Sample(u.ravel(), self.eta, log_base.ravel(), Groups.equal(prompts, k))

    def population(self, rng, prompts, k):
        """ESS of new prompts."""
        p, s = rng.beta(*self.beta, size=prompts), self.scales.draw(rng, prompts)
        coin = (1 + p * math.expm1(self.eta)) ** 2 / (1 + p * math.expm1(2 * self.eta))
        return Population(coin * np.exp(-s * s), 1 - p**k - (1 - p) ** k)


def _law(family: str, name: str, law: Callable[[np.random.Generator], Law]) -> Maker:
    """Worlds of one shape with random parameters and random scales."""

    def make(rng: np.random.Generator) -> World:
        one, scales = law(rng), Scales.random(rng)
        return GradedWorld(f"{name} {one} {scales}", family, (one,), scales)

    return make


def _answers(name: str, law: Law) -> Maker:
    """Worlds of a few hundred answers a prompt."""

    def make(rng: np.random.Generator) -> World:
        scales = Scales.random(rng)
        number = int(rng.choice([60, 250, 1000]))
        return AnswerWorld(
            f"{number} answers, {name} {scales}", "graded heavy", law, scales, number
        )

    return make


def _two_humps(rng: np.random.Generator) -> Law:
    share, apart = float(rng.uniform(0.3, 0.7)), float(rng.uniform(1.0, 4.0))
    return NormalMixture((share, 1 - share), (0.0, apart), (1.0, float(rng.uniform(0.6, 1.4))))


def _hard_opposite(rng: np.random.Generator) -> World:
    r, scales = float(rng.uniform(2, 8)), Scales.random(rng)
    laws = (Gamma(r, 1), Gamma(r, -1))
    return GradedWorld(f"opposite skews r={r:.2f} {scales}", "graded light", laws, scales, True)


def _hard_homogeneous(rng: np.random.Generator) -> World:
    scales = Scales(math.exp(rng.uniform(math.log(0.2), math.log(2))), 0.0)
    law: Law = [Gauss(), UniformSum(1), Gamma(4.0, -1)][int(rng.integers(3))]
    return GradedWorld(f"homogeneous {law} {scales}", "graded light", (law,), scales, True)


def _hard_two_scales(rng: np.random.Generator) -> World:
    middle, gap = math.exp(rng.uniform(math.log(0.2), math.log(2))), float(rng.uniform(0.7, 1.4))
    scales = Scales(middle, 0.1, gap)
    law: Law = [Gauss(), UniformSum(1), Gamma(4.0, -1)][int(rng.integers(3))]
    return GradedWorld(f"two scales {law} {scales}", "graded light", (law,), scales, True)


def _hard_spike(rng: np.random.Generator) -> World:
    zero, beta = float(rng.uniform(0.2, 0.8)), Beta(*rng.uniform(0.6, 4.0, size=2).tolist())
    scales = Scales(math.exp(rng.uniform(math.log(0.5), math.log(5))), float(rng.uniform(0.1, 0.5)))
    return SpikeWorld(
        f"spike at 0 of {zero:.2f} {beta} {scales}", "graded light", zero, beta, scales
    )


def _hard_no_moments(rng: np.random.Generator) -> World:
    law, scales = NoMoments(bool(rng.integers(2))), Scales.random(rng)
    return GradedWorld(f"no E w² {law} {scales}", "graded heavy", (law,), scales, True)


def _hard_off_anchor(rng: np.random.Generator) -> World:
    beta = tuple(rng.uniform(0.4, 3.0, size=2).tolist())
    eta, scales = float(rng.uniform(0.5, 4.0)), Scales.random(rng)
    name = f"b ≠ μ beta={beta[0]:.2f},{beta[1]:.2f} eta={eta:.2f} {scales}"
    return OffAnchorWorld(name, "graded light", beta, eta, scales)


LIGHT: tuple[Maker, ...] = (
    _law("graded light", "gauss", lambda _: Gauss()),
    _law("graded light", "uniforms", lambda rng: UniformSum(int(rng.integers(1, 3)))),
    _law("graded light", "beta", lambda rng: Beta(*rng.uniform(0.5, 6.0, size=2).tolist())),
    _law("graded light", "left gamma", lambda rng: Gamma(float(rng.uniform(1.5, 9)), -1)),
    _law("graded light", "two humps", _two_humps),
)
"""Light right tails: bounded or normal."""
HEAVY: tuple[Maker, ...] = (
    _law("graded heavy", "laplace", lambda _: Laplace()),
    _law("graded heavy", "logistic", lambda _: Logistic()),
    _law("graded heavy", "right gamma", lambda rng: Gamma(float(rng.uniform(1.5, 9)), 1)),
    _law(
        "graded heavy",
        "wide and narrow",
        lambda rng: NormalMixture((0.8, 0.2), (0.0, 0.0), (1.0, float(rng.uniform(1.5, 3)))),
    ),
    _answers("normal", Gauss()),
    _answers("laplace", Laplace()),
    _answers("student", NoMoments(True)),
    _answers("sinh", NoMoments(False)),
)
"""Right tails heavier than the normal's."""
HARD: dict[str, Maker] = {
    "opposite skews": _hard_opposite,
    "homogeneous prompts": _hard_homogeneous,
    "two scales": _hard_two_scales,
    "point masses": _hard_spike,
    "b ≠ μ": _hard_off_anchor,
    "no E w²": _hard_no_moments,
}
"""Where a law of scales times one shape is wrong, by the name of the row."""
