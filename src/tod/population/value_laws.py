"""Two laws of the chances of a few rewards over prompts: Dirichlet, and tilts of one base.

Both divide out groups without a signal, whose prompts may be any share of the population. A
Dirichlet law lets the chance of every reward vary on its own; in the other, prompts differ by how
hard they are alone, as where a reward is the share of tests passed.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

from tod.population.laplace import LaplaceFit, laplace_fit

__all__ = ["Compositions", "DirichletLaw", "TiltLaw", "ValueLaw"]

ALPHA_PRIOR = (np.log(0.5), 1.5)
"""Mean and sd of ln α_l: nothing else bounds α_l below where no group with a signal holds l."""
BASE_PRIOR, SPREAD_PRIOR = (0.0, 3.0), (np.log(3.0), 1.0)
"""Mean and sd of the log of a base's chances, and of ln s."""
NODES = np.linspace(-4.0, 4.0, 161)
"""θ/s: steps of s/20."""
NODE_MASS = np.exp(-(NODES**2) / 2) / np.exp(-(NODES**2) / 2).sum()


class Compositions(NamedTuple):
    """Groups with a signal, by how many rollouts had each of the values that occur in them.

    Attributes:
        values: Rewards, ascending, [L].
        rows: Rollouts at every value, [D, L].
        groups: Groups with each composition, [D].
    """

    values: Float[np.ndarray, " L"]
    rows: Int[np.ndarray, "D L"]
    groups: Int[np.ndarray, " D"]

    def by_size(self) -> list[tuple[int, int]]:
        """Every K, and how many groups have it."""
        sizes = self.rows.sum(axis=1)
        return [(int(k), int(self.groups[sizes == k].sum())) for k in np.unique(sizes)]

    def shares(self) -> Float[np.ndarray, " L"]:
        """Mean share of every value over groups, with one rollout more of each: none is 0."""
        more = self.rows + 1.0
        mean = self.groups @ (more / more.sum(axis=1, keepdims=True)) / self.groups.sum()
        return np.asarray(mean)


EssAt = Callable[[float], Float[np.ndarray, "R C"]]
"""E of the drawn prompts at a sharpness, a population a row."""


def weights_of(values: Float[np.ndarray, " L"], eta: float) -> Float[np.ndarray, " L"]:
    """exp(ηU), the largest 1."""
    return np.exp(eta * (values - values[-1 if eta > 0 else 0]))  # type: ignore[no-any-return]


class ValueLaw(Protocol):
    """A law of the chances over prompts, fitted."""

    def __init__(self, seen: Compositions) -> None:
        """Fit it."""

    fit: LaplaceFit

    def drawn(self, rng: np.random.Generator, rows: Int[np.ndarray, "C L"], draws: int) -> EssAt:
        """Draws of law and chances of the prompts of some groups, given what these show."""


class DirichletLaw:
    """π ~ Dirichlet(α); a group's prompt has Dirichlet(α + n).

    Its log-likelihood, up to a constant, with A = Σα and S_K = 1 − Σ_l Π_{i<K} (α_l+i)/(A+i):
    Σ_groups [Σ_l Σ_{i<n_l} ln(α_l+i) − Σ_{i<K} ln(A+i) − ln S_K].
    """

    def __init__(self, seen: Compositions) -> None:
        """Fit ln α."""
        self.seen, self.sizes = seen, seen.by_size()
        most = np.arange(int(seen.rows.max()))
        above = seen.rows[:, :, None] > most
        self.above = np.einsum("d,dli->li", seen.groups, above).astype(np.float64)
        mean, sd = (np.full(seen.values.size, x) for x in ALPHA_PRIOR)
        start = np.log(2 * seen.shares())
        self.fit = laplace_fit(self.log_likelihood, start, mean, sd)

    def log_likelihood(
        self, log_alpha: Float[np.ndarray, " L"]
    ) -> tuple[float, Float[np.ndarray, " L"]]:
        """Value and gradient in ln α."""
        alpha = np.exp(np.clip(log_alpha, -20, 20))
        rising = alpha[:, None] + np.arange(self.above.shape[1])
        value = float((self.above * np.log(rising)).sum())
        gradient = (self.above / rising).sum(axis=1)
        for k, groups in self.sizes:
            i = np.arange(k)
            whole, each = alpha.sum() + i, alpha[:, None] + i
            same = np.exp(np.log(each).sum(axis=1) - np.log(whole).sum())
            signal, slope = 1 - same.sum(), (1 / whole).sum()
            value -= groups * float(np.log(whole).sum() + np.log(signal))
            change = same.sum() * slope - same * (1 / each).sum(axis=1)
            gradient -= groups * (slope + change / signal)
        return value, np.asarray(gradient * alpha)

    def drawn(self, rng: np.random.Generator, rows: Int[np.ndarray, "C L"], draws: int) -> EssAt:
        """See `ValueLaw.drawn`."""
        alpha = np.exp(self.fit.draws(rng, draws))
        share = rng.standard_gamma(alpha[:, None, :] + rows)
        total = share.sum(axis=2)

        def at(eta: float) -> Float[np.ndarray, "R C"]:
            weight = weights_of(self.seen.values, eta)
            return np.asarray((share @ weight) ** 2 / ((share @ weight**2) * total))

        return at


class TiltLaw:
    """π_l ∝ exp(β_l + θx_l) with θ ~ N(0, s²) over prompts, x the rewards scaled to [0, 1].

    Its log-likelihood: Σ_groups [ln E_θ Π_l π_l^{n_l} − ln E_θ(1 − Σ_l π_lᴷ)], summed over θ/s on
    a grid.
    """

    def __init__(self, seen: Compositions) -> None:
        """Fit β and ln s."""
        self.seen, self.sizes = seen, seen.by_size()
        values = seen.values
        self.x = (values - values[0]) / (values[-1] - values[0])
        priors = [BASE_PRIOR] * values.size + [SPREAD_PRIOR]
        base = np.log(seen.shares())
        start = np.append(base - base.mean(), SPREAD_PRIOR[0])
        mean, sd = np.array(priors, dtype=np.float64).T
        self.fit = laplace_fit(self.log_likelihood, start, mean, sd)

    def log_chances(self, law: Float[np.ndarray, " d"]) -> Float[np.ndarray, "G L"]:
        """Log π on the grid."""
        log = law[:-1] + np.exp(min(law[-1], 5.0)) * np.outer(NODES, self.x)
        top = log.max(axis=1, keepdims=True)
        return log - top - np.log(np.exp(log - top).sum(axis=1, keepdims=True))  # type: ignore[no-any-return]

    def log_likelihood(self, law: Float[np.ndarray, " d"]) -> tuple[float, Float[np.ndarray, " d"]]:
        """Value and gradient in β and ln s."""
        log = self.log_chances(law)
        chance, tilt = np.exp(log), np.exp(min(law[-1], 5.0)) * NODES
        joint = self.seen.rows @ log.T + np.log(NODE_MASS)
        top = joint.max(axis=1, keepdims=True)
        post = np.exp(joint - top)
        total = post.sum(axis=1, keepdims=True)
        value = float(self.seen.groups @ (top + np.log(total))[:, 0])
        post *= self.seen.groups[:, None] / total
        size = self.seen.rows.sum(axis=1)
        toward = self.seen.groups @ self.seen.rows - (size @ post) @ chance
        centre = chance @ self.x
        spread = float(((post.T @ (self.seen.rows @ self.x)) - (size @ post) * centre) @ tilt)
        for k, groups in self.sizes:
            same = np.exp(k * log)
            signal = float(NODE_MASS @ (1 - same.sum(axis=1)))
            value -= groups * float(np.log(signal))
            pull = same - chance * same.sum(axis=1, keepdims=True)
            toward = toward + groups * k / signal * (NODE_MASS @ pull)
            spread += groups * k / signal * float((NODE_MASS * tilt) @ (pull @ self.x))
        return value, np.append(toward, spread)

    def drawn(self, rng: np.random.Generator, rows: Int[np.ndarray, "C L"], draws: int) -> EssAt:
        """See `ValueLaw.drawn`."""
        chances = np.empty((draws, NODES.size, self.seen.values.size))
        nodes = np.empty((draws, len(rows)), dtype=np.int64)
        different, which = np.unique(rows, axis=0, return_inverse=True)
        for number, law in enumerate(self.fit.draws(rng, draws)):
            log = self.log_chances(law)
            chances[number] = np.exp(log)
            joint = different @ log.T + np.log(NODE_MASS)
            below = np.cumsum(np.exp(joint - joint.max(axis=1, keepdims=True)), axis=1)
            below /= below[:, -1:]
            uniform = rng.random(len(rows))
            # one sorted table for all: composition d holds the numbers from d to d + 1
            table = (below + np.arange(len(different))[:, None]).ravel()
            place = np.searchsorted(table, uniform + which.ravel()) - which.ravel() * NODES.size
            nodes[number] = np.clip(place, 0, NODES.size - 1)

        def at(eta: float) -> Float[np.ndarray, "R C"]:
            weight = weights_of(self.seen.values, eta)
            ess = (chances @ weight) ** 2 / (chances @ weight**2)
            return np.take_along_axis(ess, nodes, axis=1)

        return at
