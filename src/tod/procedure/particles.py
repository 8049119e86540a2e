"""Weights of particles: increments, resampling where they are uneven, the normaliser."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Groups
from tod.diagnostics import ess_rel
from tod.operators import Resampling, stratified_ancestors, systematic_ancestors

__all__ = ["ParticleWeights"]


Rows = Float[np.ndarray, "C K"]

_RULES: dict[str, Callable[..., Int[np.ndarray, "C K"]]] = {
    "systematic": systematic_ancestors,
    "stratified": stratified_ancestors,
}


@dataclass(frozen=True)
class ParticleWeights:
    """Weights of K particles for each of C prompts since they were last resampled.

    Attributes:
        log_w: ω, [C, K], nats: Σ of the increments since the last resampling; −∞ is weight 0.
        log_z: Σ over the closed segments of LSE(ω) − log K, [C], nats.
        resampled: How often each prompt was resampled, [C].
    """

    log_w: Rows
    log_z: Float[np.ndarray, " C"]
    resampled: Int[np.ndarray, " C"]

    @classmethod
    def start(cls, contexts: int, size: int) -> "ParticleWeights":
        """Equal weights of ``size`` particles for each of ``contexts`` prompts."""
        zero = np.zeros(contexts)
        return cls(np.zeros((contexts, size)), zero, zero.astype(np.int64))

    def add(self, increment: Rows) -> "ParticleWeights":
        """The weights after a step's increments, [C, K], nats."""
        return replace(self, log_w=self.log_w + increment)

    @property
    def ess_rel(self) -> Float[np.ndarray, " C"]:
        """(Σw)²/(K·Σw²) of every prompt, in [1/K, 1]; NaN where every weight is 0."""
        contexts = Groups.equal(*self.log_w.shape)
        return np.asarray(ess_rel(self.log_w.ravel(), contexts))

    @property
    def log_normaliser(self) -> Float[np.ndarray, " C"]:
        """Log Ẑ = Σ_segments (LSE(ω) − log K), [C], nats; −∞ where every weight is 0.

        E[Ẑ] = Z = E_{p₀}[exp(ηU)] at any K and any threshold. log Ẑ itself is biased downwards.

        Source: docs/equations.md A.21; Del Moral 2004, 7.4.2 (equation smc-normaliser)
        """
        total = Groups.equal(*self.log_w.shape).logsumexp(self.log_w.ravel())
        return np.asarray(self.log_z + total - np.log(self.log_w.shape[1]))

    def due(self, below: float) -> Bool[np.ndarray, " C"]:
        """Whether a prompt is to be resampled, [C]: ESS < κK, and some weight is positive.

        Source: docs/equations.md A.21; Liu and Chen 1995 (equation smc-threshold)
        """
        return np.asarray(np.nan_to_num(self.ess_rel, nan=1.0) < below)

    def resample(
        self, below: float, uniforms: Rows, resampling: Resampling
    ) -> tuple["ParticleWeights", Int[np.ndarray, "C K"]]:
        """Close the segment of prompts that are due; the weights, and everyone's ancestors [C, K].

        A prompt that is not due keeps its particles and its weights. A resampled one has equal
        weights, and the segment's LSE(ω) − log K is added to log Ẑ.

        Args:
            below: κ in [0, 1]: resample where ESS_rel is below it; 0 never does.
            uniforms: Numbers in [0, 1), [C, K]; systematic resampling reads the first of a prompt.
            resampling: How points are laid.
        """
        due = self.due(below)
        ancestors = np.tile(np.arange(self.log_w.shape[1]), (len(due), 1))
        if not due.any():
            return self, ancestors
        inside = self.log_w[due]
        weights = np.exp(inside - inside.max(axis=1, keepdims=True))
        ancestors[due] = _RULES[resampling](weights, uniforms[due])
        return (
            ParticleWeights(
                np.where(due[:, None], 0.0, self.log_w),
                np.where(due, self.log_normaliser, self.log_z),
                self.resampled + due,
            ),
            ancestors,
        )
