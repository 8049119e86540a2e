"""The adaptive regime controller: pure functions of an explicit state.

    state = initial(ArcConfig(), eta=4.0, steps=100)
    state, decision = step(config, state, summary, step=0)

One step reads a batch's summary and sets the knobs of the next batch: drift first, then sharpness,
then the operator. `replay` shows what it would have done on a run that was logged.
"""

from tod.arc.config import ArcConfig, check_connected
from tod.arc.controller import replay, step
from tod.arc.initial import initial, linear_ramp
from tod.arc.knobs import scale_anchors, weigh_reference
from tod.arc.state import Action, ArcState, BoundCheck, Decision

__all__ = [
    "Action",
    "ArcConfig",
    "ArcState",
    "BoundCheck",
    "Decision",
    "check_connected",
    "initial",
    "linear_ramp",
    "replay",
    "scale_anchors",
    "step",
    "weigh_reference",
]
