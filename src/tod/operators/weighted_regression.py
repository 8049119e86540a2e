"""Weighted regression: maximum likelihood on candidates weighted towards the target.

The forward-KL projection of the weighted sample; SFT, DFT, RWR, AWR, REPS, MPO's E-step and
rejection-sampling fine-tuning are settings of it.
"""

import math
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat, model_validator

from tod.base import Array, Groups, Named, Spec, SpecError, constant_like, namespace, to_numpy
from tod.operators.advantages import GroupMean, LeaveOneOut, Raw
from tod.operators.aggregation import AggregationSpec, Totals
from tod.operators.batch import Batch, Credit


class TargetWeights(Spec):
    """w̄ = softmax(log q̃*/μ) within the context. Bias of self-normalisation O(1/K)."""

    kind: Literal["target"] = "target"

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to 1 per context; 0 in a context where every weight is 0."""
        return normalised(_log_w(batch), batch)


class TargetOfStep(Spec):
    """w̄_i = C·w_i/Σ_j w_j with the sum over the whole optimiser step: contexts count ∝ Ẑ_c.

    Not self-normalised within the context, so a context whose candidates pass often counts more,
    and a constant added to log w in one context is no longer nothing: b has to be a density.
    """

    kind: Literal["target_of_step"] = "target_of_step"

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to C over the step; 0 where every weight of the step is 0.

        Raises:
            SpecError: log q*/μ is not known, or the batch is a part whose whole is not.
        """
        log_w, total = _log_w(batch), batch.totals.log_z
        if total is None:
            if batch.totals.contexts != len(batch.contexts):
                raise SpecError(
                    f"these {len(batch.contexts)} contexts are a part of a step of "
                    f"{batch.totals.contexts}, and Σ w of that is not known. Ask "
                    "`tod.procedure.totals_of` for the whole step first."
                )
            total = self.log_z(batch)
        xp = namespace(log_w)
        if total == -math.inf:
            return xp.zeros_like(log_w)  # type: ignore[no-any-return]
        return batch.totals.contexts * xp.exp(log_w - total)  # type: ignore[no-any-return]

    def log_z(self, batch: Batch) -> float:
        """The log of Σ_i w_i over these candidates, nats."""
        log_w = to_numpy(_log_w(batch)).astype("float64")
        return float(Groups.equal(1, log_w.size).logsumexp(log_w)[0])


class Accepted(Spec):
    """w̄ uniform over candidates with utility at least ``threshold``: rejection sampling.

    The η → ∞ limit of the target's weights with b = μ when the threshold is the largest utility.
    A context without an accepted candidate vanishes. Source: RAFT, arXiv 2304.06767.
    """

    kind: Literal["accepted"] = "accepted"
    threshold: FiniteFloat = 1.0
    """Least utility that is kept."""

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to 1 in contexts with an accepted candidate, else 0."""
        xp = namespace(batch.value)
        kept = batch.value >= self.threshold
        zeros = xp.zeros_like(batch.value)
        return normalised(xp.where(kept, zeros, xp.full_like(zeros, -float("inf"))), batch)


class Uniform(Spec):
    """w̄ = 1/K: every candidate counts the same. Supervised fine-tuning on data."""

    kind: Literal["uniform"] = "uniform"

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to 1 per context."""
        return normalised(namespace(batch.value).zeros_like(batch.value), batch)


class Best(Spec):
    """w̄ uniform over the ``count`` best candidates of the context, ties with the last included.

    Top-k rejection sampling. Source: RAFT, 2304.06767; ReST, 2308.08998.
    """

    kind: Literal["best"] = "best"
    count: Annotated[int, Field(ge=1)] = 1
    """How many are kept."""

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to 1 per context."""
        xp: Any = namespace(batch.value)
        value, contexts = to_numpy(batch.value), batch.contexts
        order = np.lexsort((value, contexts.owner))
        last = order[contexts.offsets[1:] - np.minimum(self.count, contexts.sizes)]
        least = contexts.spread(constant_like(value[last], batch.value))
        zeros = xp.zeros_like(batch.value)
        kept = xp.where(batch.value >= least, zeros, xp.full_like(zeros, -float("inf")))
        return normalised(kept, batch)


class Exponentiated(Spec):
    """w = min(exp(A), cap), not normalised, over K: A is the tilt less its mean, nats.

    Source: AWR, 1910.00177 (temperature 1/η, cap 20 in its public configurations).
    """

    kind: Literal["exponentiated"] = "exponentiated"
    cap: Annotated[FiniteFloat, Field(gt=0.0)] = 20.0
    """Largest weight."""
    baseline: Annotated[Raw | GroupMean | LeaveOneOut, Field(discriminator="kind"), Named] = (
        GroupMean()
    )
    """What the tilt is compared with."""

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], at most cap/K each."""
        xp = namespace(batch.tilt)
        advantage = self.baseline(batch.tilt, batch.contexts)
        bounded = xp.minimum(advantage, xp.full_like(advantage, math.log(self.cap)))
        size = batch.contexts.spread(batch.contexts.sizes_like(batch.tilt))
        return xp.exp(bounded) / size  # type: ignore[no-any-return]


WeightsSpec = Annotated[
    TargetWeights | TargetOfStep | Accepted | Uniform | Best | Exponentiated,
    Field(discriminator="kind"),
    Named,
]


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
        return isinstance(self.weights, TargetWeights | TargetOfStep)

    @property
    def reads_the_step(self) -> bool:
        """Whether credit of a part reads numbers of the whole optimiser step beside its sizes."""
        return isinstance(self.weights, TargetOfStep)

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step with the normaliser that weights of its parts read."""
        if not isinstance(self.weights, TargetOfStep):
            return batch.totals
        return replace(batch.totals, log_z=self.weights.log_z(batch))

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


def _log_w(batch: Batch) -> Any:
    if batch.log_w is None:
        raise SpecError(
            "weighted regression needs log q*/μ: log-probs of μ and of every anchor that does "
            "not cancel against it. Record them, or anchor the target at `mu`."
        )
    return batch.log_w


def normalised(log_w: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
    """The softmax within the context, and 0 throughout a context where every log_w is −∞."""
    xp = namespace(log_w)
    weight = batch.contexts.softmax(log_w)
    empty = batch.contexts.spread(batch.contexts.max(log_w)) == -float("inf")
    return xp.where(empty, xp.zeros_like(weight), weight)  # type: ignore[no-any-return]
