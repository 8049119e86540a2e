"""Weighted regression: maximum likelihood on candidates weighted towards the target.

The forward-KL projection of the weighted sample; SFT, DFT, RWR, AWR, REPS, MPO's E-step and
rejection-sampling fine-tuning are settings of it.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat, model_validator

from tod.base import (
    Array,
    Groups,
    Named,
    Spec,
    SpecError,
    constant_like,
    namespace,
    tagged,
    to_numpy,
)
from tod.base.roots import falling_roots
from tod.operators.advantages import GroupMean, LeaveOneOut, Raw
from tod.operators.aggregation import AggregationSpec
from tod.operators.batch import Batch, Credit, Totals, UpdateRule

__all__ = [
    "Accepted",
    "Best",
    "Exponentiated",
    "KLBudget",
    "TargetOfStep",
    "TargetWeights",
    "Uniform",
    "WeightedRegression",
    "WithinBudget",
    "kl_budget",
]


class CandidateWeights(Spec):
    """Which candidates of a context count in a weighted regression, and how much."""

    kind: str
    needs_anchors: ClassVar[bool] = False
    reads_the_step: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """Weights w̄ of every candidate, [N], ≥ 0.

        Raises:
            SpecError: log q*/μ is read and was not recorded, or the batch is a part whose whole is.
        """

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step with what weights of its parts read."""
        return batch.totals


class TargetWeights(CandidateWeights):
    """w̄ = softmax(log q̃*/μ) within the context. Bias of self-normalisation O(1/K).

    Source: docs/equations.md A.2
    """

    kind: Literal["target"] = "target"
    needs_anchors: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to 1 per context; 0 in a context where every weight is 0."""
        return normalised(_log_w(batch), batch)


class TargetOfStep(CandidateWeights):
    """w̄_i = C·w_i/Σ_j w_j with the sum over the whole optimiser step: contexts count ∝ Ẑ_c.

    Not self-normalised within the context, so a context whose candidates pass often counts more,
    and a constant added to log w in one context is no longer nothing: b has to be a density.

    Source: docs/equations.md A.2, weight normalisation per batch
    """

    kind: Literal["target_of_step"] = "target_of_step"
    needs_anchors: ClassVar[bool] = True
    reads_the_step: ClassVar[bool] = True

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to C over the step; 0 where every weight of the step is 0.

        Raises:
            SpecError: log q*/μ is not known, or the batch is a part whose whole is not.
        """
        log_w, total = _log_w(batch), batch.totals.log_z
        if total is None:
            _check_whole(batch, "Σ w")
            total = self.log_z(batch)
        xp = namespace(log_w)
        if total == -math.inf:
            return xp.zeros_like(log_w)  # type: ignore[no-any-return]
        return batch.totals.contexts * xp.exp(log_w - total)  # type: ignore[no-any-return]

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step with the normaliser that its parts read."""
        return replace(batch.totals, log_z=self.log_z(batch))

    def log_z(self, batch: Batch) -> float:
        """The log of Σ_i w_i over these candidates, nats."""
        log_w = to_numpy(_log_w(batch)).astype("float64")
        return float(Groups.equal(1, log_w.size).logsumexp(log_w)[0])


class WithinBudget(CandidateWeights):
    """w̄ = softmax(log b/μ + ηU) with the η that spends a KL budget: REPS, MPO's E-step.

    η solves the dual of max E_q U with mean_c KL(q‖b̂) ≤ ε over the whole step, b̂ the weights b/μ
    of its candidates: one temperature 1/η for all contexts. Of the target only b and the utility
    (several in the proportions of their η_k) are read, its own sharpness is not. With b = μ it is
    KL(q‖μ) ≤ ε. Where no finite η spends the budget, w̄ is b̂ on the largest utility.

    Source: docs/equations.md A.2, D.4; Peters, Mülling and Altun 2010; MPO, 1806.06920, section 4.2
    """

    kind: Literal["kl_budget"] = "kl_budget"
    needs_anchors: ClassVar[bool] = True
    reads_the_step: ClassVar[bool] = True
    budget: Annotated[FiniteFloat, Field(gt=0.0)] = 0.1
    """ε, nats a context."""

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to 1 per context; 0 in a context where every weight is 0.

        Raises:
            SpecError: log q*/μ is not known, or the batch is a part whose whole is not.
        """
        eta = batch.totals.eta
        if eta is None:
            _check_whole(batch, "the η of its KL budget")
            eta = self.eta(batch)
        log_base, value = _base_and_value(batch)
        if eta == math.inf:
            xp: Any = namespace(log_base)
            low = xp.full_like(value, -math.inf)
            top = batch.contexts.max(xp.where(log_base > -math.inf, value, low))
            return normalised(xp.where(value == batch.contexts.spread(top), log_base, low), batch)
        return normalised(log_base + eta * value, batch)

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step with the sharpness that its parts read."""
        return replace(batch.totals, eta=self.eta(batch))

    def eta(self, batch: Batch) -> float:
        """The η of these contexts, nats per unit of utility; 0 where all are outside the support.

        ∞ where no finite one spends the budget.
        """
        log_base, value = (to_numpy(x).astype("float64") for x in _base_and_value(batch))
        contexts = batch.contexts
        alive = np.flatnonzero(to_numpy(contexts.max(log_base)) > -math.inf)
        if not alive.size:
            return 0.0
        if alive.size < len(contexts):
            contexts, rows = contexts.take(alive)
            log_base, value = log_base[rows], value[rows]
        return kl_budget(value, contexts, self.budget, log_w0=log_base).eta


class Accepted(CandidateWeights):
    """w̄ uniform over candidates with utility at least ``threshold``: rejection sampling.

    The η → ∞ limit of the target's weights with b = μ when the threshold is the largest utility.
    A context without an accepted candidate vanishes.

    Source: docs/equations.md A.3; RAFT, 2304.06767 (equation rejection-fine-tuning)
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


class Uniform(CandidateWeights):
    """w̄ = 1/K: every candidate counts the same. Supervised fine-tuning on data.

    Source: docs/equations.md A.1
    """

    kind: Literal["uniform"] = "uniform"

    def __call__(self, batch: Batch) -> Float[Array, " N"]:
        """[N], adding up to 1 per context."""
        return normalised(namespace(batch.value).zeros_like(batch.value), batch)


class Best(CandidateWeights):
    """w̄ uniform over the ``count`` best candidates of the context, ties with the last included.

    Top-k rejection sampling.

    Source: docs/equations.md A.3; RAFT, 2304.06767; ReST, 2308.08998
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


class Exponentiated(CandidateWeights):
    """w = min(exp(A), cap), not normalised, over K: A is the tilt less its mean, nats.

    The temperature is 1/η; the cap is 20 in its public configurations.

    Source: docs/equations.md A.2; AWR, 1910.00177 (equation awr-weight)
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


if TYPE_CHECKING:
    WeightsSpec = CandidateWeights
else:
    WeightsSpec = Annotated[tagged(CandidateWeights), Named]
"""Any weights of candidates, by their ``kind``."""


class WeightedRegression(UpdateRule):
    """L = −mean_c Σ_i w̄_i·log π_θ(y_i); credit w̄_i/C on every token of candidate i.

    ``centred`` subtracts softmax(log π_θ/μ): the credit is then zero at π = q*, sample by sample,
    and its noise vanishes with the distance to the target. The sum over tokens is the log-prob of
    the sequence; a mean over them would be another projection. Centring is a control variate of
    ours.

    Source: TOD framework, section 4; docs/equations.md A.2; MPO, 1806.06920
    (equation weighted-likelihood)
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
        return self.weights.needs_anchors

    @property
    def reads_the_step(self) -> bool:
        """Whether credit of a part reads numbers of the whole optimiser step beside its sizes."""
        return self.weights.reads_the_step

    def totals(self, batch: Batch) -> Totals:
        """Totals of a whole step with what weights of its parts read."""
        return self.weights.totals(batch)

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
        log_mu = batch.required(
            "log_mu",
            "centred weighted regression needs log μ of every rollout and it was not recorded. "
            "Record it, or use `centred: false`.",
        )
        xp = namespace(weight)
        own = normalised(batch.sequences.sum(batch.log_policy) - log_mu, batch)
        some = batch.contexts.spread(batch.contexts.sum(weight)) > 0
        return xp.where(some, own, xp.zeros_like(own))


def _log_w(batch: Batch) -> Any:
    return batch.required(
        "log_w",
        "weighted regression needs log q*/μ: log-probs of μ and of every anchor that does not "
        "cancel against it. Record them, or anchor the target at `mu`.",
    )


def _check_whole(batch: Batch, what: str) -> None:
    if batch.totals.contexts != len(batch.contexts):
        raise SpecError(
            f"these {len(batch.contexts)} prompts are a part of a step of "
            f"{batch.totals.contexts}, and {what} of that is not known. Ask "
            "`tod.procedure.totals_of` for the whole step first."
        )


def _base_and_value(batch: Batch) -> tuple[Any, Any]:
    """Log b/μ, −∞ outside the support, and U, 0 there; [N] each."""
    log_w = _log_w(batch)
    xp = namespace(log_w)
    inside, zero = log_w > -math.inf, xp.zeros_like(log_w)
    tilt, value = (xp.where(inside, x, zero) for x in (batch.tilt, batch.value))
    return xp.where(inside, log_w - tilt, log_w), value


def normalised(log_w: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
    """The softmax within the context, and 0 throughout a context where every log_w is −∞."""
    xp = namespace(log_w)
    weight = batch.contexts.softmax(log_w)
    empty = batch.contexts.spread(batch.contexts.max(log_w)) == -float("inf")
    return xp.where(empty, xp.zeros_like(weight), weight)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class KLBudget:
    """One sharpness for all contexts that spends the budget exactly.

    Attributes:
        eta: Sharpness; ∞ where no finite one spends the budget.
        temperature: T = 1/η.
        dual: g(T) = Tε + T·mean_c[LSE(ω₀ + U/T) − LSE(ω₀)], at its minimum over T > 0.

    Source: Peters et al. 2010; Abdolmaleki et al. 2018, section 4.2 (equation kl-budget-dual)
    """

    eta: float
    temperature: float
    dual: float


def kl_budget(
    utility: Float[Array, " N"],
    contexts: Groups,
    budget: float,
    *,
    log_w0: Float[Array, " N"] | None = None,
) -> KLBudget:
    """The η with mean over contexts of KL(softmax(ω₀+ηU) ‖ softmax ω₀) = budget.

    The dual is convex and its stationarity is that equation; the left side rises with η because
    ∂KL/∂η = η Var_w̄(U) ≥ 0. With ω₀ = 0, softmax ω₀ is uniform and a budget ε is a perplexity
    target e^{−ε}. A root exists iff the budget is below the mean of −log(base mass of the ties at
    max U); else T → 0, η = ∞ and the dual is mean max U.

    Source: docs/equations.md D.4; Peters et al. 2010 (REPS); Abdolmaleki et al., 1806.06920,
    section 4.2

    Args:
        utility: U, [N], finite.
        contexts: Candidates in contexts.
        budget: ε > 0, nats.
        log_w0: log b − log μ, [N], nats; 0 if None.

    Raises:
        SpecError: The budget is not positive, or values are not finite.
    """
    if not budget > 0:
        raise SpecError(f"budget = {budget}: a KL budget in nats is positive. 0.1 is usual.")
    groups: Any = contexts  # its reductions of numpy arrays are numpy arrays
    u = to_numpy(utility).astype(np.float64)
    base = np.zeros_like(u) if log_w0 is None else to_numpy(log_w0).astype(np.float64)
    if not bool(np.isfinite(u).all() and (base < np.inf).all()):
        raise SpecError("the KL dual needs finite rewards and log-weights below +inf.")
    top = groups.max(np.where(base > -np.inf, u, -np.inf))
    if not bool(np.isfinite(top).all()):
        raise SpecError("a prompt has no rollout inside the support: drop it before the dual.")
    depth = u - groups.spread(top)
    log_base = base - groups.spread(groups.logsumexp(base))
    ties = groups.logsumexp(np.where(depth == 0, log_base, -np.inf))
    if budget >= -float(np.mean(ties)):
        return KLBudget(np.inf, 0.0, float(np.mean(top)))
    spread = -groups.min(np.where(base > -np.inf, depth, 0.0))
    guess = np.array([1.0 / np.median(spread[spread > 0])])
    eta = float(falling_roots(lambda x: _left(depth, log_base, contexts, budget, x), guess)[0])
    shift = groups.logsumexp(log_base + eta * depth) + eta * top
    return KLBudget(eta, 1 / eta, (budget + float(np.mean(shift))) / eta)


def _left(depth: Any, log_base: Any, contexts: Any, budget: float, eta: Any) -> tuple[Any, Any]:
    """Budget left at η, and its slope −mean η Var_w̄(U)."""
    tilted = log_base + eta * depth
    log_z = contexts.logsumexp(tilted)
    weight = np.exp(tilted - contexts.spread(log_z))
    level = np.where(weight > 0, depth, 0.0)
    mean = contexts.sum(weight * level)
    variance = contexts.sum(weight * (level - contexts.spread(mean)) ** 2)
    spent = np.mean(eta * mean - log_z)
    return np.array([budget - spent]), -eta * np.mean(variance)
