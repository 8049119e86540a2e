"""Advantages: what a candidate's value is compared with. [N] in, [N] out.

``scale_free`` ones divide the scale of the value out: a sharpness that only multiplies the value
is then connected to nothing.
"""

from typing import Annotated, Any, ClassVar, Literal

from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Groups, Spec, namespace
from tod.operators.moments import Moments

Epsilon = Annotated[FiniteFloat, Field(ge=0.0)]


class Raw(Spec):
    """A = R: no baseline."""

    kind: Literal["raw"] = "raw"
    scale_free: ClassVar[bool] = False

    def __call__(self, value: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:  # noqa: ARG002
        """The value itself."""
        return value


class GroupMean(Spec):
    """A_i = R_i − mean(R) within the context; 0 for a singleton. Source: Dr. GRPO, 2503.20783."""

    kind: Literal["group_mean"] = "group_mean"
    scale_free: ClassVar[bool] = False

    def __call__(self, value: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:
        """Centred values."""
        return _centred(value, contexts)  # type: ignore[no-any-return]


class LeaveOneOut(Spec):
    """A_i = R_i − mean_{j≠i} R_j = K/(K−1)·(R_i − mean); 0 for a singleton. RLOO, 2402.14740."""

    kind: Literal["leave_one_out"] = "leave_one_out"
    scale_free: ClassVar[bool] = False

    def __call__(self, value: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:
        """Values less the mean of the others."""
        size = contexts.sizes_like(value)
        xp = namespace(value)
        others = xp.where(size > 1, size - 1, xp.ones_like(size))
        return _centred(value, contexts) * contexts.spread(size / others)  # type: ignore[no-any-return]


class GroupZScore(Spec):
    """A_i = (R_i − mean)/(std + ε) within the context; 0 for a singleton and where all are equal.

    Fully optimised with a separate KL it aims at b·exp(U/(β·σ_c)): a sharpness that depends on
    the context and moves with the policy. Source: GRPO, 2402.03300; ddof 1 as TRL and verl.
    """

    kind: Literal["group_zscore"] = "group_zscore"
    epsilon: Epsilon = 1e-4
    """Added to the standard deviation (TRL 1e-4, verl 1e-6)."""
    ddof: Literal[0, 1] = 1
    """Divisor of the variance is K − ddof."""
    scale_free: ClassVar[bool] = True

    def __call__(self, value: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:
        """Standardised values."""
        return _over_std(value, contexts, self.ddof, self.epsilon)  # type: ignore[no-any-return]


class LeaveOneOutZScore(Spec):
    """A_i = (R_i − mean_{j≠i} R_j)/(std_{j≠i} + ε); not divided where the others are all equal.

    0 for a singleton; with two candidates the other one has no spread: not divided. NeMo-RL.
    """

    kind: Literal["leave_one_out_zscore"] = "leave_one_out_zscore"
    epsilon: Epsilon = 1e-6
    """Added to the standard deviation of the others."""
    scale_free: ClassVar[bool] = True

    def __call__(self, value: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:
        """Values less the mean of the others, over the spread of the others (ddof 1)."""
        xp: Any = namespace(value)
        centred, size = _centred(value, contexts), contexts.spread(contexts.sizes_like(value))
        others = xp.where(size > 1, size - 1, xp.ones_like(size))
        freedom = xp.where(size > 2, size - 2, xp.ones_like(size))
        square = contexts.spread(contexts.sum(centred * centred))
        variance = (square - centred * centred * (1 + 1 / others)) / freedom
        flat = _others_equal(value, contexts)
        one = xp.ones_like(variance)
        # where the others differ the variance is positive but for rounding
        std = xp.where(flat, one, xp.maximum(variance, 0 * one)) ** 0.5 + self.epsilon
        return centred * size / others / xp.where(flat, one, std)  # type: ignore[no-any-return]


class BatchZScore(Spec):
    """A_i = (R_i − mean of the context)/(std of the whole step + ε): one scale for all contexts.

    Unlike the group's, this scale does not depend on the context. 0 where the step is constant.
    Source: TRL ``scale_rewards="batch"``.
    """

    kind: Literal["batch_zscore"] = "batch_zscore"
    epsilon: Epsilon = 1e-4
    """Added to the standard deviation."""
    ddof: Literal[0, 1] = 1
    """Divisor of the variance is N − ddof."""
    scale_free: ClassVar[bool] = True

    def __call__(
        self, value: Float[Array, " N"], contexts: Groups, moments: Moments
    ) -> Float[Array, " N"]:
        """Centred values over one spread; ``moments`` are those of all values of the step."""
        spread = moments.variance(self.ddof) ** 0.5
        if spread == 0.0:
            return namespace(value).zeros_like(value)  # type: ignore[no-any-return]
        return _centred(value, contexts) / (spread + self.epsilon)  # type: ignore[no-any-return]


def _others_equal(value: Any, contexts: Groups) -> Any:
    """Whether all other values of the context are the same, [N]; read off extremes, not sums."""
    top, low = (contexts.spread(reduce(value)) for reduce in (contexts.max, contexts.min))
    size = contexts.spread(contexts.sizes_like(value))
    is_top, is_low = value == top, value == low
    unit = namespace(value).ones_like(value)
    tops = contexts.spread(contexts.sum(namespace(value).where(is_top, unit, 0 * unit)))
    lows = contexts.spread(contexts.sum(namespace(value).where(is_low, unit, 0 * unit)))
    alone_up = is_top & (tops == 1) & (lows == size - 1)
    alone_down = is_low & (lows == 1) & (tops == size - 1)
    return (top == low) | alone_up | alone_down


def _centred(value: Any, contexts: Groups) -> Any:
    return value - contexts.spread(contexts.mean(value))


def _over_std(value: Any, contexts: Groups, ddof: int, epsilon: float) -> Any:
    """(value − mean)/(std + ε), and exactly 0 where every value of the context is the same.

    Sameness is read off the extremes: a mean of equal values is not always that value in floating
    point, and dividing the remainder by its own size would make ±1 of it.
    """
    xp = namespace(value)
    centred = _centred(value, contexts)
    freedom = contexts.sizes_like(value) - ddof
    safe = xp.where(freedom > 0, freedom, xp.ones_like(freedom))
    std = (contexts.sum(centred * centred) / safe) ** 0.5 + epsilon
    flat: Any = contexts.max(value) == contexts.min(value)
    scale = contexts.spread(xp.where(flat, xp.ones_like(std), std))
    return xp.where(contexts.spread(flat), xp.zeros_like(centred), centred / scale)
