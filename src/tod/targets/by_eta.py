"""What the families that are turned by one sharpness share."""

from typing import Annotated, Self

from pydantic import Field, FiniteFloat

from tod.base import Spec, SpecError

Sharpness = Annotated[FiniteFloat, Field(ge=0.0)]


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
