"""The adaptive regime controller: pure functions of an explicit state.

    state = initial(ArcConfig(), eta=4.0, steps=100)
    state, decision = step(config, state, summary, step=0)

One step reads a batch's summary and sets the knobs of the next batch: drift first, then sharpness,
then the operator. `replay` shows what it would have done on a run that was logged.
"""

from tod.arc.alarms import *
from tod.arc.authorise import *
from tod.arc.config import *
from tod.arc.controller import *
from tod.arc.decide import *
from tod.arc.initial import *
from tod.arc.state import *
