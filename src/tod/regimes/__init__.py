"""Regimes: where the choice of operator matters, why, and what to turn."""

from tod.regimes.anchors import scale_anchors, weigh_reference
from tod.regimes.classify import classify, missing_inputs
from tod.regimes.regime import EtaInterval, PhasePoint, Reason, Regime, Verdict, phase_point
from tod.regimes.run import classify_run, ess_two, pooled
from tod.regimes.thresholds import Thresholds

__all__ = [
    "EtaInterval",
    "PhasePoint",
    "Reason",
    "Regime",
    "Thresholds",
    "Verdict",
    "classify",
    "classify_run",
    "ess_two",
    "missing_inputs",
    "phase_point",
    "pooled",
    "scale_anchors",
    "weigh_reference",
]
