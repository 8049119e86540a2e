"""Which candidates count in a weighted regression, and how much."""

import math
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Groups, Named, Spec, SpecError, constant_like, namespace, to_numpy
from tod.operators.advantages import GroupMean, LeaveOneOut, Raw
from tod.operators.aggregation import Totals
from tod.operators.batch import Batch
from tod.operators.dual import kl_budget


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


class WithinBudget(Spec):
    """w̄ = softmax(log b/μ + ηU) with the η that spends a KL budget: REPS, MPO's E-step.

    η solves the dual of max E_q U with mean_c KL(q‖b̂) ≤ ε over the whole step, b̂ the weights b/μ
    of its candidates: one temperature 1/η for all contexts. Of the target only b and the utility
    (several in the proportions of their η_k) are read, its own sharpness is not. With b = μ it is
    KL(q‖μ) ≤ ε. Where no finite η spends the budget, w̄ is b̂ on the largest utility. Source:
    Peters, Mülling and Altun 2010; MPO, 1806.06920, section 4.2.
    """

    kind: Literal["kl_budget"] = "kl_budget"
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
    TargetWeights | TargetOfStep | WithinBudget | Accepted | Uniform | Best | Exponentiated,
    Field(discriminator="kind"),
    Named,
]


def _log_w(batch: Batch) -> Any:
    if batch.log_w is None:
        raise SpecError(
            "weighted regression needs log q*/μ: log-probs of μ and of every anchor that does "
            "not cancel against it. Record them, or anchor the target at `mu`."
        )
    return batch.log_w


def _check_whole(batch: Batch, what: str) -> None:
    if batch.totals.contexts != len(batch.contexts):
        raise SpecError(
            f"these {len(batch.contexts)} contexts are a part of a step of "
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
