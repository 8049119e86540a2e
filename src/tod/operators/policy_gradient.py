"""Policy gradient: credit = aggregation × gate(trust region) × ρ(level) × advantage.

PPO, GRPO, Dr. GRPO, DAPO, GSPO, SAPO, CISPO, GMPO, FSPO and RLOO are settings of this one rule.
"""

from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Discriminator, Tag, model_validator

from tod.base import Array, DataError, Spec, SpecError, namespace, to_numpy
from tod.operators.advantages import AdvantageSpec, GroupMean
from tod.operators.aggregation import AggregationSpec, SequenceMeanTokenMean
from tod.operators.batch import Batch, Credit
from tod.operators.levels import Level, at_level, mean_of_clipped
from tod.operators.pulls import KLPull, Residual
from tod.operators.trust_regions import Clip, RootLengthClip, TrustRegionSpec, gated


def _which_pull(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "kl" if kind in ("k1", "k2", "k3") else str(kind)


Pull = Annotated[
    Annotated[Residual, Tag("residual")] | Annotated[KLPull, Tag("kl")],
    Discriminator(
        _which_pull,
        custom_error_type="unknown_pull",
        custom_error_message="unknown pull: its kind is one of residual, k1, k2, k3",
    ),
]


class PolicyGradient(Spec):
    """Σ_t credit_t·∇log π_θ(y_t), credit_t = a_t·g(ρ_t, A_i)·ρ_t·A_i (+ a KL pull in the loss).

    ρ is π_θ/π_old at ``level``; A is the advantage of the utility, or of the residual when the
    pull is one. With a scale-free advantage the value keeps the utility's scale and a KL pull
    weighs exponent/η, as popular code does; else both are in nats. Degenerate cases: a singleton
    context has advantage 0 under every baseline; A = 0 is never gated.
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

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if self.level == "sequence_mean_of_clipped" and not isinstance(self.trust_region, Clip):
            raise ValueError(
                "level sequence_mean_of_clipped clips tokens: it needs a `clip` region"
            )
        if isinstance(self.trust_region, RootLengthClip) and self.level != "sequence_sum":
            raise ValueError("root_length_clip bounds a summed log-ratio: use level sequence_sum")
        return self

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return self.pull is not None

    def credit(self, batch: Batch) -> Credit:
        """Credit of every token. See the class for the equation."""
        advantage = self.advantage(_finite(self._value(batch), batch), batch.contexts)
        token_advantage = batch.sequences.spread(advantage)
        length = batch.sequences.spread(batch.sequences.sizes_like(batch.log_policy))
        log_rho = at_level(batch.log_policy - batch.log_old, batch.sequences, self.level)
        gate = self.trust_region.gate(log_rho, token_advantage, length)
        if self.level == "sequence_mean_of_clipped" and isinstance(self.trust_region, Clip):
            bounds = self.trust_region.log_bounds
            log_rho = mean_of_clipped(log_rho, token_advantage, bounds, batch.sequences)
            weight = gated(gate, log_rho)
        else:
            weight = self.trust_region.weight(log_rho, token_advantage, length)
        credit = _times(weight, token_advantage)
        if isinstance(self.pull, KLPull) and self.pull.place == "loss":
            credit = credit + self._unit(batch) * self.pull.credit(batch)
        weights = self.aggregation.weights(batch.sequences, batch.totals, batch.log_policy)
        return Credit(weights * credit, gate, log_rho, advantage)

    def _value(self, batch: Batch) -> Float[Array, " N"]:
        """What the advantage is made of: residual (nats), or utility or tilt less a penalty."""
        if isinstance(self.pull, Residual):
            return self.pull.value(batch)
        value = batch.value if self.advantage.scale_free else batch.tilt
        if isinstance(self.pull, KLPull) and self.pull.place == "reward":
            return value - self._unit(batch) * self.pull.penalty(batch)  # type: ignore[no-any-return]
        return value

    def _unit(self, batch: Batch) -> float:
        """One nat in the units of the advantage's value: 1, or 1/η when that is the utility."""
        if not self.advantage.scale_free:
            return 1.0
        if not batch.sharpness:
            have = "η = 0" if batch.sharpness == 0.0 else "another η in every context"
            raise SpecError(
                f"advantage {self.advantage.kind!r} with a KL pull weighs the pull by 1/η and the "
                f"target has {have}: there is no such weight. Use `group_mean`."
            )
        return 1.0 / batch.sharpness


def _times(weight: Any, advantage: Any) -> Any:
    """Weight · advantage, and 0 where the advantage is 0 even if the ratio overflowed."""
    xp = namespace(weight)
    none = ~(xp.abs(advantage) > 0)
    return xp.where(none, xp.zeros_like(weight), weight) * advantage


def _finite(value: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
    """The value, refused where it is not finite: no baseline can hold it."""
    xp = namespace(value)
    bad = ~xp.isfinite(value)
    if bool(xp.any(bad)):
        rows = np.flatnonzero(to_numpy(bad))
        context = int(batch.contexts.owner[rows[0]])
        raise DataError(
            f"the value of candidate {int(rows[0] - batch.contexts.offsets[context])} of context "
            f"{context} of {len(batch.contexts)} is {float(value[int(rows[0])])} ({rows.size} such "
            "values): a policy gradient has no finite push for a candidate outside the support. "
            "Give the constraint a finite penalty (a tilt), or use `weighted_regression`."
        )
    return value
