"""The triple (q*, (μ, A), D): where target, operator and diagnostics meet.

``procedure``: the triple, and which actions go with which targets. ``credit``: what the action sees
of candidates and gives every token. ``examine``: the diagnostics of a batch, the one place where a
batch is measured. ``particles``: weights of sequential Monte Carlo, its ESS and its normaliser.
"""

from tod.procedure.credit import *
from tod.procedure.examine import *
from tod.procedure.legs import *
from tod.procedure.particles import *
from tod.procedure.procedure import *
from tod.procedure.statistics import *
