"""Weighted regression: maximum likelihood on candidates weighted towards the target.

The forward-KL projection of the weighted sample; SFT, DFT, RWR, AWR, REPS, MPO's E-step and
rejection-sampling fine-tuning are settings of it.
"""

from typing import Any, Literal, Self

from pydantic import model_validator

from tod.base import Spec, SpecError, namespace
from tod.operators.aggregation import AggregationSpec, Totals
from tod.operators.batch import Batch, Credit
from tod.operators.weights import (
    TargetOfStep,
    TargetWeights,
    WeightsSpec,
    WithinBudget,
    normalised,
)


class WeightedRegression(Spec):
    """L = −mean_c Σ_i w̄_i·log π_θ(y_i); credit w̄_i/C on every token of candidate i.

    ``centred`` subtracts softmax(log π_θ/μ): the credit is then zero at π = q*, sample by sample,
    and its noise vanishes with the distance to the target. The sum over tokens is the log-prob of
    the sequence; a mean over them would be another projection. Source: MPO, arXiv 1806.06920
    (E-step); centring: a control variate of ours.
    """

    kind: Literal["weighted_regression"] = "weighted_regression"
    weights: WeightsSpec = TargetWeights()
    """Which candidates count, and how much."""
    centred: bool = False
    """Subtract the policy's own weights."""
    aggregation: AggregationSpec | None = None
    """None: w̄_i/C on every token, the log-prob of a sequence being a sum. Else K·w̄_i times the
    weight of a token: with uniform weights `token_mean` is the usual SFT loss."""
    by_probability: bool = False
    """Also multiply by π_θ of the token, gradient stopped (DFT, 2508.05629)."""

    @model_validator(mode="after")
    def _centrable(self) -> Self:
        if self.centred and isinstance(self.weights, TargetOfStep):
            raise ValueError(
                "centring subtracts the policy's own weights, which over the step would need all "
                "of it at every update: use weights `target`, or `centred: false`"
            )
        return self

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return isinstance(self.weights, TargetWeights | TargetOfStep | WithinBudget)

    @property
    def reads_the_step(self) -> bool:
        """Whether credit of a part reads numbers of the whole optimiser step beside its sizes."""
        return isinstance(self.weights, TargetOfStep | WithinBudget)

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step with what weights of its parts read."""
        if isinstance(self.weights, TargetOfStep | WithinBudget):
            return self.weights.totals(batch)
        return batch.totals

    def credit(self, batch: Batch) -> Credit:
        """Credit of every token. See the class for the equation."""
        weight = self.weights(batch)
        if self.centred:
            weight = weight - self._own(weight, batch)
        per_token = self._spread(weight, batch)
        if self.by_probability:
            per_token = per_token * namespace(per_token).exp(batch.log_policy)
        return Credit(per_token, None, None, weight)

    def _spread(self, weight: Any, batch: Batch) -> Any:
        """Weights of candidates [N] as weights of tokens [M]."""
        if self.aggregation is None:
            return batch.sequences.spread(weight / batch.totals.contexts)
        size = batch.contexts.spread(batch.contexts.sizes_like(weight))
        tokens = self.aggregation.weights(batch.sequences, batch.totals, batch.log_policy)
        return tokens * batch.sequences.spread(weight * size)

    def _own(self, weight: Any, batch: Batch) -> Any:
        """softmax(log π_θ − log μ), and 0 in contexts whose own weights are all 0."""
        if batch.log_mu is None:
            raise SpecError(
                "centred weighted regression needs log μ of every candidate and it was not "
                "recorded. Record it, or use `centred: false`."
            )
        xp = namespace(weight)
        own = normalised(batch.sequences.sum(batch.log_policy) - batch.log_mu, batch)
        some = batch.contexts.spread(batch.contexts.sum(weight)) > 0
        return xp.where(some, own, xp.zeros_like(own))
