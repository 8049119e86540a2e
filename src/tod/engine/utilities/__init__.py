"""Utilities: what a completion is worth, by name or by a reward function of one's own."""

from tod.engine.utilities.scorer import Scorer, score
from tod.engine.utilities.specs import (
    CountdownUtility,
    CustomUtility,
    ExactMatchUtility,
    MathVerifyUtility,
    OverlongUtility,
    ReasoningGymUtility,
    UtilitySpec,
)

__all__ = [
    "CountdownUtility",
    "CustomUtility",
    "ExactMatchUtility",
    "MathVerifyUtility",
    "OverlongUtility",
    "ReasoningGymUtility",
    "Scorer",
    "UtilitySpec",
    "score",
]
