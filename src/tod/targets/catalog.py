"""The catalog: the target families of the framework's Table 1 as constructors of one Target.

Every entry is a frozen spec with a ``target``; a controller reads its ``knobs`` and asks for it
``turned``. Nothing else about a target is decided here.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import Spec, SpecError
from tod.targets.target import PolicyName, Target, Tilt

Sharpness = Annotated[FiniteFloat, Field(ge=0.0)]
Anchor = Annotated[dict[PolicyName, FiniteFloat], Field(min_length=1)]
Coefficient = Annotated[FiniteFloat, Field(ge=0.0)]


def at_ref() -> dict[PolicyName, float]:
    """The usual anchor, b = π_ref."""
    return {"ref": 1.0}


class _ByEta(Spec):
    """A family whose one knob is its sharpness η."""

    eta: Sharpness
    """Sharpness η ≥ 0 (nats per unit of utility). 0 leaves the anchor."""

    def knobs(self) -> dict[str, float]:
        """What a controller may turn."""
        return {"eta": self.eta}

    def turned(self, knobs: dict[str, float]) -> Self:
        """The family at another sharpness."""
        if set(knobs) != {"eta"}:
            raise SpecError(f"this target is turned by 'eta' alone, got {sorted(knobs)}.")
        return self.revised(**knobs)


class ScalarReward(_ByEta):
    """q* ∝ b·exp(ηr): the KL-regularised reward tilt, η = 1/β of E[r] − β·KL(π‖b).

    Source: Table 1 row 1; Levine 2018; Ouyang et al. 2022.
    """

    kind: Literal["scalar_reward"] = "scalar_reward"
    utility: str
    """Name of the reward r."""
    anchor: Anchor = Field(default_factory=at_ref)
    """Exponents of the anchor b."""

    @property
    def target(self) -> Target:
        """The tilt."""
        return Target(anchor=self.anchor, tilts=(Tilt(utility=self.utility, eta=self.eta),))


class Verifier(_ByEta):
    """q* ∝ b·exp(ηU) with U ∈ {0, 1} or partial credit from a verifier.

    With base pass rate p the mass of passes is p·e^η/(1 − p + p·e^η); as η → ∞ it is b
    restricted to what passes. Source: Table 1 row 5.
    """

    kind: Literal["verifier"] = "verifier"
    utility: str
    """Name of the verifier's score."""
    anchor: Anchor = Field(default_factory=at_ref)
    """Exponents of the anchor b."""

    @property
    def target(self) -> Target:
        """The tilt."""
        return Target(anchor=self.anchor, tilts=(Tilt(utility=self.utility, eta=self.eta),))


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


TargetSpec = Annotated[Target | ScalarReward | Verifier | TwoAnchor, Field(discriminator="kind")]
