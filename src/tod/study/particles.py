"""Sequential Monte Carlo over an enumerated language: many groups of K particles at once."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tod.operators import ModelTwist, SequentialMonteCarlo, UtilityTwist, incremental_log_weight
from tod.procedure import ParticleWeights
from tod.study.language import Language
from tod.study.world import Law


@dataclass(frozen=True, eq=False)
class ParticleWorld:
    """What particles of a language are drawn from and weighed by.

    Attributes:
        language: The sequences.
        log_mu: log μ, [C, Y].
        log_guide: log-probs of the model that a twist may ask, [C, Y].
        u: Utility of whole sequences, [C, Y]; a twist that asks a reward is given its mean over
            what μ would go on with, E_μ[U | prefix].
    """

    language: Language
    log_mu: Law
    log_guide: Law
    u: Law

    def prefixes(self, t: int) -> Int[np.ndarray, " Y"]:
        """A number of the first ``t`` symbols of every sequence, equal for equal ones, [Y]."""
        sequences, states = self.language.sequences, self.language.states
        sizes, starts = sequences.sizes, sequences.offsets[:-1]
        longer = sizes > t
        at = states[np.where(longer, starts + t, starts)]
        found: Int[np.ndarray, " Y"] = np.where(
            longer, at, self.language.state_count + np.arange(len(sizes))
        )
        return found

    def alike(self, t: int) -> Float[np.ndarray, "Y Y"]:
        """1 where two sequences begin with the same ``t`` symbols."""
        number = self.prefixes(t)
        same: Float[np.ndarray, "Y Y"] = np.equal.outer(number, number).astype(np.float64)
        return same

    def log_twist(self, rule: SequentialMonteCarlo, t: int) -> Law:
        """Log ψ_t of the first ``t`` symbols of every sequence, [C, Y], nats."""
        alike, mu = self.alike(t), np.exp(self.log_mu)
        twist = rule.twist
        if isinstance(twist, ModelTwist):
            return np.asarray(
                twist.eta * (np.log(np.exp(self.log_guide) @ alike) - np.log(mu @ alike))
            )
        if isinstance(twist, UtilityTwist):
            return np.asarray(twist.eta * ((mu * self.u) @ alike / (mu @ alike)))
        return np.zeros_like(mu)

    def run(
        self, rule: SequentialMonteCarlo, groups: int, size: int, rng: np.random.Generator
    ) -> tuple[Int[np.ndarray, "C G K"], Float[np.ndarray, "C G K"], ParticleWeights]:
        """Groups of particles, weighed after every symbol whatever ``rule.every`` says.

        Returns:
            The sequences; log ψ_s of each at its last resampling, less log Ẑ_s; the weights up to
            the last twist.
        """
        count = len(self.log_mu)
        shape = (count, groups, size)
        mu = np.exp(self.log_mu)
        rows = np.stack([rng.choice(m.size, size=(groups, size), p=m / m.sum()) for m in mu])
        flat, none = (count * groups, size), np.zeros((count * groups, size))
        weights, before, gain = ParticleWeights.start(*flat), none, none
        for t in range(1, self.language.length):
            psi = self._of(self.log_twist(rule, t), rows).reshape(flat)
            weights, before = weights.add(incremental_log_weight(none, none, psi, before)), psi
            due = weights.due(rule.resample_below)
            weights, ancestors = weights.resample(
                rule.resample_below, rng.random(flat), rule.resampling
            )
            before = np.take_along_axis(before, ancestors, axis=1)
            gain = np.where(due[:, None], before - weights.log_z[:, None], gain)
            moved = np.take_along_axis(rows.reshape(flat), ancestors, axis=1).reshape(shape)
            again = self._continued(moved, t, rng)
            rows = np.where(due.reshape(count, groups, 1), again, moved)
        return rows, gain.reshape(shape), weights

    @staticmethod
    def _of(table: Law, rows: Int[np.ndarray, "C G K"]) -> Float[np.ndarray, "C G K"]:
        return np.asarray(table[np.arange(len(table))[:, None, None], rows])

    def _continued(
        self, rows: Int[np.ndarray, "C G K"], t: int, rng: np.random.Generator
    ) -> Int[np.ndarray, "C G K"]:
        """Other draws of μ that begin with the same ``t`` symbols."""
        alike, found = self.alike(t), []
        for mu, some in zip(np.exp(self.log_mu), rows, strict=True):
            table = np.cumsum(alike * mu, axis=1)
            u = rng.random(some.size) * table[some.ravel(), -1]
            place = (table[some.ravel()] <= u[:, None]).sum(axis=1)
            found.append(np.minimum(place, mu.size - 1).reshape(some.shape))
        return np.stack(found)
