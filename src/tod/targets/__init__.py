"""The T wing: what a recipe aims at."""

from tod.targets.anchor import Anchor, Mixture, PolicyName
from tod.targets.catalog import TargetSpec
from tod.targets.given import Data, FiniteCandidates
from tod.targets.rewards import MultiObjective, Preference, ScalarReward, Verifier
from tod.targets.selectivity import Selectivity
from tod.targets.target import Target, Tilt
from tod.targets.teacher import Teacher
from tod.targets.two_anchor import TwoAnchor

__all__ = [
    "Anchor",
    "Data",
    "FiniteCandidates",
    "Mixture",
    "MultiObjective",
    "PolicyName",
    "Preference",
    "ScalarReward",
    "Selectivity",
    "Target",
    "TargetSpec",
    "Teacher",
    "Tilt",
    "TwoAnchor",
    "Verifier",
]
