"""The verifier tilt, by sharpness or by selectivity: Table 1 row 5."""

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import SpecError
from tod.targets.anchor import Anchor, at_ref
from tod.targets.selectivity import Selectivity
from tod.targets.target import Sharpness, Target, TargetFamily, Tilt

__all__ = ["Verifier"]


class Verifier(TargetFamily):
    """q* ∝ b·exp(η·U) with U ∈ {0, 1} or partial credit from a verifier.

    With base pass rate p the mass of passes is p·e^η/(1 − p + p·e^η); as η → ∞ it is b
    restricted to what passes.

    Source: Table 1 row 5; docs/equations.md B.1 (equation verifier-target)
    """

    kind: Literal["verifier"] = "verifier"
    utility: str
    """Name of the verifier's score."""
    eta: Sharpness | None = None
    """Sharpness η ≥ 0; or give ``selectivity``."""
    selectivity: Annotated[FiniteFloat, Field(gt=0.0, lt=1.0)] | None = None
    """Mass s of passes under the target: η_c = logit s − logit p_c in every context, at least 0."""
    anchor: Anchor = Field(default_factory=at_ref)
    """The anchor b."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.eta is None) == (self.selectivity is None):
            raise ValueError("give either eta or selectivity: each fixes the sharpness")
        return self

    @property
    def target(self) -> Target:
        """The tilt of b by the score, with one η or with one per context."""
        if self.eta is not None:
            return Target(anchor=self.anchor, tilts=(Tilt(utility=self.utility, eta=self.eta),))
        fixed = {"utility": self.utility, "mass": self.selectivity}
        return Target(anchor=self.anchor, selectivity=Selectivity.parse(fixed))

    def knobs(self) -> dict[str, float]:
        """The sharpness, and nothing when a selectivity fixes it."""
        return {} if self.eta is None else {"eta": self.eta}

    def sharpened(self, eta: float) -> Self:
        """The family at another sharpness.

        Raises:
            SpecError: A selectivity fixes it.
        """
        if self.eta is None:
            raise SpecError("selectivity fixes η for every prompt: declare eta to turn it.")
        return self.revised(eta=eta)
