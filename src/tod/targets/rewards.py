"""Targets made from a reward: Table 1 rows 1, 2, 3 and 5."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import Spec, SpecError
from tod.targets.anchor import Anchor, at_ref
from tod.targets.by_eta import ByEta, Sharpness, only_eta, usable
from tod.targets.selectivity import Selectivity
from tod.targets.target import Target, Tilt

Positive = Annotated[FiniteFloat, Field(gt=0.0)]


class ScalarReward(ByEta):
    """q* ∝ b·exp(ηr): the KL-regularised reward tilt, η = 1/β of E[r] − β·KL(π‖b).

    Source: Table 1 row 1; Levine 2018; Ouyang et al. 2022.
    """

    kind: Literal["scalar_reward"] = "scalar_reward"
    utility: str
    """Name of the reward r."""
    anchor: Anchor = Field(default_factory=at_ref)
    """The anchor b."""

    @property
    def target(self) -> Target:
        """The tilt."""
        return Target(anchor=self.anchor, tilts=(Tilt(utility=self.utility, eta=self.eta),))


class Preference(Spec):
    """q* ∝ b·exp(ηr) with r the latent score of choices P(y₁ ≻ y₂) = σ((r₁ − r₂)/s), η = 1/(sβ).

    Choices identify only r/s, so the target that a preference loss with coefficient β fits is
    b·exp((r/s)/β). Source: Table 1 row 2; Bradley and Terry 1952; Rafailov et al., 2305.18290.
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
        """The tilt."""
        tilts = (Tilt(utility=self.utility, eta=self.eta),)
        return Target(anchor=self.anchor, tilts=tilts, noise_scale=self.noise_scale)

    def knobs(self) -> dict[str, float]:
        """What a controller may turn."""
        return {"eta": self.eta}

    def turned(self, knobs: dict[str, float]) -> Self:
        """The family at another sharpness: β = 1/(sη).

        Raises:
            SpecError: η is not positive and finite.
        """
        only_eta(knobs)
        if not (knobs["eta"] > 0.0 and math.isfinite(knobs["eta"])):
            raise SpecError(f"eta = {knobs['eta']} is outside (0, ∞): β = 1/(s·η).")
        return self.revised(beta=1.0 / (self.noise_scale * knobs["eta"]))


class MultiObjective(Spec):
    """q* ∝ b·exp(Σ_k η_k U_k)·1{constraints}: several utilities and hard constraints.

    Infeasible candidates have weight 0 but stay among the K. Standardise each U_k once, by fixed
    constants: per batch, η_k would change its meaning. Source: Table 1 row 3.
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
        """The tilt."""
        tilts = tuple(Tilt(utility=name, eta=eta) for name, eta in self.etas.items())
        return Target(anchor=self.anchor, tilts=tilts, support=self.constraints)

    def knobs(self) -> dict[str, float]:
        """What a controller may turn: the sum of the η_k."""
        return {"eta": sum(self.etas.values())}

    def turned(self, knobs: dict[str, float]) -> Self:
        """Another sum of the η_k, in the same proportions.

        Raises:
            SpecError: Every η_k is 0: there are no proportions.
        """
        only_eta(knobs)
        total = sum(self.etas.values())
        if total == 0.0:
            raise SpecError("every η_k is 0: there is nothing for eta to scale.")
        return self.revised(
            etas={name: eta * knobs["eta"] / total for name, eta in self.etas.items()}
        )


class Verifier(Spec):
    """q* ∝ b·exp(ηU) with U ∈ {0, 1} or partial credit from a verifier.

    With base pass rate p the mass of passes is p·e^η/(1 − p + p·e^η); as η → ∞ it is b
    restricted to what passes. Source: Table 1 row 5.
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
        """The tilt."""
        if self.selectivity is not None:
            wanted = Selectivity(utility=self.utility, mass=self.selectivity)
            return Target(anchor=self.anchor, selectivity=wanted)
        eta = 0.0 if self.eta is None else self.eta
        return Target(anchor=self.anchor, tilts=(Tilt(utility=self.utility, eta=eta),))

    def knobs(self) -> dict[str, float]:
        """What a controller may turn: η, and nothing when a selectivity fixes it."""
        return {} if self.eta is None else {"eta": self.eta}

    def turned(self, knobs: dict[str, float]) -> Self:
        """The family at another sharpness.

        Raises:
            SpecError: A selectivity fixes it.
        """
        only_eta(knobs)
        if self.eta is None:
            raise SpecError("selectivity fixes η in every context: declare eta to turn it.")
        return self.revised(**knobs)
