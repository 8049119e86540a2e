"""The preference-induced tilt: Table 1 row 2."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import SpecError
from tod.targets.anchor import Anchor, at_ref
from tod.targets.target import Target, TargetFamily, Tilt, usable

__all__ = ["PreferenceTarget"]

Positive = Annotated[FiniteFloat, Field(gt=0.0)]


class PreferenceTarget(TargetFamily):
    """q* ∝ b·exp(η·r) with r the latent score of choices P(y₁ ≻ y₂) = σ((r₁ − r₂)/s), η = 1/(sβ).

    Choices identify only r/s, so the target that a preference loss with coefficient β fits is
    b·exp((r/s)/β).

    Source: Table 1 row 2; docs/equations.md B.1; Bradley and Terry 1952; Rafailov et al.,
    2305.18290
    (equation preference-target)
    """

    kind: Literal["preference"] = "preference"
    utility: str
    """Name of the latent score r; for bare pairs, 1 for the chosen and 0 for the other."""
    beta: Positive
    """β > 0 of the preference loss, and of KL(π‖b) in units of r/s."""
    noise_scale: Positive = 1.0
    """s > 0: scale of the noise in the choices, in units of r."""
    anchor: Anchor = Field(default_factory=at_ref)
    """The anchor b."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        underflows = self.noise_scale * self.beta == 0.0
        usable(math.inf if underflows else self.eta)
        return self

    @property
    def eta(self) -> float:
        """Sharpness 1/(sβ)."""
        return 1.0 / (self.noise_scale * self.beta)

    @property
    def target(self) -> Target:
        """The tilt of b by r, with the noise scale that preference losses read."""
        tilts = (Tilt(utility=self.utility, eta=self.eta),)
        return Target(anchor=self.anchor, tilts=tilts, noise_scale=self.noise_scale)

    def knobs(self) -> dict[str, float]:
        """The sharpness."""
        return {"eta": self.eta}

    def sharpened(self, eta: float) -> Self:
        """The family at another sharpness: β = 1/(sη).

        Raises:
            SpecError: η is not positive and finite.
        """
        if not (eta > 0.0 and math.isfinite(eta)):
            raise SpecError(f"eta = {eta} is outside (0, ∞): β = 1/(s·η).")
        return self.revised(beta=1.0 / (self.noise_scale * eta))
