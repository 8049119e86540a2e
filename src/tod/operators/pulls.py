"""Pulls: how an update is drawn to the target's anchors. The coefficients are the target's.

What the KL estimators truly do, on-policy and per state, with x = log π_anchor − log π_θ:

=========================== ==========================================================
k1 in the loss              no expected gradient at all: no pull
k2 in the loss              ∇KL(π_θ‖anchor)
k3 in the loss              ∇KL(anchor‖π_θ), the *forward* KL: q* becomes b/(1 − η(U − Ū))
k3 in the loss, importance  ρ·k3 with ρ differentiable: ∇KL(π_θ‖anchor)
k1 in the reward            ∇KL(π_θ‖anchor), frozen at the policy that opened the batch
k3 in the reward            ∇KL(π_θ‖anchor) − ∇KL(anchor‖π_θ): cancels near the anchor
residual at current         the shaped residual: zero at π_θ = q*, sample by sample
residual at old             the same frozen at π_old: its own weight there is a dead knob
=========================== ==========================================================

Per state: a term in the loss is credited to its own token, never to the tokens before it that led
there. Beyond one token no KL in the loss, not even k2 or k3 with importance, has the fixed point of
a pull between sequences: it has b·exp(ηE[U]) token by token in the place of b·exp(ηU). The residual
and a KL in the reward are of sequences.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import Field, model_validator

from tod.base import Array, Named, Spec, SpecError, namespace
from tod.operators.batch import Batch

__all__ = ["KLPull", "Residual", "estimator"]


class Residual(Spec):
    """R = Σ_k η_k U_k + log b − log π in the place of the utility, gradient stopped.

    Constant over the candidates exactly when π = q*. ``at: current`` evaluates π at the current
    parameters at every update of the batch; ``old`` freezes it at the batch's first use.

    Source: TOD framework, section 2.3; docs/equations.md A.19 (equation residual-pull)
    """

    kind: Literal["residual"] = "residual"
    at: Literal["current", "old"] = "current"
    """Where log π is taken."""

    def value(self, batch: Batch) -> Float[Array, " N"]:
        """R of every candidate, [N], nats."""
        log_base = batch.required(
            "log_base",
            "a residual pull needs the log-probs of every anchor of the target and they were not "
            "recorded. Score the anchors, or choose `pull: null`.",
        )
        return batch.tilt + log_base - batch.sequences.sum(self._log_pi(batch))  # type: ignore[no-any-return]

    def by_token(self, batch: Batch) -> Float[Array, " M"]:
        """The part of R that tokens share out, log b − log π, [M], nats."""
        log_base = batch.required(
            "log_base_tokens",
            "a residual token by token needs the token log-probs of every anchor of the target and "
            "they were not recorded. Score the anchors, or use an advantage by rollout.",
        )
        return log_base - self._log_pi(batch)  # type: ignore[no-any-return]

    def _log_pi(self, batch: Batch) -> Any:
        return batch.log_policy if self.at == "current" else batch.log_old


class KLPull(Spec):
    """The KL estimators k1, k2, k3 towards the target's anchors, in the loss or in the reward.

    Source: docs/equations.md A.19; Schulman 2020
    """

    kind: Literal["k1", "k2", "k3"]
    """Estimator of KL(π‖anchor): k1 = −x, k2 = x²/2, k3 = eˣ − 1 − x."""
    place: Literal["loss", "reward"] = "loss"
    """In the loss it is differentiated at every update; in the reward it is a number."""
    importance: bool = False
    """Multiply the loss term by ρ_t = π_θ/π_old, differentiable (DeepSeek-V3.2)."""

    @model_validator(mode="after")
    def _meaningful(self) -> "KLPull":
        if self.importance and self.place == "reward":
            raise ValueError("importance belongs to the loss: a reward has no gradient to weigh")
        return self

    def penalty(self, batch: Batch) -> Float[Array, " N"]:
        """Σ_t k(x_t) at π_old, weighted by the exponents, [N], nats; for ``place: reward``."""
        return batch.sequences.sum(self.by_token(batch))

    def by_token(self, batch: Batch) -> Float[Array, " M"]:
        """k(x_t) at π_old, weighted by the exponents, [M], nats."""
        return _summed(batch, batch.log_old, lambda x: estimator(self.kind, x))  # type: ignore[no-any-return]

    def credit(self, batch: Batch) -> Float[Array, " M"]:
        """−∂/∂log π_θ of the loss term per token, before aggregation, [M], nats."""
        return _summed(batch, batch.log_policy, lambda x: self._slope(x, batch))  # type: ignore[no-any-return]

    def _slope(self, x: Any, batch: Batch) -> Any:
        xp = namespace(x)
        plain = {"k1": -xp.ones_like(x), "k2": x, "k3": xp.expm1(x)}[self.kind]
        if not self.importance:
            return plain
        rho = xp.exp(batch.log_policy - batch.log_old)
        return rho * (plain - estimator(self.kind, x))


Pull = Annotated[Residual | KLPull, Field(discriminator="kind"), Named]
"""How the target's anchors enter an update: a residual, or a KL estimator by its name."""


def estimator(kind: Literal["k1", "k2", "k3"], x: Float[Array, " M"]) -> Float[Array, " M"]:
    """An estimate of KL(π‖anchor) per token: k1 = −x, k2 = x²/2 or k3 = eˣ − 1 − x, [M], nats.

    Source: docs/equations.md A.19; Schulman 2020 (equations kl-k1, kl-k2, kl-k3)

    Args:
        kind: Which of the three.
        x: log anchor − log π, [M], nats.
    """
    if kind == "k1":
        return -x  # type: ignore[no-any-return]
    return x * x / 2 if kind == "k2" else namespace(x).expm1(x) - x  # type: ignore[no-any-return]


def _summed(batch: Batch, log_pi: Any, term: Callable[[Any], Any]) -> Any:
    """Σ_j ρ_j·term(log π_j − log π) over the anchors that pull, [M], nats."""
    if not batch.pulled:
        raise SpecError(
            "a KL pull needs the token log-probs of an anchor other than `old` and `mu`, and the "
            "target has none recorded. Anchor the target at `ref` (or drop the pull)."
        )
    terms = [rho * term(log_anchor - log_pi) for log_anchor, rho in batch.pulled.values()]
    return sum(terms[1:], terms[0])
