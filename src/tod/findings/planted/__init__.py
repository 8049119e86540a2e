"""Planted runs: the truth is known, so that what findings say of them can be counted.

`FAULTS` and `HEALTHY` are tables of small functions over `World` and `Drawn`; `tod selftest` asks
every detector of each.
"""

from tod.findings.planted.faults import FAULTS as RUN_FAULTS
from tod.findings.planted.healthy import HEALTHY
from tod.findings.planted.outcomes import (
    OutcomeSummary,
    PlantedOutcome,
    ScenarioTally,
    outcome,
    summary,
    tallied,
)
from tod.findings.planted.scenario import Bounds, Planted, Scenario, Truth
from tod.findings.planted.trainer_faults import TRAINER_FAULTS

FAULTS: tuple[Scenario, ...] = RUN_FAULTS + TRAINER_FAULTS
"""Every planted fault: of rewards, texts, lengths and logs, then of the trainer's machinery."""

__all__ = [
    "FAULTS",
    "HEALTHY",
    "Bounds",
    "OutcomeSummary",
    "Planted",
    "PlantedOutcome",
    "Scenario",
    "ScenarioTally",
    "Truth",
    "outcome",
    "summary",
    "tallied",
]
