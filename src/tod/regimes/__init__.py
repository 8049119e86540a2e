"""Regimes: where the choice of operator matters, why, and what to turn."""

from tod.operators import KLBudget, kl_budget
from tod.regimes.calibrate import Cut, fit_cuts, fit_thresholds, youden
from tod.regimes.classify import classify, classify_run, ess_two, missing_inputs, pooled
from tod.regimes.crossings import (
    Crossing,
    Segment,
    crossings,
    segments,
    stable_crossings,
    still_out,
)
from tod.regimes.feasible import (
    FeasibleInterval,
    eta_for_ess,
    eta_for_ess_binary,
    eta_for_fraction,
    eta_for_quantile,
    feasible_interval,
    gaussian_step,
    path_temperature,
)
from tod.regimes.intervals import capped, verdict_by_eta
from tod.regimes.largest import QUANTILES, Largest, feasible_eta, largest_sharpness
from tod.regimes.needed import k_for_error, k_for_ess, k_for_kl
from tod.regimes.regime import (
    EtaInterval,
    PhasePoint,
    Reason,
    ReasonKind,
    Regime,
    Verdict,
    phase_point,
)
from tod.regimes.thresholds import Thresholds

__all__ = [
    "QUANTILES",
    "Crossing",
    "Cut",
    "EtaInterval",
    "FeasibleInterval",
    "KLBudget",
    "Largest",
    "PhasePoint",
    "Reason",
    "ReasonKind",
    "Regime",
    "Segment",
    "Thresholds",
    "Verdict",
    "capped",
    "classify",
    "classify_run",
    "crossings",
    "ess_two",
    "eta_for_ess",
    "eta_for_ess_binary",
    "eta_for_fraction",
    "eta_for_quantile",
    "feasible_eta",
    "feasible_interval",
    "fit_cuts",
    "fit_thresholds",
    "gaussian_step",
    "k_for_error",
    "k_for_ess",
    "k_for_kl",
    "kl_budget",
    "largest_sharpness",
    "missing_inputs",
    "path_temperature",
    "phase_point",
    "pooled",
    "segments",
    "stable_crossings",
    "still_out",
    "verdict_by_eta",
    "youden",
]
