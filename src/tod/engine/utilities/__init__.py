"""Utilities: what a completion is worth, by name or by a reward function of one's own."""

from tod.engine.utilities.scorer import Scorer, score
from tod.engine.utilities.utility_specs import (
    CountdownUtility,
    CustomUtility,
    ExactMatchUtility,
    LogLikelihoodUtility,
    MathVerifyUtility,
    OverlongUtility,
    ReasoningGymUtility,
    TextUtility,
    UtilitySpec,
)

__all__ = [
    "CountdownUtility",
    "CustomUtility",
    "ExactMatchUtility",
    "LogLikelihoodUtility",
    "MathVerifyUtility",
    "OverlongUtility",
    "ReasoningGymUtility",
    "Scorer",
    "TextUtility",
    "UtilitySpec",
    "score",
]
