"""The two-anchor proximal target: Table 1 row 4."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import Spec, SpecError
from tod.targets.anchor import PolicyName
from tod.targets.by_eta import usable
from tod.targets.target import Target, Tilt

Coefficient = Annotated[FiniteFloat, Field(ge=0.0)]


class TwoAnchor(Spec):
    """q* ∝ π_old^{τ/s}·π_ref^{β/s}·exp(r/s), s = τ + β: the target of *one* proximal update.

    It is the optimiser of E_π r − τ·KL(π‖π_old) − β·KL(π‖π_ref). Iterated n times with π_old
    refreshed the sharpness is η_n = (1 − (τ/s)ⁿ)/β (with fixed point b_ref·exp(r/β)), or n/τ
    when β = 0. Source: framework section 2.3.
    """

    kind: Literal["two_anchor"] = "two_anchor"
    tau: Coefficient
    """Weight τ ≥ 0 of KL(π‖π_old), in units of the reward."""
    beta: Coefficient
    """Weight β ≥ 0 of KL(π‖π_ref), in units of the reward."""
    utility: str
    """Name of the reward r."""

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if self.tau + self.beta <= 0.0:
            raise ValueError(
                "tau + beta is 0: the target would be the argmax of the reward, which has no "
                "density. Give either a positive value"
            )
        usable(self.eta)
        return self

    @property
    def eta(self) -> float:
        """Sharpness of one update, 1/(τ + β)."""
        return 1.0 / (self.tau + self.beta)

    @property
    def target(self) -> Target:
        """The tilt of one update."""
        s = self.tau + self.beta
        weights: dict[PolicyName, float] = {"old": self.tau / s, "ref": self.beta / s}
        anchor = {name: rho for name, rho in weights.items() if rho > 0.0}
        return Target(anchor=anchor, tilts=(Tilt(utility=self.utility, eta=1.0 / s),))

    def iterated_eta(self, updates: int) -> float:
        """η_n of ``updates`` exact updates with π_old refreshed before each, started at π_ref."""
        if self.beta == 0.0:
            return updates / self.tau
        if self.tau == 0.0:
            return 1.0 / self.beta if updates > 0 else 0.0
        return -math.expm1(-updates * math.log1p(self.beta / self.tau)) / self.beta

    def knobs(self) -> dict[str, float]:
        """What a controller may turn."""
        return {"tau": self.tau, "beta": self.beta}

    def turned(self, knobs: dict[str, float]) -> Self:
        """Other coefficients; ``eta`` alone rescales both at a fixed τ:β, so that b stays."""
        if set(knobs) == {"eta"}:
            if not (knobs["eta"] > 0.0 and math.isfinite(knobs["eta"])):
                raise SpecError(f"eta = {knobs['eta']} is outside (0, ∞): τ + β = 1/η.")
            scale = self.eta / knobs["eta"]
            return self.revised(tau=self.tau * scale, beta=self.beta * scale)
        if set(knobs) <= {"tau", "beta"}:
            return self.revised(**knobs)
        raise SpecError(f"a two-anchor target is turned by tau, beta or eta, got {sorted(knobs)}.")
