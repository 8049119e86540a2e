"""Targets q*: what a recipe aims at, one file a row of the framework's Table 1.

Every family makes a `Target`, q* ∝ b·exp(Σ_k η_k·U_k), of which everything else is read:

>>> import numpy as np
>>> from tod.base import Groups
>>> from tod.candidates import Candidates
>>> from tod.targets import TwoAnchor
>>> family = TwoAnchor(tau=0.15, beta=0.05, utility="correct")
>>> print(family.target)
q* ∝ π_old^0.75·π_ref^0.25·exp(5·correct)
>>> two = Candidates(
...     Groups.equal(1, 2),
...     {"correct": np.array([1.0, 0.0])},
...     log_mu=np.log([0.1, 0.9]),
...     log_anchor={"old": np.log([0.1, 0.9]), "ref": np.log([0.2, 0.8])},
... )
>>> two.contexts.softmax(family.target.log_weights(two)).round(3)
array([0.995, 0.005])

To add a family, put a file here that defines a subclass of `TargetFamily` with its own ``kind``.
`TargetSpec`, the union that configurations are parsed by, is made of all of them.
"""

from typing import TYPE_CHECKING

from tod.base import load_all, tagged
from tod.targets.anchor import *
from tod.targets.data import *
from tod.targets.finite_candidates import *
from tod.targets.multi_objective import *
from tod.targets.preference_target import *
from tod.targets.scalar_reward import *
from tod.targets.selectivity import *
from tod.targets.target import *
from tod.targets.teacher import *
from tod.targets.two_anchor import *
from tod.targets.verifier import *

load_all(__name__, __path__)

if TYPE_CHECKING:
    TargetSpec = TargetFamily
else:
    TargetSpec = tagged(TargetFamily)
"""Any target family, told apart by its ``kind``."""
