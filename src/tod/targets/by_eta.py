"""What the families that are turned by one sharpness share."""

import math
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from tod.base import Spec, SpecError

LARGEST = 1e9
"""Largest |η|: of log b + ηU float64 keeps 1e-7 nats of log b there, and loses it beyond."""


def usable(eta: float) -> float:
    """The sharpness itself.

    Raises:
        ValueError: It is not a number, or so large that log b would be lost in log b + ηU.
    """
    if abs(eta) <= LARGEST:
        return eta
    if math.isnan(eta):
        raise ValueError("eta is nan: give a finite number")
    raise ValueError(
        f"eta = {eta:g}: log b + ηU keeps log b in double precision up to |eta| = {LARGEST:g}, "
        f"which for utilities more than 1e-7 apart already is the limit η → ∞, b on the best "
        "utility. Use at most that, or weigh by `best` or `accepted`"
    )


AnyEta = Annotated[float, Field(allow_inf_nan=True), AfterValidator(usable)]
Sharpness = Annotated[AnyEta, Field(ge=0.0)]


class ByEta(Spec):
    """A family whose one knob is its sharpness η."""

    eta: Sharpness
    """Sharpness η ≥ 0 (nats per unit of utility). 0 leaves the anchor."""

    def knobs(self) -> dict[str, float]:
        """What a controller may turn."""
        return {"eta": self.eta}

    def turned(self, knobs: dict[str, float]) -> Self:
        """The family at another sharpness."""
        only_eta(knobs)
        return self.revised(**knobs)


def only_eta(knobs: dict[str, float]) -> None:
    """Refuse knobs other than ``eta``.

    Raises:
        SpecError: Naming them.
    """
    if set(knobs) != {"eta"}:
        raise SpecError(f"this target is turned by 'eta' alone, got {sorted(knobs)}.")
