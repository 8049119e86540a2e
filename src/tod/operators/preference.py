"""Preference: losses of better and worse candidates; credit is −∂L/∂log π on every token.

DPO and its family on pairs, KTO on single candidates. Which candidate is better is read off the
utility: 1 and 0 for chosen and rejected, or any score.
"""

from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Named, Spec, SpecError, namespace
from tod.operators.batch import Batch, Credit
from tod.operators.pair_losses import Dpo, OrPo, PairLoss, Pairs, SimPo, sigmoid
from tod.operators.pairs import Grid, Which, pair_weights

Weight = Annotated[FiniteFloat, Field(ge=0.0)]


class Kto(Spec):
    """λ_D(1 − σ(β(δ − z₀))) of desirable, λ_U(1 − σ(β(z₀ − δ))) of undesirable candidates.

    Unpaired; a candidate is desirable if its utility is at least ``threshold``. z₀ is an estimate
    of KL(π‖b) on mismatched prompts and answers, made once per step over all processes, max(0, ·),
    gradient stopped. Source: Ethayarajh et al., 2402.01306.
    """

    kind: Literal["kto"] = "kto"
    desirable: Weight = 1.0
    """λ_D."""
    undesirable: Weight = 1.0
    """λ_U."""
    threshold: FiniteFloat = 1.0
    """Least utility of a desirable candidate."""
    reference_point: Weight | None = None
    """z₀ in nats, for every step; None reads the batch's."""

    def value(self, delta: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
        """The loss of every candidate, nats of nothing: in [0, λ]."""
        sign, weight = self._side(batch)
        return weight * sigmoid(-sign * self._x(delta, batch))  # type: ignore[no-any-return]

    def slope(self, delta: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
        """∓λβσ(x)σ(−x), x = β(δ − z₀): down the loss for either side."""
        sign, weight = self._side(batch)
        x = self._x(delta, batch)
        return -sign * weight * beta_of(batch) * sigmoid(x) * sigmoid(-x)  # type: ignore[no-any-return]

    def _side(self, batch: Batch) -> tuple[Any, Any]:
        xp, good = namespace(batch.value), batch.value >= self.threshold
        one = xp.ones_like(batch.value)
        return xp.where(good, one, -one), xp.where(
            good, self.desirable * one, self.undesirable * one
        )

    def _x(self, delta: Any, batch: Batch) -> Any:
        z0 = self.reference_point if self.reference_point is not None else batch.reference_point
        if z0 is None:
            raise SpecError(
                "kto needs the reference point z₀ and the batch carries none. Estimate it on "
                "mismatched prompts and answers, or declare `reference_point: 0`."
            )
        return beta_of(batch) * (delta - z0)


PreferenceLoss = Annotated[PairLoss | Kto, Field(discriminator="kind"), Named]


class Preference(Spec):
    """Credit −∂L/∂log π(y_i) on every token of candidate i; L is a mean over contexts.

    Pair losses average over the pairs of a context first; KTO averages over candidates. A context
    without a better and a worse candidate (a tie, a singleton) gives a pair loss nothing and is
    still counted. The anchor b of the target is the reference; β = 1/(η·s) comes from the target,
    s being the noise scale of its choices.
    """

    kind: Literal["preference"] = "preference"
    loss: PreferenceLoss = Dpo()
    """The loss."""
    pairs: Which = "all"
    """Pairs of a context with more than two candidates: all, or the best against the worst."""

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return not isinstance(self.loss, SimPo | OrPo)

    def credit(self, batch: Batch) -> Credit:
        """Credit of every token. See the class for the equation."""
        log_pi = batch.sequences.sum(batch.log_policy)
        delta = log_pi - self._log_base(batch) if self.needs_anchors else log_pi
        if isinstance(self.loss, Kto):
            slope: Any = self.loss.slope(delta, batch) / batch.totals.candidates
        else:
            grid = Grid.of(batch.contexts)
            weight = pair_weights(batch, grid, self.pairs)
            p = self._pairs(batch, grid, delta, log_pi)
            plus, minus = (_weighed(slope, weight) for slope in self.loss.slopes(p))
            slope = grid.add_up(plus, minus) / batch.totals.contexts
        return Credit(batch.sequences.spread(-slope), None, None, -slope)

    def value(self, batch: Batch) -> float:
        """The loss of these candidates, as the paper states it."""
        log_pi = batch.sequences.sum(batch.log_policy)
        delta = log_pi - self._log_base(batch) if self.needs_anchors else log_pi
        if isinstance(self.loss, Kto):
            values: Any = self.loss.value(delta, batch)
            return float(values.sum()) / batch.totals.candidates
        grid = Grid.of(batch.contexts)
        each = self.loss.value(self._pairs(batch, grid, delta, log_pi))
        weighed = _weighed(each, pair_weights(batch, grid, self.pairs))
        return float(weighed.sum()) / batch.totals.contexts

    def _pairs(self, batch: Batch, grid: Grid, delta: Any, log_pi: Any) -> Pairs:
        length = batch.sequences.sizes_like(log_pi)
        beta = beta_of(batch) if self.needs_anchors else float("nan")
        at = (grid.first, grid.second)
        return Pairs(
            delta=(delta[at[0]], delta[at[1]]),
            log_pi=(log_pi[at[0]], log_pi[at[1]]),
            length=(length[at[0]], length[at[1]]),
            beta=beta,
        )

    def _log_base(self, batch: Batch) -> Any:
        if batch.log_base is None:
            raise SpecError(
                f"preference loss {self.loss.kind!r} needs log b of every candidate and a part of "
                "the anchor was not recorded. Score the anchors, or use simpo or orpo."
            )
        return batch.log_base


def _weighed(x: Any, weight: Any) -> Any:
    """Weight · x, and 0 where the weight is 0 even if x is not finite there."""
    xp = namespace(weight)
    return xp.where(weight > 0, x, xp.zeros_like(weight)) * weight


def beta_of(batch: Batch) -> float:
    """β = 1/(η·s).

    Raises:
        SpecError: η is 0, or another one in every context.
    """
    if not batch.sharpness:
        raise SpecError(
            f"a preference loss has β = 1/(η·s) and the target's η is {batch.sharpness}: give the "
            "target one positive sharpness."
        )
    return 1.0 / (batch.sharpness * batch.noise_scale)
