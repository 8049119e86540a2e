"""Sequential Monte Carlo over unfinished answers: weights of prefixes, resampling between them.

K particles of one prompt are K unfinished answers. The intermediate target after t tokens is
γ_t ∝ p₀(y_1:t)·ψ_t(y_1:t), with ψ_0 = 1 and, at the end, ψ_T = exp(ηU). A twist ψ_t says how much
of the target an unfinished answer promises; whatever positive ψ_t stand before the end, Ẑ is
unbiased and the law of the answer tends to q* as K grows. Functions are of the particles of one
prompt or of many, in nats and float64. Randomness comes in as uniforms in [0, 1).
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, FiniteFloat

from tod.base import Array, DataError, Named, Spec
from tod.operators.selection import Selection, SelectionPool, SelectionRule, resampled

__all__ = [
    "ModelTwist",
    "NoTwist",
    "Resampling",
    "SequentialMonteCarlo",
    "UtilityTwist",
    "incremental_log_weight",
    "stratified_ancestors",
    "systematic_ancestors",
]

Rows = Float[np.ndarray, "C K"]
Resampling = Literal["systematic", "stratified"]
"""``systematic``: one uniform for all K strata. ``stratified``: one uniform a stratum."""


def incremental_log_weight(
    log_p: Rows, log_q: Rows, log_twist: Rows, log_twist_before: Rows
) -> Rows:
    """What some new tokens add to a particle's log-weight: log p₀ − log q + log ψ_t − log ψ_s.

    Tokens s+1 … t are one step: log-probabilities are their sums. A particle that has ended draws
    nothing: its log p₀ and log q are 0 and its ψ no longer changes. A twist of 0 (−∞) is a weight
    of 0; what was 0 before is 0 for ever, and not the difference of two −∞.

    Source: docs/equations.md A.21; 2306.03081, 2404.17546 (equation smc-increment)

    Args:
        log_p: log p₀ of the new tokens, [C, K], nats.
        log_q: log q of them as they were drawn, [C, K], nats, finite.
        log_twist: log ψ_t after them, [C, K], nats, < +∞.
        log_twist_before: log ψ_s before them, [C, K], nats, < +∞.

    Raises:
        DataError: A twist is +∞ or NaN.
    """
    for twist in (log_twist, log_twist_before):
        if np.isnan(twist).any() or np.isposinf(twist).any():
            raise DataError(
                "a twist is +inf or not a number: log psi of an unfinished answer must be a "
                "number, or -inf where nothing that begins so can be in the target."
            )
    dead = np.isneginf(log_twist) | np.isneginf(log_twist_before)
    change = np.where(dead, 0.0, log_twist) - np.where(dead, 0.0, log_twist_before)
    return np.where(dead, -np.inf, log_p - log_q + change)


def systematic_ancestors(
    weights: Rows, uniforms: Float[np.ndarray, "C K"]
) -> Int[np.ndarray, "C K"]:
    """Ancestors by K points (k + u)/K with the first uniform of every prompt, [C, K], ascending.

    A particle of normalised weight w̄ has ⌊Kw̄⌋ or ⌈Kw̄⌉ children, K·w̄ in expectation; one of weight
    0 has none.

    Source: docs/equations.md A.21; Kitagawa 1996; 2306.03081 (equation systematic-resampling)

    Raises:
        DataError: No particle of a prompt has positive weight.
    """
    return _ancestors(weights, np.broadcast_to(uniforms[:, :1], uniforms.shape))


def stratified_ancestors(
    weights: Rows, uniforms: Float[np.ndarray, "C K"]
) -> Int[np.ndarray, "C K"]:
    """Ancestors by K points (k + u_k)/K with a uniform each, [C, K], ascending.

    A particle of normalised weight w̄ has K·w̄ children in expectation, and fewer than two more or
    fewer; one of weight 0 has none.

    Source: docs/equations.md A.21; Kitagawa 1996; 2306.03081 (equation stratified-resampling)

    Raises:
        DataError: No particle of a prompt has positive weight.
    """
    return _ancestors(weights, uniforms)


def _ancestors(weights: Rows, uniforms: Rows) -> Int[np.ndarray, "C K"]:
    """The particle whose stretch of the cumulative weights holds each point."""
    total = weights.sum(axis=1)
    if not (total > 0).all():
        raise DataError(
            f"no particle of prompt {int(np.argmin(total > 0))} has positive weight: there is "
            "nothing to resample. Draw more particles, or use a twist that is positive."
        )
    size = weights.shape[1]
    cumulative = np.cumsum(weights, axis=1)
    points = (np.arange(size) + uniforms) / size * cumulative[:, -1:]
    last = size - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)  # rounding may not reach beyond it
    places = (cumulative[:, None, :] <= points[:, :, None]).sum(axis=-1)
    return np.asarray(np.minimum(places, last[:, None]))


class NoTwist(Spec):
    """ψ_t = 1 until the end: nothing is resampled, and it is `resample` of whole answers."""

    kind: Literal["none"] = "none"


class UtilityTwist(Spec):
    """ψ_t = exp(η·V) with V a reward of the recipe, asked of the text so far."""

    kind: Literal["utility"] = "utility"
    utility: str
    """Name of a reward under `utilities`; it must have a value for an unfinished answer."""
    eta: FiniteFloat = 1.0
    """Nats per unit of V."""


class ModelTwist(Spec):
    """ψ_t = (π_guide/μ)^η of the tokens so far.

    At η = 1 it is the best twist of a target that is the guide, and E_μ[ψ_t] = 1 at every t.
    """

    kind: Literal["model"] = "model"
    guide: Literal["ref", "teacher"] = "teacher"
    """Which model of the recipe guides."""
    eta: Annotated[FiniteFloat, Field(gt=0.0)] = 1.0
    """Exponent of the ratio."""


Twist = Annotated[NoTwist | UtilityTwist | ModelTwist, Field(discriminator="kind"), Named]


class SequentialMonteCarlo(SelectionRule):
    """Draw all answers together, resample unfinished ones by their promise, put one out by weight.

    Every N tokens the K answers of a prompt are weighed by ψ; where their ESS is below κK they are
    resampled. What is put out is drawn from w̄ of the last segment, of log w = log b + ηU − log μ
    with log μ the density after the last resampling, γ_s·μ(rest)/Ẑ_s: so that LSE(log w) − log K
    is log Ẑ. The intermediate targets stand on the sampler's own μ, which is p₀ at temperature 1.

    Source: docs/equations.md A.21; 2306.03081, 2404.17546
    """

    kind: Literal["smc"] = "smc"
    while_drawing: ClassVar[bool] = True
    resample_below: Annotated[FiniteFloat, Field(ge=0.0, le=1.0)] = 0.5
    """κ: resample a prompt where ESS_rel is below it. 0: never."""
    every: Annotated[int, Field(ge=1)] = 8
    """N: tokens between two weighings."""
    resampling: Resampling = "systematic"
    """How ancestors are drawn."""
    twist: Twist = NoTwist()
    """What an unfinished answer is weighed by."""

    @property
    def guide(self) -> str | None:
        """The model that the twist asks; None where it asks none."""
        return self.twist.guide if isinstance(self.twist, ModelTwist) else None

    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """One draw of every context by the weights of the last segment."""
        return resampled(self._weights(pool), pool.contexts, uniforms)

    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """The weights w̄ of the last segment."""
        return self._weights(pool)
