"""Advantages: what a candidate's value is compared with. [N] in, [N] out.

``scale_free`` ones divide the scale of the value out: a sharpness that only multiplies the value
is then connected to nothing.
"""

from typing import Annotated, Any, ClassVar, Literal

from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Groups, Named, Spec, namespace

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


AdvantageSpec = Annotated[
    Raw | GroupMean | LeaveOneOut | GroupZScore, Field(discriminator="kind"), Named
]


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
