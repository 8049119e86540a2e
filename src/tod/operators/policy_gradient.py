"""Policy gradient: credit = aggregation × gate(trust region) × ρ(level) × advantage (+ pull).

PPO, GRPO, Dr. GRPO, DAPO, GSPO, SAPO, CISPO, GMPO, FSPO, RLOO, REINFORCE++, VarGrad and sampled
on-policy distillation are settings of this one rule.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import Spec, namespace
from tod.operators.advantages import AdvantageSpec, ByToken, Gae, GroupMean, unit_of
from tod.operators.aggregation import AggregationSpec, SequenceMeanTokenMean, TokenMean
from tod.operators.batch import Batch, Credit, Moments, Totals, UpdateRule
from tod.operators.corrections import AnyCorrection, Shrunk
from tod.operators.pulls import KLPull, Pull, Residual
from tod.operators.trust_regions import (
    Clip,
    Level,
    RootLengthClip,
    TrustRegionSpec,
    at_level,
    gated,
    mean_of_clipped,
)

__all__ = ["EntropyBonus", "PolicyGradient"]


class PolicyGradient(UpdateRule):
    """Σ_t credit_t·∇log π_θ(y_t), credit_t = a_t·g(ρ_t, A_i)·ρ_t·A_i (+ a KL pull in the loss).

    ρ is π_θ/π_old at ``level``; A is the advantage of the utility, or of the residual when the
    pull is one. With a scale-free advantage the value keeps the utility's scale and a KL pull
    weighs exponent/η, as popular code does; else both are in nats. Degenerate cases: a singleton
    context has advantage 0 under every baseline; A = 0 is never gated.

    Source: docs/equations.md A.6, A.10, A.13, A.14; TOD framework, section 4 (equation credit)
    """

    kind: Literal["policy_gradient"] = "policy_gradient"
    level: Level = "token"
    """Grain at which π_θ/π_old is compared."""
    trust_region: TrustRegionSpec = Clip()
    """How far a step may go before a token stops counting."""
    advantage: AdvantageSpec = GroupMean()
    """What a candidate is compared with."""
    aggregation: AggregationSpec = SequenceMeanTokenMean()
    """Weight of every token; part of the operator's definition."""
    pull: Pull | None = None
    """How the target's anchors enter. None: only through the trust region."""
    correction: AnyCorrection | None = None
    """Weight of tokens that another engine sampled; multiplies the credit, never the pull."""

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        clipped = isinstance(self.trust_region, Clip) and not self._by_token
        if self.level == "sequence_mean_of_clipped" and not clipped:
            raise ValueError(
                "level sequence_mean_of_clipped clips tokens under one advantage a sequence: it "
                "needs a `clip` region and an advantage by rollout, and these are "
                f"{self.trust_region.kind} and {self.advantage.kind}. Else use level token"
            )
        if isinstance(self.trust_region, RootLengthClip) and self.level != "sequence_sum":
            raise ValueError("root_length_clip bounds a summed log-ratio: use level sequence_sum")
        if self.trust_region.reads_old and self.level != "token":
            raise ValueError(
                f"{self.trust_region.kind} compares a token's own probabilities: use level token"
            )
        now = isinstance(self.pull, Residual) and self.pull.at == "current"
        if now and self.advantage.batch_wide:
            raise ValueError(
                "a residual at the current policy changes at every update, and a batch-wide scale "
                "would need the whole step before its first part: use `at: old`, or `group_mean`"
            )
        return self

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return self.pull is not None

    @property
    def needs_critic(self) -> bool:
        """Whether credit reads a critic's values."""
        return isinstance(self.advantage, Gae)

    @property
    def reads_tokens_of_the_anchor(self) -> bool:
        """Whether a pull needs the anchor's log-probs token by token."""
        return isinstance(self.pull, KLPull) or (self.pull is not None and self._by_token)

    @property
    def weighs_by_sharpness(self) -> bool:
        """Whether a KL pull weighs 1/η: the advantage has the utility's scale, not nats."""
        return isinstance(self.pull, KLPull) and self.advantage.scale_free

    @property
    def _by_token(self) -> bool:
        return isinstance(self.advantage, ByToken)

    @property
    def reads_the_step(self) -> bool:
        """Whether credit of a part reads numbers of the whole optimiser step beside its sizes."""
        return self.advantage.batch_wide or isinstance(self.correction, Shrunk)

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step with the moments and the sizes that credit of its parts reads."""
        kept = self.correction.totals(batch) if isinstance(self.correction, Shrunk) else None
        return replace(batch.totals, moments=self.moments(batch), kept=kept)

    def moments(self, batch: Batch) -> Moments | None:
        """What a batch-wide advantage scales by; those of parts of a step add up (None: nothing).

        They belong in ``Totals.moments`` before credit is asked in parts.
        """
        wide = self.advantage.batch_wide
        return Moments.of(self.advantage.unscaled(self.pull, batch)) if wide else None

    def credit(self, batch: Batch) -> Credit:
        """Credit of every token. See the class for the equation."""
        advantage, token_advantage = self.advantage.of_batch(self.pull, batch)
        log_rho, gate, weight = self._gated(batch, token_advantage)
        credit = _times(weight, token_advantage)
        weights = self.aggregation.weights(batch.sequences, batch.totals, batch.log_policy)
        correction: Any = None
        if self.correction is not None:
            correction = self.correction(batch, token_advantage)
            credit = credit * correction
        if isinstance(self.correction, Shrunk):
            credit = self.correction.aggregated(self.aggregation, batch) * credit
        else:
            credit = weights * credit
        if isinstance(self.pull, KLPull) and self.pull.place == "loss":
            pull = unit_of(self.advantage, batch) * self.pull.credit(batch)
            credit = credit + weights * pull
        return Credit(credit, gate, log_rho, advantage, correction, token_advantage)

    def _gated(self, batch: Batch, advantage: Any) -> tuple[Any, Any, Any]:
        """Log ρ at the level, the gate g, and g·ρ; [M] each."""
        sequences = batch.sequences
        length = sequences.spread(sequences.sizes_like(batch.log_policy))
        log_rho = at_level(batch.log_policy - batch.log_old, sequences, self.level)
        old = {"log_old": batch.log_old} if self.trust_region.reads_old else {}
        gate = self.trust_region.gate(log_rho, advantage, length, **old)
        if self.level == "sequence_mean_of_clipped" and isinstance(self.trust_region, Clip):
            bounds = self.trust_region.log_bounds
            log_rho = mean_of_clipped(log_rho, advantage, bounds, sequences)
            return log_rho, gate, gated(gate, log_rho)
        return log_rho, gate, self.trust_region.weight(log_rho, advantage, length, **old)


class EntropyBonus(Spec):
    """−weight·Σ_t a_t·H_t, H the entropy of π_θ over the whole vocabulary, nats.

    The engine adds it to the loss: it is no credit of the sampled token.

    Source: docs/equations.md A.19 (equation entropy-bonus)
    """

    weight: Annotated[FiniteFloat, Field(gt=0.0)]
    """Of this term in the loss."""
    aggregation: AggregationSpec = TokenMean()
    """a_t: weight of every token."""


def _times(weight: Any, advantage: Any) -> Any:
    """Weight · advantage, and 0 where the advantage is 0 even if the ratio overflowed."""
    xp = namespace(weight)
    none = ~(xp.abs(advantage) > 0)
    return xp.where(none, xp.zeros_like(weight), weight) * advantage
