"""Auxiliary terms: what no credit on sampled tokens can express. The engine adds them to the loss.

They are specs here, so that a recipe is whole; torch computes them.
"""

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Spec, namespace
from tod.operators.aggregation import AggregationSpec, TokenMean
from tod.operators.batch import Batch, Credit

Positive = Annotated[FiniteFloat, Field(gt=0.0)]


class FullVocabulary(Spec):
    """weight·Σ_t a_t·D(P_t, Q_t), P the teacher's next-token law and Q the policy's.

    ==========  ==========================================================================
    forward_kl  KL(P‖Q)
    reverse_kl  KL(Q‖P)
    jsd         β·KL(P‖M) + (1 − β)·KL(Q‖M), M = βP + (1 − β)Q, 0 < β < 1 (GKD, 2306.13649)
    ==========  ==========================================================================

    The candidates are constants: no gradient through which states are visited. Code that allows
    β = 0 and 1 means forward and reverse KL there, though the JSD itself tends to 0.
    """

    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "reverse_kl"
    """D."""
    beta: Annotated[FiniteFloat, Field(gt=0.0, lt=1.0)] = 0.5
    """β of the JSD."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Only the teacher's k most likely tokens; None: the whole vocabulary."""
    rest: Literal["bucket", "dropped", "renormalised"] = "bucket"
    """What becomes of the others: one bucket (at most the full divergence), nothing (can be
    negative), or both laws are renormalised on the k."""
    weight: Positive = 1.0
    """Of this term in the loss."""
    aggregation: AggregationSpec = TokenMean()
    """a_t: weight of every token."""


class EntropyBonus(Spec):
    """−weight·Σ_t a_t·H_t, H the entropy of π_θ over the whole vocabulary, nats."""

    weight: Positive
    """Of this term in the loss."""
    aggregation: AggregationSpec = TokenMean()
    """a_t: weight of every token."""


class Critic(Spec):
    """V_t, trained on ½·mean_t max((V − R)², (clip(V, V_old ± clip) − R)²), R = Â + V_old.

    Source: PPO, 1707.06347; R comes from GAE before any whitening.
    """

    kind: Literal["copy", "head"] = "copy"
    """``copy``: its own network, started as the policy. ``head``: a linear map of the policy's
    hidden state, without gradient into the policy."""
    learning_rate: Positive = 1e-3
    """Constant rate of its own AdamW."""
    clip: Positive | None = 0.2
    """ε_v, in units of the value; None: the plain square."""
    max_grad_norm: Positive | None = 1.0
    """Clip of its own gradient's norm."""


class Auxiliary(Spec):
    """Terms of the loss beside the action's credit."""

    distillation: FullVocabulary | None = None
    """Divergence from the teacher over the vocabulary."""
    entropy: EntropyBonus | None = None
    """Entropy bonus."""
    critic: Critic | None = None
    """Value function, for advantages that need one."""

    @property
    def any_loss(self) -> bool:
        """Whether something here has a gradient in the policy."""
        return self.distillation is not None or self.entropy is not None


class NoCredit(Spec):
    """No credit on sampled tokens: the auxiliary terms alone train the policy."""

    kind: Literal["auxiliary"] = "auxiliary"

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return False

    def credit(self, batch: Batch) -> Credit:
        """Zero for every token."""
        none: Float[Array, " M"] = namespace(batch.log_policy).zeros_like(batch.log_policy)
        advantage = namespace(batch.value).zeros_like(batch.value)
        return Credit(none, None, None, advantage)
