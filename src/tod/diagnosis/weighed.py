"""Candidates weighed under a target, and what a change of sharpness leaves of the weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tod.base import to_numpy
from tod.candidates import Candidates
from tod.diagnosis.target import Chosen
from tod.formats.reading import Reading
from tod.targets import Target


@dataclass(frozen=True, eq=False)
class Weighed:
    """log w = log b/μ + η·unit of every candidate, [N], float64.

    Attributes:
        log_w: log q̃*/μ under the target in force; −∞ outside its support.
        log_base: log b/μ, of which a huge tilt would leave nothing in ``log_w``.
        tilt: Σ_k η_k U_k.
        value: The utility itself where there is one, else the tilt per unit of sharpness.
        eta: Sharpness in force: one number, or [N] where a controller turned it.
        declared: Sharpness of the target as it was declared; 1 for a target without any, None for
            a selectivity, which has one for every context.
    """

    log_w: Any
    log_base: Any
    tilt: Any
    value: Any
    eta: Any
    declared: float | None

    @cached_property
    def last(self) -> float | None:
        """The sharpness in force at the last step; None where every context has its own."""
        known = np.atleast_1d(self.eta)
        return float(known[-1]) if len(known) and self.declared is not None else self.declared

    def unit(self, rows: Any) -> Any:
        """The tilt at η = 1 of some candidates; −∞ outside the support."""
        tilt = self.tilt[rows]
        eta = self.eta[rows] if np.ndim(self.eta) else self.eta
        return np.where(np.isfinite(tilt), tilt / eta, -np.inf)

    def base(self, rows: Any) -> Any:
        """Log b/μ of some candidates, 0 outside the support; None where it is 0 throughout."""
        found = np.where(np.isfinite(self.tilt[rows]), self.log_base[rows], 0.0)
        return found if np.abs(found).max(initial=0.0) > 1e-12 else None


def weigh(reading: Reading, chosen: Chosen) -> Weighed:
    """Under the target in force at every step.

    Raises:
        MissingLogProbs: The target's anchor was not recorded.
    """
    whole = weigh_all(reading, chosen.target.target)
    if not chosen.knobs:
        return whole
    eta = np.full(len(reading), whole.eta)
    columns = (whole.log_w, whole.log_base, whole.tilt, whole.value)
    log_w, base, tilt, value = (x.copy() for x in columns)
    offsets = reading.contexts.offsets
    for step, at in steps_of(reading):
        rows = slice(int(offsets[at.start]), int(offsets[at.stop]))
        batch = weigh_all(reading.take(np.arange(at.start, at.stop)), chosen.at(step))
        log_w[rows], base[rows] = batch.log_w, batch.log_base
        tilt[rows], value[rows], eta[rows] = batch.tilt, batch.value, batch.eta
    return Weighed(log_w, base, tilt, value, eta, whole.declared)


def weigh_all(candidates: Candidates, target: Target) -> Weighed:
    """Under one target.

    Raises:
        MissingLogProbs: The target's anchor was not recorded.
    """
    tilt, base = map(_exact, target.tilt_and_base(candidates))
    chosen = target.selectivity
    eta = 1.0 if chosen else float(target.sharpness) or 1.0
    names = [chosen.utility] if chosen else [tilt.utility for tilt in target.tilts]
    value = _exact(candidates.utilities(names[0])) if len(names) == 1 else tilt / eta
    log_w = tilt + base if base.any() else tilt
    return Weighed(log_w, base, tilt, value, eta, None if chosen else eta)


def steps_of(reading: Reading) -> list[tuple[int, slice]]:
    """Steps with the places of their contexts, which are consecutive."""
    if not len(reading.contexts):
        return []
    starts = np.flatnonzero(np.diff(reading.steps, prepend=reading.steps[0] - 1)).tolist()
    ends: Iterable[int] = [*starts[1:], len(reading.contexts)]
    known = reading.steps[starts].tolist()
    return [(step, slice(a, b)) for step, a, b in zip(known, starts, ends, strict=True)]


def _exact(x: Any) -> Any:
    return to_numpy(x).astype(np.float64, copy=False)
