"""Losses of a pair: a better candidate, a worse one, their log-probs under policy and anchor.

Each has the paper's ``value`` and its ``slopes`` ∂/∂log π of either candidate (sums over tokens,
nats). δ = log π/b, Δ = δ⁺ − δ⁻; β = 1/(ηs) is the target's, never declared here.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import Field, FiniteFloat

from tod.base import Array, Spec, namespace

Positive = Annotated[FiniteFloat, Field(gt=0.0)]
Flip = Annotated[FiniteFloat, Field(ge=0.0, lt=0.5)]
Slopes = tuple[Any, Any]


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


class Dpo(Spec):
    """−log σ(βΔ). Hard labels have their optimum at infinity. Rafailov et al., 2305.18290."""

    kind: Literal["dpo"] = "dpo"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        return softplus(-p.beta * p.margin)

    def slopes(self, p: Pairs) -> Slopes:
        """−βσ(−βΔ) and its opposite."""
        return _both(-p.beta * sigmoid(-p.beta * p.margin))


class ConservativeDpo(Spec):
    """−(1−ε)log σ(βΔ) − ε log σ(−βΔ): labels flipped with probability ε; optimum σ(βΔ) = 1−ε."""

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


class RobustDpo(Spec):
    """[−(1−ε)log σ(βΔ) + ε log σ(−βΔ)]/(1−2ε): unbiased under flips.

    Unbounded below. Chowdhury et al., 2403.00409.
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


class Ipo(Spec):
    """(h − 1/(2β))², h = Δ or the difference of the per-token means. Azar et al., 2310.12036."""

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


class Hinge(Spec):
    """max(0, 1 − βΔ). SLiC with a reference, 2305.10425; RSO, 2309.06657."""

    kind: Literal["hinge"] = "hinge"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        x = 1 - p.beta * p.margin
        return namespace(x).where(x > 0, x, 0 * x)

    def slopes(self, p: Pairs) -> Slopes:
        """−β where βΔ < 1, else 0, and its opposite."""
        x = 1 - p.beta * p.margin
        return _both(namespace(x).where(x > 0, 0 * x - p.beta, 0 * x))


class SigmoidNorm(Spec):
    """−log σ(β(δ⁺/n⁺ − δ⁻/n⁻)): DPO of per-token means (TRL)."""

    kind: Literal["sigmoid_norm"] = "sigmoid_norm"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        return softplus(-p.beta * _per_token(p.delta, p.length))

    def slopes(self, p: Pairs) -> Slopes:
        """−βσ(−βh) over either length, and opposite."""
        slope = -p.beta * sigmoid(-p.beta * _per_token(p.delta, p.length))
        return slope / p.length[0], -slope / p.length[1]


class SimPo(Spec):
    """−log σ(c(ℓ⁺/n⁺ − ℓ⁻/n⁻) − γ): no anchor, so no tilt of one is its target. 2405.14734."""

    kind: Literal["simpo"] = "simpo"
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


class OrPo(Spec):
    """−ℓ⁺/n⁺ − λ log σ(o⁺ − o⁻), o = a − log(1 − e^a), a = ℓ/n: per-token odds.

    2403.07691. No anchor. The likelihood covers the response alone (TRL's covers the prompt too).
    """

    kind: Literal["orpo"] = "orpo"
    weight: Annotated[FiniteFloat, Field(ge=0.0)] = 0.1
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


class Exo(Spec):
    """KL([σ(βΔ), σ(−βΔ)] ‖ [1 − ε, ε]): reverse KL to smoothed labels. 2402.00856.

    ε = 0 would be +∞ everywhere and is refused.
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


class Nca(Spec):
    """−log σ(βδ⁺) − ½log σ(−βδ⁺) − ½log σ(−βδ⁻): holds absolute likelihoods. 2402.05369."""

    kind: Literal["nca"] = "nca"

    def value(self, p: Pairs) -> Any:
        """The loss."""
        up, down = p.beta * p.delta[0], p.beta * p.delta[1]
        return softplus(-up) + 0.5 * softplus(up) + 0.5 * softplus(down)

    def slopes(self, p: Pairs) -> Slopes:
        """β(½σ(βδ⁺) − σ(−βδ⁺)) and ½βσ(βδ⁻)."""
        up, down = p.beta * p.delta[0], p.beta * p.delta[1]
        return p.beta * (0.5 * sigmoid(up) - sigmoid(-up)), p.beta * 0.5 * sigmoid(down)


PairLoss = Dpo | ConservativeDpo | RobustDpo | Ipo | Hinge | SigmoidNorm | SimPo | OrPo | Exo | Nca


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
