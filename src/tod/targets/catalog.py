"""The catalog: the target families of the framework's Table 1 as constructors of one Target.

Every entry is a frozen spec with a ``target``; a controller reads its ``knobs`` and asks for it
``turned``. Nothing else about a target is decided here.
"""

from typing import Annotated

from pydantic import Field

from tod.targets.given import Data, FiniteCandidates
from tod.targets.rewards import MultiObjective, Preference, ScalarReward, Verifier
from tod.targets.target import Target
from tod.targets.teacher import Teacher
from tod.targets.two_anchor import TwoAnchor

TargetSpec = Annotated[
    Target
    | ScalarReward
    | Preference
    | MultiObjective
    | TwoAnchor
    | Verifier
    | Teacher
    | FiniteCandidates
    | Data,
    Field(discriminator="kind"),
]
