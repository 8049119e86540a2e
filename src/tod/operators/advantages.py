"""Advantages: what a candidate's value is compared with, by candidate [N] or by token [M].

The value is the utility, or the tilt Σ_k η_k·U_k in nats, or a residual, less what a KL pull takes
off in the reward. ``scale_free`` advantages divide the scale of the value out: a sharpness that
only multiplies the value is then connected to nothing.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import (
    Array,
    DataError,
    Groups,
    Named,
    Spec,
    SpecError,
    constant_like,
    is_numpy,
    namespace,
    tagged,
    to_numpy,
)
from tod.operators.batch import Batch, Moments
from tod.operators.pulls import KLPull, Residual

__all__ = [
    "AdvantageSpec",
    "BatchZScore",
    "Critic",
    "Gae",
    "GroupMean",
    "GroupZScore",
    "LeaveOneOut",
    "LeaveOneOutZScore",
    "LengthWeightedMean",
    "Raw",
    "ReturnToGo",
    "Whitening",
    "gae",
    "rewards_of",
]

Epsilon = Annotated[FiniteFloat, Field(ge=0.0)]
Discount = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
Positive = Annotated[FiniteFloat, Field(gt=0.0)]
AnyPull = Residual | KLPull | None


class Advantage(Spec):
    """What an update multiplies the score of a token by."""

    kind: str

    @property
    def batch_wide(self) -> bool:
        """Whether it is scaled by moments of the whole optimiser step."""
        return False

    @abstractmethod
    def unscaled(self, pull: AnyPull, batch: Batch) -> Float[Array, " n"]:
        """What a batch-wide advantage takes its moments of, [N] by candidate or [M] by token."""

    @abstractmethod
    def of_batch(
        self, pull: AnyPull, batch: Batch
    ) -> tuple[Float[Array, " N"], Float[Array, " M"]]:
        """Advantages of every candidate, [N], and of every token, [M].

        Raises:
            DataError: A candidate is outside the target's support.
            SpecError: A number that it needs was not recorded.
        """


class ByCandidate(Advantage):
    """One advantage a candidate, the same for all its tokens: a function of values [N]."""

    scale_free: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, value: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:
        """Advantages of values, [N], in the units of the value; a scale-free one has none."""

    def unscaled(self, pull: AnyPull, batch: Batch) -> Any:
        """The value, [N]."""
        return value_of(self, pull, batch)

    def of_batch(self, pull: AnyPull, batch: Batch) -> Any:
        """Advantages of every candidate, [N], and the same of its tokens, [M]."""
        advantage = self._compared(self.unscaled(pull, batch), batch)
        return advantage, batch.sequences.spread(advantage)

    def _compared(self, value: Any, batch: Batch) -> Any:
        return self(value, batch.contexts)


class Raw(ByCandidate):
    """A = R: no baseline.

    Source: docs/equations.md A.17
    """

    kind: Literal["raw"] = "raw"

    def __call__(self, value: Any, contexts: Groups) -> Any:  # noqa: ARG002
        """The value itself."""
        return value


class GroupMean(ByCandidate):
    """A_i = R_i − mean(R) within the context; 0 for a singleton.

    Source: docs/equations.md A.8; Dr. GRPO, 2503.20783 (equation group-mean)
    """

    kind: Literal["group_mean"] = "group_mean"

    def __call__(self, value: Any, contexts: Groups) -> Any:
        """Centred values."""
        return value - contexts.spread(contexts.mean(value))


class LengthWeightedMean(ByCandidate):
    """A_i = R_i − Σ_j L_j·R_j/Σ_j L_j within the context, L in tokens; 0 for a singleton.

    It is the baseline of least variance where squared scores grow like lengths. A number of the
    context alone, it moves no law but by what any baseline of a finite group does.

    Source: docs/equations.md A.8; OPO, 2505.23585 (equation length-weighted-mean)
    """

    kind: Literal["length_weighted_mean"] = "length_weighted_mean"

    def __call__(self, value: Any, contexts: Groups, length: Any = None) -> Any:
        """Values less the mean by length, [N]; without lengths [N] all are taken to be equal."""
        weight = namespace(value).ones_like(value) if length is None else length
        # centred first: equal values are then exactly 0
        centred = GroupMean()(value, contexts)
        shift = contexts.sum(weight * centred) / contexts.sum(weight)
        return centred - contexts.spread(shift)

    def _compared(self, value: Any, batch: Batch) -> Any:
        return self(value, batch.contexts, batch.sequences.sizes_like(value))


class LeaveOneOut(ByCandidate):
    """A_i = R_i − mean_{j≠i} R_j = K/(K−1)·(R_i − mean); 0 for a singleton.

    Source: docs/equations.md A.16; RLOO, 2402.14740 (equation leave-one-out)
    """

    kind: Literal["leave_one_out"] = "leave_one_out"

    def __call__(self, value: Any, contexts: Groups) -> Any:
        """Values less the mean of the others."""
        size = contexts.sizes_like(value)
        xp = namespace(value)
        others = xp.where(size > 1, size - 1, xp.ones_like(size))
        return GroupMean()(value, contexts) * contexts.spread(size / others)


class GroupZScore(ByCandidate):
    """A_i = (R_i − mean)/(std + ε) within the context; 0 for a singleton and where all are equal.

    Fully optimised with a separate KL it aims at b·exp(U/(β·σ_c)): a sharpness that depends on
    the context and moves with the policy. ddof is 1 as in TRL and verl.

    Source: docs/equations.md A.7; GRPO, 2402.03300 (equation group-zscore)
    """

    kind: Literal["group_zscore"] = "group_zscore"
    epsilon: Epsilon = 1e-4
    """Added to the standard deviation (TRL 1e-4, verl 1e-6)."""
    ddof: Literal[0, 1] = 1
    """Divisor of the variance is K − ddof."""
    scale_free: ClassVar[bool] = True

    def __call__(self, value: Any, contexts: Groups) -> Any:
        """Standardised values, and exactly 0 where every value of the context is the same.

        Sameness is read off the extremes: a mean of equal values is not always that value in
        floating point, and dividing the remainder by its own size would make ±1 of it.
        """
        xp = namespace(value)
        centred = GroupMean()(value, contexts)
        freedom = contexts.sizes_like(value) - self.ddof
        safe = xp.where(freedom > 0, freedom, xp.ones_like(freedom))
        std = (contexts.sum(centred * centred) / safe) ** 0.5 + self.epsilon
        flat: Any = contexts.max(value) == contexts.min(value)
        scale = contexts.spread(xp.where(flat, xp.ones_like(std), std))
        return xp.where(contexts.spread(flat), xp.zeros_like(centred), centred / scale)


class LeaveOneOutZScore(ByCandidate):
    """A_i = (R_i − mean_{j≠i} R_j)/(std_{j≠i} + ε); not divided where the others are all equal.

    0 for a singleton; with two candidates the other one has no spread: not divided.

    Source: docs/equations.md A.7, the row of NeMo-RL (equation leave-one-out-zscore)
    """

    kind: Literal["leave_one_out_zscore"] = "leave_one_out_zscore"
    epsilon: Epsilon = 1e-6
    """Added to the standard deviation of the others."""
    scale_free: ClassVar[bool] = True

    def __call__(self, value: Any, contexts: Groups) -> Any:
        """Values less the mean of the others, over the spread of the others (ddof 1)."""
        xp: Any = namespace(value)
        centred = GroupMean()(value, contexts)
        size = contexts.spread(contexts.sizes_like(value))
        others = xp.where(size > 1, size - 1, xp.ones_like(size))
        freedom = xp.where(size > 2, size - 2, xp.ones_like(size))
        square = contexts.spread(contexts.sum(centred * centred))
        variance = (square - centred * centred * (1 + 1 / others)) / freedom
        flat = _others_equal(value, contexts)
        one = xp.ones_like(variance)
        # where the others differ the variance is positive but for rounding
        std = xp.where(flat, one, xp.maximum(variance, 0 * one)) ** 0.5 + self.epsilon
        return centred * size / others / xp.where(flat, one, std)


class BatchZScore(ByCandidate):
    """A_i = (R_i − mean of the context)/(std of the whole step + ε): one scale for all contexts.

    Unlike the group's, this scale does not depend on the context. 0 where the step is constant.

    Source: docs/equations.md A.7; TRL ``scale_rewards="batch"`` (equation batch-zscore)
    """

    kind: Literal["batch_zscore"] = "batch_zscore"
    epsilon: Epsilon = 1e-4
    """Added to the standard deviation."""
    ddof: Literal[0, 1] = 1
    """Divisor of the variance is N − ddof."""
    scale_free: ClassVar[bool] = True

    @property
    def batch_wide(self) -> bool:
        """Always."""
        return True

    def __call__(self, value: Any, contexts: Groups, moments: Moments | None = None) -> Any:
        """Centred values over one spread: that of all values of the step, or of these if None."""
        spread = (moments or Moments.of(value)).variance(self.ddof) ** 0.5
        if spread == 0.0:
            return namespace(value).zeros_like(value)
        return GroupMean()(value, contexts) / (spread + self.epsilon)

    def _compared(self, value: Any, batch: Batch) -> Any:
        return self(value, batch.contexts, batch.totals.moments)


def _others_equal(value: Any, contexts: Groups) -> Any:
    """Whether all other values of the context are the same, [N]; read off extremes, not sums."""
    top, low = (contexts.spread(reduce(value)) for reduce in (contexts.max, contexts.min))
    size = contexts.spread(contexts.sizes_like(value))
    unit = namespace(value).ones_like(value)

    def alone(this: Any, other: Any) -> Any:
        """Whether a candidate is the only one at one extreme, and all others are at the other."""
        here, there = (namespace(value).where(x, unit, 0 * unit) for x in (this, other))
        one = contexts.spread(contexts.sum(here)) == 1
        return this & one & (contexts.spread(contexts.sum(there)) == size - 1)

    up, down = value == top, value == low
    return (top == low) | alone(up, down) | alone(down, up)


class Whitening(Spec):
    """(x − mean)/√(var + ε) over all tokens of the step; 0 where they are all equal.

    Longer sequences weigh more in these statistics. verl has ddof 1, OpenRLHF 0.

    Source: docs/equations.md A.6, A.17 (equation whitening)
    """

    epsilon: Epsilon = 1e-8
    """Added to the variance, inside the root."""
    ddof: Literal[0, 1] = 1
    """Divisor of the variance is M − ddof."""

    def __call__(self, x: Float[Array, " M"], moments: Moments) -> Float[Array, " M"]:
        """Whitened values, [M], by the moments of the whole step."""
        variance = moments.variance(self.ddof)
        if variance == 0.0:
            return namespace(x).zeros_like(x)  # type: ignore[no-any-return]
        return (x - moments.mean) / (variance + self.epsilon) ** 0.5  # type: ignore[no-any-return]


class ByToken(Advantage):
    """An advantage of its own for every token: a function of token rewards [M]."""

    discount: Discount = 1.0
    """γ: 0 ignores the future."""
    baseline: Annotated[Raw | GroupMean | LeaveOneOut, Field(discriminator="kind"), Named] = Raw()
    """What a candidate's own utility is compared with before it is placed on its last token."""
    whiten: Whitening | None = None
    """Standardise over all tokens of the step."""

    @property
    def scale_free(self) -> bool:
        """Whether the scale of the utility is divided out."""
        return self.whiten is not None

    @property
    def batch_wide(self) -> bool:
        """Whether it is whitened."""
        return self.whiten is not None

    @abstractmethod
    def __call__(
        self,
        rewards: Float[Array, " M"],
        sequences: Groups,
        critic: Float[Array, " M"] | None = None,
    ) -> Float[Array, " M"]:
        """Advantages of token rewards, [M], before whitening."""

    def unscaled(self, pull: AnyPull, batch: Batch) -> Any:
        """Advantages [M] before whitening."""
        return self(rewards_of(self, pull, batch), batch.sequences, batch.critic)

    def of_batch(self, pull: AnyPull, batch: Batch) -> Any:
        """The mean over a candidate's tokens, [N], and advantages of every token, [M]."""
        tokens = self.unscaled(pull, batch)
        if self.whiten is not None:
            tokens = self.whiten(tokens, batch.totals.moments or Moments.of(tokens))
        return batch.sequences.mean(tokens), tokens


class ReturnToGo(ByToken):
    """A_t = Σ_{u≥t} γ^{u−t}·r_u: the utility on the last token, pulls on every token.

    REINFORCE++ is γ = 1, whitened, with k1 in the reward. Sampled on-policy distillation is the
    residual towards a teacher: γ = 0 is Σ_t E ∇KL(π_θ(·|s_t)‖π_T(·|s_t)) with the states held
    fixed, γ = 1 the reverse KL of whole sequences.

    Source: docs/equations.md A.17, A.18; REINFORCE++, 2501.03262 (equation return-to-go)
    """

    kind: Literal["return_to_go"] = "return_to_go"

    def __call__(self, rewards: Any, sequences: Groups, critic: Any = None) -> Any:  # noqa: ARG002
        """Discounted sums of what follows, before whitening."""
        return discounted(rewards, sequences, self.discount)


class Gae(ByToken):
    """Â_t = δ_t + γλ·Â_{t+1}, δ_t = r_t + γV_{t+1} − V_t, V = 0 after the last token.

    Tokens the policy did not choose are not here, so V and Â are carried across them. Truncated
    sequences also end in 0.

    Source: docs/equations.md A.6; Schulman et al., 1506.02438 (equation gae)
    """

    kind: Literal["gae"] = "gae"
    trace: Discount = 0.95
    """λ."""

    def __call__(self, rewards: Any, sequences: Groups, critic: Any = None) -> Any:
        """Â, before whitening.

        Raises:
            SpecError: There is no critic.
        """
        if critic is None:
            raise SpecError(
                "advantage gae needs a critic's value of every token and there is none. Add a "
                "critic, or use `return_to_go`, which needs none."
            )
        return gae(rewards, critic, sequences, self.discount, self.trace)[0]


class Critic(Spec):
    """V_t, trained on ½·mean_t max((V − R)², (clip(V, V_old ± clip) − R)²), R = Â + V_old.

    R comes from GAE before any whitening. The engine computes this loss.

    Source: docs/equations.md A.6; PPO, 1707.06347 (equation value-loss)
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


def gae(
    rewards: Float[Array, " M"],
    critic: Float[Array, " M"],
    sequences: Groups,
    discount: float,
    trace: float,
) -> tuple[Float[Array, " M"], Float[Array, " M"]]:
    """Generalised advantages Â and the critic's targets Â + V, [M], both before any whitening.

    Computed in float64. See `Gae` for the equation.

    Source: docs/equations.md A.6; Schulman et al., 1506.02438

    Args:
        rewards: r_t of every token.
        critic: V_t of the state before every token.
        sequences: Tokens in sequences.
        discount: γ in [0, 1].
        trace: λ in [0, 1].
    """
    values = to_numpy(critic).astype(np.float64)
    following = np.append(values[1:], 0.0)
    following[sequences.offsets[1:] - 1] = 0.0
    delta = to_numpy(rewards).astype(np.float64) + discount * following - values
    advantage = discounted(delta, sequences, discount * trace)
    return _like(advantage, rewards), _like(advantage + values, rewards)


def discounted(x: Float[Array, " M"], sequences: Groups, decay: float) -> Float[Array, " M"]:
    """y_t = x_t + decay·y_{t+1} within every sequence, [M], computed in float64.

    Source: docs/equations.md A.17
    """
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


if TYPE_CHECKING:
    AdvantageSpec = ByCandidate | ByToken
else:
    AdvantageSpec = Annotated[tagged(Advantage), Named]
"""Any advantage, by its ``kind``."""


def value_of(advantage: AdvantageSpec, pull: AnyPull, batch: Batch) -> Float[Array, " N"]:
    """The value an advantage compares, [N]: a residual, or utility or tilt less a KL penalty.

    Raises:
        DataError: A candidate is outside the target's support.
    """
    if isinstance(pull, Residual):
        return finite(pull.value(batch), batch)
    value = _bare(advantage, pull, batch)
    if isinstance(pull, KLPull) and pull.place == "reward":
        value = value - unit_of(advantage, batch) * pull.penalty(batch)
    return finite(value, batch)


def rewards_of(advantage: ByToken, pull: AnyPull, batch: Batch) -> Float[Array, " M"]:
    """Token rewards, [M]: the candidate's value on its last token, the pull on every token.

    Source: docs/equations.md A.6, A.17

    Raises:
        DataError: A candidate is outside the target's support.
    """
    value = advantage.baseline(finite(_bare(advantage, pull, batch), batch), batch.contexts)
    rewards: Any = on_last(value, batch.sequences)
    if isinstance(pull, Residual):
        rewards = rewards + pull.by_token(batch)
    if isinstance(pull, KLPull) and pull.place == "reward":
        rewards = rewards - unit_of(advantage, batch) * pull.by_token(batch)
    return rewards  # type: ignore[no-any-return]


def on_last(value: Float[Array, " N"], sequences: Groups) -> Float[Array, " M"]:
    """The value on the last token of its sequence and 0 elsewhere: [N] to [M]."""
    spread = sequences.spread(value)
    last = sequences.position == np.repeat(sequences.sizes, sequences.sizes) - 1
    xp = namespace(spread)
    return xp.where(constant_like(last, spread), spread, xp.zeros_like(spread))  # type: ignore[no-any-return]


def unit_of(advantage: AdvantageSpec, batch: Batch) -> float:
    """One nat in the units of the advantage's value: 1, or 1/η when that is the utility.

    Raises:
        SpecError: η is 0, or another one in every context.
    """
    if not advantage.scale_free:
        return 1.0
    if not batch.sharpness:
        have = "η = 0" if batch.sharpness == 0.0 else "another η for every prompt"
        raise SpecError(
            f"advantage {advantage.kind!r} with a KL pull weighs the pull by 1/η and the "
            f"target has {have}: there is no such weight. Use `group_mean`."
        )
    return 1.0 / batch.sharpness


def finite(value: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
    """The value, refused where it is not finite: no baseline can hold it.

    Raises:
        DataError: Naming the candidate.
    """
    xp = namespace(value)
    bad = ~xp.isfinite(value)
    if bool(xp.any(bad)):
        rows = np.flatnonzero(to_numpy(bad))
        context = int(batch.contexts.owner[rows[0]])
        raise DataError(
            f"the value of rollout {int(rows[0] - batch.contexts.offsets[context])} of prompt "
            f"{context} of {len(batch.contexts)} is {float(value[int(rows[0])])} ({rows.size} such "
            "values): a policy gradient has no finite push for a rollout outside the support. "
            "Give the constraint a finite penalty (a tilt), or use `weighted_regression`."
        )
    return value


def _bare(advantage: AdvantageSpec, pull: AnyPull, batch: Batch) -> Any:
    in_nats = isinstance(pull, Residual) or not advantage.scale_free
    return batch.tilt if in_nats else batch.value
