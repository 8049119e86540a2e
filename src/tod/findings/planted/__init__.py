"""Planted runs: the truth is known, so that what findings say of them can be counted.

`FAULTS` and `HEALTHY` are tables of small functions over `World` and `Drawn`; `tod selftest` asks
every detector of each.
"""

from tod.findings.planted.faults import FAULTS
from tod.findings.planted.healthy import HEALTHY
from tod.findings.planted.outcomes import Outcome, OutcomeSummary, Tally, outcome, summary, tallied
from tod.findings.planted.scenario import Bounds, Planted, Scenario, Truth

__all__ = [
    "FAULTS",
    "HEALTHY",
    "Bounds",
    "Outcome",
    "OutcomeSummary",
    "Planted",
    "Scenario",
    "Tally",
    "Truth",
    "outcome",
    "summary",
    "tallied",
]
