"""The adaptive regime controller: pure functions of an explicit state."""

from tod.arc.config import ArcConfig
from tod.arc.connected import check_connected
from tod.arc.controller import step
from tod.arc.initial import initial, linear_ramp
from tod.arc.replay import replay
from tod.arc.state import Action, ArcState, Comparison, Decision

__all__ = [
    "Action",
    "ArcConfig",
    "ArcState",
    "Comparison",
    "Decision",
    "check_connected",
    "initial",
    "linear_ramp",
    "replay",
    "step",
]
