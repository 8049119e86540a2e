"""What recorded rollouts say about a run: a reading and a target in, a diagnosis or a plan out."""

from tod.diagnosis.diagnosis import Diagnosis, Shown, diagnose
from tod.diagnosis.plan import Plan, plan
from tod.diagnosis.run_verdict import RunVerdict, verdict_of_run
from tod.diagnosis.target import parse_target

__all__ = [
    "Diagnosis",
    "Plan",
    "RunVerdict",
    "Shown",
    "diagnose",
    "parse_target",
    "plan",
    "verdict_of_run",
]
