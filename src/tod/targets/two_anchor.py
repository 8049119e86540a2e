"""The two-anchor proximal target: Table 1 row 4."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import SpecError
from tod.targets.anchor import PolicyName
from tod.targets.target import Target, TargetFamily, Tilt, usable

__all__ = ["TwoAnchor"]

Coefficient = Annotated[FiniteFloat, Field(ge=0.0)]


class TwoAnchor(TargetFamily):
    """q* ∝ π_old^{τ/s}·π_ref^{β/s}·exp(r/s), s = τ + β: the target of *one* proximal update.

    It is the optimiser of E_π r − τ·KL(π‖π_old) − β·KL(π‖π_ref). Its sharpness is η = 1/s.

    Source: Table 1 row 4; TOD framework, section 2.3; docs/equations.md B.2
    (equation two-anchor-target)
    """

    kind: Literal["two_anchor"] = "two_anchor"
    tau: Coefficient
    """Weight τ ≥ 0 of KL(π‖π_old), in units of the reward."""
    beta: Coefficient
    """Weight β ≥ 0 of KL(π‖π_ref), in units of the reward."""
    utility: str
    """Name of the reward r."""

    @model_validator(mode="before")
    @classmethod
    def _no_eta(cls, data: Any) -> Any:
        """Say how τ and β make η where η itself is written."""
        if isinstance(data, dict) and "eta" in data:
            raise ValueError(_how_eta(data))
        return data

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
        """The tilt of one update; an anchor of weight 0 is left out."""
        s = self.tau + self.beta
        weights: dict[PolicyName, float] = {"old": self.tau / s, "ref": self.beta / s}
        anchor = {name: rho for name, rho in weights.items() if rho > 0.0}
        return Target(anchor=anchor, tilts=(Tilt(utility=self.utility, eta=1.0 / s),))

    def iterated_eta(self, updates: int) -> float:
        """The sharpness η_n of n exact updates from π_ref with π_old refreshed before each.

        η_n = (1 − (τ/s)ⁿ)/β, with fixed point b_ref·exp(r/β); n/τ where β = 0, which has none.

        Source: docs/equations.md B.2, iterated (equation iterated-sharpness)

        Args:
            updates: n ≥ 0.
        """
        if self.beta == 0.0:
            return updates / self.tau
        if self.tau == 0.0:
            return 1.0 / self.beta if updates > 0 else 0.0
        return -math.expm1(-updates * math.log1p(self.beta / self.tau)) / self.beta

    def knobs(self) -> dict[str, float]:
        """Both coefficients."""
        return {"tau": self.tau, "beta": self.beta}

    def sharpened(self, eta: float) -> Self:
        """Both coefficients rescaled at a fixed τ:β, so that b stays.

        Raises:
            SpecError: η is not positive and finite.
        """
        if not (eta > 0.0 and math.isfinite(eta)):
            raise SpecError(f"eta = {eta} is outside (0, ∞): τ + β = 1/η.")
        scale = self.eta / eta
        return self.revised(tau=self.tau * scale, beta=self.beta * scale)

    def turned(self, knobs: dict[str, float]) -> Self:
        """Other coefficients, by ``tau`` and ``beta`` or by ``eta`` alone.

        Raises:
            SpecError: There is no such knob, or its value is out of range.
        """
        if set(knobs) == {"eta"}:
            return self.sharpened(knobs["eta"])
        if set(knobs) <= {"tau", "beta"}:
            return self.revised(**knobs)
        raise SpecError(f"a two-anchor target is turned by tau, beta or eta, got {sorted(knobs)}.")


def _how_eta(data: dict[str, Any]) -> str:
    """That a two-anchor target has no η, and which τ and β make the one that was asked for."""
    said = "a two_anchor target has no eta of its own: eta = 1/(tau + beta)"
    try:
        eta, tau, beta = (float(data[name]) for name in ("eta", "tau", "beta"))
        now, scale = 1.0 / (tau + beta), 1.0 / ((tau + beta) * eta)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return f"{said}. Give tau and beta"
    if not eta > 0.0:
        return f"{said}, above 0. Give tau and beta"
    return (
        f"{said}, here {now:g}. For eta = {eta:g} at the same tau:beta give "
        f"tau={tau * scale:g} beta={beta * scale:g}"
    )
