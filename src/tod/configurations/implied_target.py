"""The target that a configuration implies for given candidates, η_c of z-scored runs included."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from jaxtyping import Float

from tod.atlas.law import Law
from tod.base import Array, Groups, namespace
from tod.candidates import Candidates
from tod.targets import Target, Tilt

STANDARDISED = "/std"
"""Suffix of the utility that a z-scored run tilts by."""


@dataclass(frozen=True)
class EtaRule:
    """The sharpness a configuration implies: η, or η_c = η/(σ_c + ε) where rewards are z-scored.

    Attributes:
        eta: 1/β, nats per unit of the reward, or of the standardised reward.
        scale: What the reward is divided by.
        epsilon: Added to σ.
        ddof: Divisor of the variance is K − ddof.
    """

    eta: float
    scale: Literal["constant", "group_std", "batch_std"] = "constant"
    epsilon: float = 0.0
    ddof: int = 1

    def etas(self, utility: Float[Array, " N"], contexts: Groups) -> Float[Array, " C"]:
        """η of every context, [C], nats per unit of the utility; 0 where all values are equal."""
        return self.eta * self._inverse(utility, contexts)  # type: ignore[no-any-return]

    def standardised(self, utility: Float[Array, " N"], contexts: Groups) -> Float[Array, " N"]:
        """U/(σ + ε), [N]: what η multiplies; not centred, for a constant per context cancels."""
        return utility * contexts.spread(self._inverse(utility, contexts))  # type: ignore[no-any-return]

    def _inverse(self, utility: Any, contexts: Groups) -> Any:
        xp: Any = namespace(utility)
        size = contexts.sizes_like(utility)
        one = xp.ones_like(size)
        if self.scale == "constant":
            return one
        flat = contexts.max(utility) == contexts.min(utility)
        if self.scale == "batch_std":
            spread = one * xp.std(utility, correction=self.ddof)
        else:
            centred = utility - contexts.spread(contexts.mean(utility))
            freedom = xp.where(size > self.ddof, size - self.ddof, one)
            spread = (contexts.sum(centred * centred) / freedom) ** 0.5
        return xp.where(flat, 0 * one, one / xp.where(flat, one, spread + self.epsilon))


@dataclass(frozen=True)
class Implied:
    """The target a configuration implies for given candidates.

    Attributes:
        target: q*; tilts by ``<utility>/std`` where the run z-scores.
        candidates: The candidates, with that utility added.
        etas: η of every context, [C]; None where it is one number.
    """

    target: Target
    candidates: Candidates
    etas: Any = None


def implied(target: Target, rule: EtaRule | None, candidates: Candidates) -> Implied:
    """The target over these candidates: q* of one update, with η_c from their own σ_c if z-scored.

    The reward is taken from the only utility if the target's name is not among the candidates'.

    Raises:
        DataError: The target's utility is missing and there are several others.
    """
    target = _renamed(target, candidates)
    if rule is None or rule.scale == "constant" or len(target.tilts) != 1:
        return Implied(target, candidates)
    name, eta = target.tilts[0].utility, target.tilts[0].eta
    value = candidates.utilities(name)
    added = {
        **candidates.utility,
        name + STANDARDISED: rule.standardised(value, candidates.contexts),
    }
    tilt = Tilt(utility=name + STANDARDISED, eta=eta)
    return Implied(
        target.revised(tilts=(tilt,)),
        replace(candidates, utility=added),
        replace(rule, eta=eta).etas(value, candidates.contexts),
    )


def rule_of(law: Law) -> EtaRule | None:
    """The implied sharpness of a law with one utility."""
    if law.shape not in ("exponential", "rational") or len(law.etas) != 1:
        return None
    (eta,) = law.etas.values()
    return EtaRule(eta=eta, scale=law.scale, epsilon=law.epsilon)


def _renamed(target: Target, candidates: Candidates) -> Target:
    """The target reading the candidates' only utility where its own name is not there."""
    there = tuple(candidates.utility)
    if len(there) != 1 or len(target.tilts) != 1 or target.tilts[0].utility in there:
        return target
    return target.revised(tilts=(Tilt(utility=there[0], eta=target.tilts[0].eta),))
