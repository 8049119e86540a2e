"""The T wing: what a recipe aims at."""

from tod.targets.catalog import ScalarReward, TargetSpec, TwoAnchor, Verifier
from tod.targets.target import PolicyName, Target, Tilt

__all__ = ["PolicyName", "ScalarReward", "Target", "TargetSpec", "Tilt", "TwoAnchor", "Verifier"]
