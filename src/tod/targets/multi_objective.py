"""Several utilities and hard constraints: Table 1 row 3."""

from typing import Literal, Self

from pydantic import Field

from tod.base import SpecError
from tod.targets.anchor import Anchor, at_ref
from tod.targets.target import Sharpness, Target, TargetFamily, Tilt

__all__ = ["MultiObjective"]


class MultiObjective(TargetFamily):
    """q* ∝ b·exp(Σ_k η_k·U_k)·1{constraints}: several utilities and hard constraints.

    Infeasible candidates have weight 0 but stay among the K. Standardise each U_k once, by fixed
    constants: per batch, η_k would change its meaning.

    Source: Table 1 row 3; docs/equations.md B.3 (equation multi-objective-target)
    """

    kind: Literal["multi_objective"] = "multi_objective"
    etas: dict[str, Sharpness] = Field(min_length=1)
    """Sharpness η_k ≥ 0 of every utility; a penalty is a negative η_k of the general ``tilt``."""
    constraints: tuple[str, ...] = ()
    """Utilities that must be positive."""
    anchor: Anchor = Field(default_factory=at_ref)
    """The anchor b."""

    @property
    def target(self) -> Target:
        """The tilt of b by every utility, inside the constraints."""
        tilts = tuple(Tilt(utility=name, eta=eta) for name, eta in self.etas.items())
        return Target(anchor=self.anchor, tilts=tilts, support=self.constraints)

    def knobs(self) -> dict[str, float]:
        """The sum of the η_k."""
        return {"eta": sum(self.etas.values())}

    def sharpened(self, eta: float) -> Self:
        """Another sum of the η_k, in the same proportions.

        Raises:
            SpecError: Every η_k is 0: there are no proportions.
        """
        total = sum(self.etas.values())
        if total == 0.0:
            raise SpecError("every η_k is 0: there is nothing for eta to scale.")
        return self.revised(etas={name: now / total * eta for name, now in self.etas.items()})
