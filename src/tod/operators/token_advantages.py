"""Advantages token by token: returns-to-go and generalised advantages. [M] in, [M] out."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Groups, Named, Spec, is_numpy, namespace, to_numpy
from tod.operators.advantages import GroupMean, LeaveOneOut, Raw
from tod.operators.moments import Moments

Discount = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
Baseline = Annotated[Raw | GroupMean | LeaveOneOut, Field(discriminator="kind"), Named]


class Whitening(Spec):
    """(x − mean)/√(var + ε) over all tokens of the step; 0 where they are all equal.

    Longer sequences weigh more in these statistics. Source: verl (ddof 1), OpenRLHF (ddof 0).
    """

    epsilon: Annotated[FiniteFloat, Field(ge=0.0)] = 1e-8
    """Added to the variance, inside the root."""
    ddof: Literal[0, 1] = 1
    """Divisor of the variance is M − ddof."""

    def __call__(self, x: Float[Array, " M"], moments: Moments) -> Float[Array, " M"]:
        """Whitened values."""
        variance = moments.variance(self.ddof)
        if variance == 0.0:
            return namespace(x).zeros_like(x)  # type: ignore[no-any-return]
        return (x - moments.mean) / (variance + self.epsilon) ** 0.5  # type: ignore[no-any-return]


class _ByToken(Spec):
    """What the advantages of tokens share."""

    discount: Discount = 1.0
    """γ: 0 ignores the future."""
    baseline: Baseline = Raw()
    """What a candidate's own utility is compared with before it is placed on its last token."""
    whiten: Whitening | None = None
    """Standardise over all tokens of the step."""
    per_token: ClassVar[bool] = True

    @property
    def scale_free(self) -> bool:
        """Whether the scale of the utility is divided out."""
        return self.whiten is not None


class ReturnToGo(_ByToken):
    """A_t = Σ_{u≥t} γ^{u−t} r_u: the utility on the last token, pulls on every token.

    REINFORCE++ is γ = 1, whitened, with k1 in the reward (2501.03262). Sampled on-policy
    distillation is the residual towards a teacher: γ = 0 is Σ_t E ∇KL(π_θ(·|s_t)‖π_T(·|s_t)) with
    the states held fixed, γ = 1 the reverse KL of whole sequences.
    """

    kind: Literal["return_to_go"] = "return_to_go"

    def __call__(
        self,
        rewards: Float[Array, " M"],
        sequences: Groups,
        critic: Float[Array, " M"] | None,  # noqa: ARG002
    ) -> Float[Array, " M"]:
        """Discounted sums of what follows, before whitening."""
        return discounted(rewards, sequences, self.discount)


class Gae(_ByToken):
    """Â_t = δ_t + γλÂ_{t+1}, δ_t = r_t + γV_{t+1} − V_t, V = 0 after the last token.

    Tokens the policy did not choose are not here, so V and Â are carried across them. Truncated
    sequences also end in 0. Source: Schulman et al., 1506.02438.
    """

    kind: Literal["gae"] = "gae"
    trace: Discount = 0.95
    """λ."""

    def __call__(
        self, rewards: Float[Array, " M"], sequences: Groups, critic: Float[Array, " M"]
    ) -> Float[Array, " M"]:
        """Â, before whitening."""
        return gae(rewards, critic, sequences, self.discount, self.trace)[0]


def gae(
    rewards: Float[Array, " M"],
    critic: Float[Array, " M"],
    sequences: Groups,
    discount: float,
    trace: float,
) -> tuple[Float[Array, " M"], Float[Array, " M"]]:
    """Advantages Â and the critic's targets Â + V, both before any whitening. See `Gae`."""
    values = to_numpy(critic).astype(np.float64)
    following = np.append(values[1:], 0.0)
    following[sequences.offsets[1:] - 1] = 0.0
    delta = to_numpy(rewards).astype(np.float64) + discount * following - values
    advantage = discounted(delta, sequences, discount * trace)
    return _like(advantage, rewards), _like(advantage + values, rewards)


def discounted(x: Float[Array, " M"], sequences: Groups, decay: float) -> Float[Array, " M"]:
    """y_t = x_t + decay·y_{t+1} within every sequence, computed in float64."""
    if decay == 0.0:
        return x
    y = to_numpy(x).astype(np.float64).copy()
    last = sequences.offsets[1:] - 1
    for back in range(1, int(sequences.sizes.max(initial=0))):
        rows = last[sequences.sizes > back] - back
        y[rows] += decay * y[rows + 1]
    return _like(y, x)  # type: ignore[no-any-return]


def _like(values: Any, x: Any) -> Any:
    """Float64 values as the library, type and device of ``x``."""
    if is_numpy(x):
        return values.astype(x.dtype)
    return namespace(x).asarray(values, dtype=x.dtype, device=x.device)
