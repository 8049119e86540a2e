"""The scalar reward tilt: Table 1 row 1."""

from typing import Literal

from pydantic import Field

from tod.targets.anchor import Anchor, at_ref
from tod.targets.target import ByEta, Target, Tilt

__all__ = ["ScalarReward"]


class ScalarReward(ByEta):
    """q* ∝ b·exp(η·r): the KL-regularised reward tilt, η = 1/β of E[r] − β·KL(π‖b).

    Source: Table 1 row 1; docs/equations.md B.1; Levine 2018; Ouyang et al. 2022
    (equation scalar-reward-target)
    """

    kind: Literal["scalar_reward"] = "scalar_reward"
    utility: str
    """Name of the reward r."""
    anchor: Anchor = Field(default_factory=at_ref)
    """The anchor b."""

    @property
    def target(self) -> Target:
        """The tilt of b by r."""
        return Target(anchor=self.anchor, tilts=(Tilt(utility=self.utility, eta=self.eta),))
