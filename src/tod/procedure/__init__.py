"""The triple (q*, (μ, A), D): where target, operator and diagnostics meet.

``procedure``: the triple, and which actions go with which targets. ``credit``: what the action sees
of candidates and gives every token. ``examine``: the diagnostics of a batch, the one place where a
batch is measured.
"""

from tod.procedure.credit import batch_of, credit, pool_of, totals_of, utility_value
from tod.procedure.examine import (
    Declared,
    Examined,
    Weights,
    examine,
    measured_at,
    steps_of,
    weigh,
    weights_at,
)
from tod.procedure.procedure import Procedure, check_compatible, log_weights, pulled_names

__all__ = [
    "Declared",
    "Examined",
    "Procedure",
    "Weights",
    "batch_of",
    "check_compatible",
    "credit",
    "examine",
    "log_weights",
    "measured_at",
    "pool_of",
    "pulled_names",
    "steps_of",
    "totals_of",
    "utility_value",
    "weigh",
    "weights_at",
]
