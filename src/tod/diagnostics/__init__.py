"""Diagnostics D: what a batch's importance weights say per context, and what they cannot see.

    log_w = np.array([0.0, -0.5, -1.2, -3.0])     # log q*/μ of four candidates of one context, nats
    ess(log_w, Groups.equal(1, 4))                # [2.62]: of four candidates 2.6 count

Every statistic is a function of flat arrays [N] and of `Groups`, candidates in contexts, and
answers per context [C]; a number that is not defined is NaN, and None in a record. ``ess``,
``tails``, ``overlap``, ``path``, ``coverage``, ``pareto``, ``drift``, ``finite_k``, ``diversity``
and ``activation`` hold the equations, one idea a file. ``kernel`` computes those of the weights in
one pass, `measure` all of a batch, and `Diagnostics.summary` makes one record of them.
"""

from tod.diagnostics.activation import *
from tod.diagnostics.classes import *
from tod.diagnostics.coverage import *
from tod.diagnostics.diversity import *
from tod.diagnostics.drift import *
from tod.diagnostics.ess import *
from tod.diagnostics.finite_k import *
from tod.diagnostics.gap_profile import *
from tod.diagnostics.kernel import *
from tod.diagnostics.measure import *
from tod.diagnostics.overlap import *
from tod.diagnostics.pareto import *
from tod.diagnostics.path import *
from tod.diagnostics.probe import *
from tod.diagnostics.quantiles import *
from tod.diagnostics.shards import *
from tod.diagnostics.sketch import *
from tod.diagnostics.summary import *
from tod.diagnostics.sync import *
from tod.diagnostics.sync_words import *
from tod.diagnostics.tails import *
