"""Preference: losses of better and worse candidates; credit is −∂L/∂log π on every token.

DPO and its family on pairs, KTO on single candidates. Which candidate is better is read off the
utility: 1 and 0 for chosen and rejected, or any score. A pair loss has the paper's ``value`` and
its ``slopes`` ∂/∂log π of either candidate (sums over tokens, nats). δ = log π/b, Δ = δ⁺ − δ⁻;
β = 1/(ηs) is the target's, never declared here.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Grid, Named, Spec, SpecError, constant_like, namespace, tagged, to_numpy
from tod.operators.batch import Batch, Credit, UpdateRule

__all__ = [
    "ConservativeDpo",
    "Dpo",
    "Exo",
    "Hinge",
    "Ipo",
    "Kto",
    "Nca",
    "OrPo",
    "Preference",
    "RobustDpo",
    "SigmoidNorm",
    "SimPo",
]

Positive = Annotated[FiniteFloat, Field(gt=0.0)]
Flip = Annotated[FiniteFloat, Field(ge=0.0, lt=0.5)]
Slopes = tuple[Any, Any]
Which = Literal["all", "best_worst"]
Weight = Annotated[FiniteFloat, Field(ge=0.0)]


@dataclass(frozen=True)
class Pairs:
    """What a pair loss may read, [P] each.

    Attributes:
        delta: (δ⁺, δ⁻), nats.
        log_pi: Summed log π of either, nats.
        length: Tokens of either.
        beta: 1/(ηs).
    """

    delta: tuple[Float[Array, " P"], Float[Array, " P"]]
    log_pi: tuple[Float[Array, " P"], Float[Array, " P"]]
    length: tuple[Float[Array, " P"], Float[Array, " P"]]
    beta: float

    @property
    def margin(self) -> Any:
        """Δ."""
        return self.delta[0] - self.delta[1]


class PairLoss(Spec):
    """A loss of a better and a worse candidate, and its slopes in their log-probs."""

    kind: str
    needs_anchors: ClassVar[bool] = True

    @abstractmethod
    def value(self, p: Pairs) -> Float[Array, " P"]:
        """The loss of every pair, as the paper states it."""

    @abstractmethod
    def slopes(self, p: Pairs) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        """∂/∂log π of the better and of the worse candidate, of every pair."""


class Dpo(PairLoss):
    """−log σ(βΔ). Hard labels have their optimum at infinity.

    Source: docs/equations.md A.4; Rafailov et al., 2305.18290 (equation dpo)
    """

    kind: Literal["dpo"] = "dpo"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        return softplus(-p.beta * p.margin)

    def slopes(self, p: Pairs) -> Slopes:
        """−βσ(−βΔ) and its opposite."""
        return _both(-p.beta * sigmoid(-p.beta * p.margin))


class ConservativeDpo(PairLoss):
    """−(1−ε)log σ(βΔ) − ε log σ(−βΔ): labels flipped with probability ε; optimum σ(βΔ) = 1−ε.

    Source: docs/equations.md A.4, cDPO (equation cdpo)
    """

    kind: Literal["cdpo"] = "cdpo"
    epsilon: Flip = 0.1
    """ε: probability that a label is flipped."""

    def value(self, p: Pairs) -> Any:
        """The loss."""
        x = p.beta * p.margin
        return (1 - self.epsilon) * softplus(-x) + self.epsilon * softplus(x)

    def slopes(self, p: Pairs) -> Slopes:
        """β(σ(βΔ) − (1 − ε)) and its opposite."""
        return _both(p.beta * (sigmoid(p.beta * p.margin) - (1 - self.epsilon)))


class RobustDpo(PairLoss):
    """[−(1−ε)log σ(βΔ) + ε log σ(−βΔ)]/(1−2ε): unbiased under flips.

    Unbounded below.

    Source: docs/equations.md A.4; Chowdhury et al., 2403.00409 (equation robust-dpo)
    """

    kind: Literal["robust_dpo"] = "robust_dpo"
    epsilon: Flip = 0.1
    """ε: probability that a label is flipped."""

    def value(self, p: Pairs) -> Any:
        """The loss."""
        x, e = p.beta * p.margin, self.epsilon
        return ((1 - e) * softplus(-x) - e * softplus(x)) / (1 - 2 * e)

    def slopes(self, p: Pairs) -> Slopes:
        """−β[(1−ε)σ(−βΔ) + εσ(βΔ)]/(1−2ε) and its opposite."""
        x, e = p.beta * p.margin, self.epsilon
        return _both(-p.beta * ((1 - e) * sigmoid(-x) + e * sigmoid(x)) / (1 - 2 * e))


class Ipo(PairLoss):
    """(h − 1/(2β))², h = Δ or the difference of the per-token means.

    Source: docs/equations.md A.4; Azar et al., 2310.12036 (equation ipo)
    """

    kind: Literal["ipo"] = "ipo"
    by_length: bool = True
    """h = δ⁺/n⁺ − δ⁻/n⁻ (TRL); false: h = Δ (the DPO repository, OpenRLHF)."""

    def value(self, p: Pairs) -> Any:
        """The loss."""
        return (self._h(p) - 1 / (2 * p.beta)) ** 2

    def slopes(self, p: Pairs) -> Slopes:
        """2(h − 1/(2β)) over either length, and opposite."""
        slope = 2 * (self._h(p) - 1 / (2 * p.beta))
        if not self.by_length:
            return _both(slope)
        return slope / p.length[0], -slope / p.length[1]

    def _h(self, p: Pairs) -> Any:
        return _per_token(p.delta, p.length) if self.by_length else p.margin


class Hinge(PairLoss):
    """max(0, 1 − βΔ): SLiC with a reference.

    Source: docs/equations.md A.4; SLiC, 2305.10425; RSO, 2309.06657 (equation hinge)
    """

    kind: Literal["hinge"] = "hinge"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        x = 1 - p.beta * p.margin
        return namespace(x).where(x > 0, x, 0 * x)

    def slopes(self, p: Pairs) -> Slopes:
        """−β where βΔ < 1, else 0, and its opposite."""
        x = 1 - p.beta * p.margin
        return _both(namespace(x).where(x > 0, 0 * x - p.beta, 0 * x))


class SigmoidNorm(PairLoss):
    """−log σ(β(δ⁺/n⁺ − δ⁻/n⁻)): DPO of per-token means.

    Source: docs/equations.md A.4, sigmoid_norm of TRL
    """

    kind: Literal["sigmoid_norm"] = "sigmoid_norm"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        return softplus(-p.beta * _per_token(p.delta, p.length))

    def slopes(self, p: Pairs) -> Slopes:
        """−βσ(−βh) over either length, and opposite."""
        slope = -p.beta * sigmoid(-p.beta * _per_token(p.delta, p.length))
        return slope / p.length[0], -slope / p.length[1]


class SimPo(PairLoss):
    """−log σ(c(ℓ⁺/n⁺ − ℓ⁻/n⁻) − γ): no anchor, so no tilt of one is its target.

    Source: docs/equations.md A.4; SimPO, 2405.14734 (equation simpo)
    """

    kind: Literal["simpo"] = "simpo"
    needs_anchors: ClassVar[bool] = False
    scale: Positive = 2.0
    """c: what the paper calls β; it multiplies log-probs, not a KL."""
    margin: FiniteFloat = 0.5
    """γ, absolute (the paper's repository gives γ/β)."""

    def value(self, p: Pairs) -> Any:
        """The loss."""
        return softplus(-self._x(p))

    def slopes(self, p: Pairs) -> Slopes:
        """−cσ(−x) over either length, and opposite."""
        slope = -self.scale * sigmoid(-self._x(p))
        return slope / p.length[0], -slope / p.length[1]

    def _x(self, p: Pairs) -> Any:
        return self.scale * _per_token(p.log_pi, p.length) - self.margin


class OrPo(PairLoss):
    """−ℓ⁺/n⁺ − λ log σ(o⁺ − o⁻), o = a − log(1 − e^a), a = ℓ/n: per-token odds.

    No anchor. The likelihood covers the response alone (TRL's covers the prompt too).

    Source: docs/equations.md A.4; ORPO, 2403.07691 (equation orpo)
    """

    kind: Literal["orpo"] = "orpo"
    needs_anchors: ClassVar[bool] = False
    weight: Weight = 0.1
    """λ."""

    def value(self, p: Pairs) -> Any:
        """The loss."""
        return -p.log_pi[0] / p.length[0] + self.weight * softplus(-self.log_odds_ratio(p))

    def slopes(self, p: Pairs) -> Slopes:
        """(−1 − λσ(−x)/(1 − e^{a⁺}))/n⁺ and λσ(−x)/(1 − e^{a⁻})/n⁻."""
        plus, minus = (log / n for log, n in zip(p.log_pi, p.length, strict=True))
        pull = self.weight * sigmoid(-self.log_odds_ratio(p))
        xp = namespace(plus)
        return (-1 + pull / xp.expm1(plus)) / p.length[0], -pull / xp.expm1(minus) / p.length[1]

    def log_odds_ratio(self, p: Pairs) -> Any:
        """o⁺ − o⁻."""
        plus, minus = (log / n for log, n in zip(p.log_pi, p.length, strict=True))
        return plus - log1mexp(plus) - minus + log1mexp(minus)


class Exo(PairLoss):
    """KL([σ(βΔ), σ(−βΔ)] ‖ [1 − ε, ε]): reverse KL to smoothed labels.

    ε = 0 would be +∞ everywhere and is refused.

    Source: docs/equations.md A.4; EXO, 2402.00856 (equation exo-pair)
    """

    kind: Literal["exo"] = "exo"
    epsilon: Annotated[FiniteFloat, Field(gt=0.0, lt=0.5)] = 1e-3
    """ε: label smoothing."""

    def value(self, p: Pairs) -> Any:
        """The loss."""
        x = p.beta * p.margin
        up, down = -softplus(-x) - math.log1p(-self.epsilon), -softplus(x) - math.log(self.epsilon)
        return sigmoid(x) * up + sigmoid(-x) * down

    def slopes(self, p: Pairs) -> Slopes:
        """βσ(βΔ)σ(−βΔ)(βΔ − log((1 − ε)/ε)) and its opposite."""
        x = p.beta * p.margin
        label = math.log1p(-self.epsilon) - math.log(self.epsilon)
        return _both(p.beta * sigmoid(x) * sigmoid(-x) * (x - label))


class Nca(PairLoss):
    """−log σ(βδ⁺) − ½log σ(−βδ⁺) − ½log σ(−βδ⁻): holds absolute likelihoods.

    Source: docs/equations.md A.4; NCA, 2402.05369 (equation nca-pair)
    """

    kind: Literal["nca"] = "nca"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        up, down = p.beta * p.delta[0], p.beta * p.delta[1]
        return softplus(-up) + 0.5 * softplus(up) + 0.5 * softplus(down)

    def slopes(self, p: Pairs) -> Slopes:
        """β(½σ(βδ⁺) − σ(−βδ⁺)) and ½βσ(βδ⁻)."""
        up, down = p.beta * p.delta[0], p.beta * p.delta[1]
        return p.beta * (0.5 * sigmoid(up) - sigmoid(-up)), p.beta * 0.5 * sigmoid(down)


class Kto(Spec):
    """λ_D(1 − σ(β(δ − z₀))) of desirable, λ_U(1 − σ(β(z₀ − δ))) of undesirable candidates.

    Unpaired; a candidate is desirable if its utility is at least ``threshold``. z₀ is an estimate
    of KL(π‖b) on mismatched prompts and answers, made once per step over all processes, max(0, ·),
    gradient stopped.

    Source: docs/equations.md A.4; Ethayarajh et al., 2402.01306 (equation kto)
    """

    kind: Literal["kto"] = "kto"
    needs_anchors: ClassVar[bool] = True
    desirable: Weight = 1.0
    """λ_D."""
    undesirable: Weight = 1.0
    """λ_U."""
    threshold: FiniteFloat = 1.0
    """Least utility of a desirable candidate."""
    reference_point: Weight | None = None
    """z₀ in nats, for every step; None reads the batch's."""

    def value(self, delta: Float[Array, " N"], batch: Batch) -> Float[Array, " N"]:
        """The loss of every candidate, [N], in [0, λ]."""
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


if TYPE_CHECKING:
    PreferenceLoss = PairLoss | Kto
else:
    PreferenceLoss = Annotated[tagged(PairLoss, Kto), Named]
"""Any loss of better and worse candidates, by its ``kind``."""


class Preference(UpdateRule):
    """Credit −∂L/∂log π(y_i) on every token of candidate i; L is a mean over contexts.

    Pair losses average over the pairs of a context first; KTO averages over candidates. A context
    without a better and a worse candidate (a tie, a singleton) gives a pair loss nothing and is
    still counted. The anchor b of the target is the reference; β = 1/(η·s) comes from the target,
    s being the noise scale of its choices.

    Source: TOD framework, section 4; docs/equations.md A.4
    """

    kind: Literal["preference"] = "preference"
    loss: PreferenceLoss = Dpo()
    """The loss."""
    pairs: Which = "all"
    """Pairs of a context with more than two candidates: all, or the best against the worst."""

    @property
    def needs_anchors(self) -> bool:
        """Whether credit reads anchor log-probs at all."""
        return self.loss.needs_anchors

    def credit(self, batch: Batch) -> Credit:
        """Credit of every token. See the class for the equation."""
        log_pi = batch.sequences.sum(batch.log_policy)
        delta = log_pi - self._log_base(batch) if self.needs_anchors else log_pi
        if isinstance(self.loss, Kto):
            slope: Any = self.loss.slope(delta, batch) / batch.totals.candidates
        else:
            grid = batch.contexts.pairs
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
        grid = batch.contexts.pairs
        each = self.loss.value(self._pairs(batch, grid, delta, log_pi))
        weighed = _weighed(each, pair_weights(batch, grid, self.pairs))
        return float(weighed.sum()) / batch.totals.contexts

    def _pairs(self, batch: Batch, grid: Grid, delta: Any, log_pi: Any) -> Pairs:
        length = batch.sequences.sizes_like(log_pi)
        beta = beta_of(batch) if self.needs_anchors else float("nan")
        delta, log_pi, length = ((x[grid.first], x[grid.second]) for x in (delta, log_pi, length))
        return Pairs(delta=delta, log_pi=log_pi, length=length, beta=beta)

    def _log_base(self, batch: Batch) -> Any:
        return batch.required(
            "log_base",
            f"preference loss {self.loss.kind!r} needs log b of every rollout and a part of the "
            "anchor was not recorded. Score the anchors, or use simpo or orpo.",
        )


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


def pair_weights(batch: Batch, grid: Grid, which: Which) -> Float[Array, " P"]:
    """1/(number of pairs of the context) where i is better than j, else 0.

    Every context counts once, and a context without a better and a worse one not at all.
    ``best_worst`` takes the first of the best and the last of the worst.
    """
    xp: Any = namespace(batch.value)
    better: Any = batch.value[grid.first] > batch.value[grid.second]
    if which == "best_worst":
        better = better & constant_like(_extremes(batch, grid), batch.value)
    one = xp.ones_like(batch.value[grid.first])
    chosen = xp.where(better, one, 0 * one)
    count = batch.contexts.sum(grid.rows.sum(chosen))
    share = batch.contexts.spread(
        xp.where(count > 0, 1 / xp.where(count > 0, count, count + 1), count)
    )
    return chosen * share[grid.first]  # type: ignore[no-any-return]


def _extremes(batch: Batch, grid: Grid) -> Any:
    """Pairs of the first of the best and the last of the worst of their context, [P]."""
    value, contexts = to_numpy(batch.value), batch.contexts
    best, worst = np.zeros(len(value), bool), np.zeros(len(value), bool)
    for a, b in zip(contexts.offsets[:-1], contexts.offsets[1:], strict=True):
        best[a + int(np.argmax(value[a:b]))] = True
        worst[b - 1 - int(np.argmin(value[a:b][::-1]))] = True
    return best[grid.first] & worst[grid.second]


def sigmoid(x: Any) -> Any:
    """σ(x) for any magnitude."""
    return 0.5 * (1.0 + namespace(x).tanh(0.5 * x))


def softplus(x: Any) -> Any:
    """log(1 + eˣ) = −log σ(−x) for any magnitude."""
    return namespace(x).logaddexp(x, 0 * x)


def log1mexp(a: Any) -> Any:
    """log(1 − eᵃ) of a < 0, by the branch that does not cancel (at −log 2)."""
    xp = namespace(a)
    near = a > -math.log(2.0)
    safe_near, safe_far = xp.where(near, a, 0 * a - 0.5), xp.where(near, 0 * a - 1.0, a)
    return xp.where(near, xp.log(-xp.expm1(safe_near)), xp.log1p(-xp.exp(safe_far)))


def _both(slope: Any) -> Slopes:
    return slope, -slope


def _per_token(x: tuple[Any, Any], length: tuple[Any, Any]) -> Any:
    return x[0] / length[0] - x[1] / length[1]
