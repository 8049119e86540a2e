"""The data target of supervised fine-tuning: Table 2 row 1."""

from typing import Literal, Self

from tod.base import SpecError
from tod.targets.target import Target, TargetFamily

__all__ = ["Data"]


class Data(TargetFamily):
    """q* = q̂_data: the explicit target of supervised fine-tuning, b = q̂_data and η = 0.

    The data are the draws, so μ = b and every candidate weighs the same. The other lens of SFT is
    `scalar_reward` with U = log p, p a model of the data (the engine's ``log_likelihood``), and
    the flat anchor ``{ref: 0.0}``: at η = 1 that is q* = p.

    Source: Table 2 row 1; docs/equations.md A.1 (equation data-target)
    """

    kind: Literal["data"] = "data"

    @property
    def target(self) -> Target:
        """The anchor alone."""
        return Target(anchor={"mu": 1.0})

    def knobs(self) -> dict[str, float]:
        """Nothing may be turned."""
        return {}

    def sharpened(self, eta: float) -> Self:
        """No data target has a sharpness.

        Raises:
            SpecError: Always.
        """
        raise SpecError(f"a data target has no knob, got eta = {eta}.")
