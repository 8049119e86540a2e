"""What went wrong in a training run, and when: findings from its rollouts and metric logs.

A `TrainingRun` holds figures by training step (`Series`) and, where they were recorded, the
`RolloutTable` themselves. `find` asks every detector of it:

    rollouts = rollouts_of(tod.read("rollouts/"))
    found = find(TrainingRun(rollouts=rollouts))
    found.first.headline   # "Learning stopped at step 9: every answer to every prompt fails."

Change is no fault: learning is a change. A finding is a bound that a person cares about, exceeded
by its confidence limit; fits of change points only date what has passed that gate.
"""

from tod.findings.finding import Cause, Finding, Onset, Remedy, Severity
from tod.findings.findings import Findings, find
from tod.findings.rollouts_of import gaps_of, rollouts_of
from tod.findings.run import RolloutTable, Series, TrainingRun
from tod.findings.run_of import run_of

__all__ = [
    "Cause",
    "Finding",
    "Findings",
    "Onset",
    "Remedy",
    "RolloutTable",
    "Series",
    "Severity",
    "TrainingRun",
    "find",
    "gaps_of",
    "rollouts_of",
    "run_of",
]
