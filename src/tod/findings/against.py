"""A run beside its twin: which figures left the twin's band, and first when.

Steps are matched. A figure has left the band where the median difference over a window of steps
exceeds what matters by its confidence limit; the noise is that of the twin. This is no test of
equal runs: twins of other seeds or batches differ within the band.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.findings.change import change, window, window_error
from tod.findings.dating import ramp_onset
from tod.findings.finding import Onset
from tod.findings.run import Series

LEAST = 8
"""Matched steps from which a figure is compared."""
MATTERS = 0.1
"""Share of the twin's own range by which a difference matters."""
SAME = 1e-3
"""Share of the twin's level below which a difference never matters."""
ROUNDING = 1e-9
"""Noise over the largest value below which it is that of the arithmetic."""
FACTORS = 3.0
"""Ratio to the twin from which a figure is taken to run away by factors."""
MOST = 2.0
"""Noise of the run over that of the twin, at most."""
OF_MEDIAN = float(np.sqrt(np.pi / 2))
"""Standard error of a median over that of a mean, for normal noise."""
CLOCKS = ("step_time", "time", "tokens_per_second")
"""Figures of the machine, not of the training."""


@dataclass(frozen=True)
class Departure:
    """A figure that left the band of the twin.

    Attributes:
        series: Its canonical name.
        onset: First step outside, with its interval; None for the step where the first window is
            outside.
        value: Median of the run over the window of the largest difference.
        twin: Median of the twin over the same steps.
        sigmas: The difference in standard errors; None where neither figure has any noise.
        unit: Unit of both.
    """

    series: str
    onset: Onset
    value: float
    twin: float
    sigmas: float | None
    unit: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        onset = {"step": self.onset.step, "low": self.onset.low, "high": self.onset.high}
        return {**vars(self), "onset": onset}


@dataclass(frozen=True)
class Against:
    """What a comparison with a twin says.

    Attributes:
        name: What the twin is called.
        departures: Figures that left its band, the first one first.
        within: Names of the figures that stayed in it.
        unmatched: Names of figures of both with fewer than 8 steps in common.
        twin_fault: Headline of the twin's own first fault; None where it has none.
    """

    name: str
    departures: tuple[Departure, ...] = ()
    within: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    twin_fault: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "departures": [departure.to_dict() for departure in self.departures],
            "within": list(self.within),
            "unmatched": list(self.unmatched),
            "twin_fault": self.twin_fault,
        }


def against(
    run: Mapping[str, Series],
    twin: Mapping[str, Series],
    name: str = "",
    twin_fault: str | None = None,
) -> Against:
    """Compare every figure that both runs have.

    Args:
        run: Figures by canonical name.
        twin: Those of a run that is known to be healthy.
        name: What the twin is called.
        twin_fault: Headline of the twin's own first fault.
    """
    departures: list[Departure] = []
    within: list[str] = []
    unmatched: list[str] = []
    for key, ours in run.items():
        if key not in twin or key in CLOCKS or ours.unit != twin[key].unit:
            continue
        pair = matched(ours, twin[key])
        if pair is None:
            unmatched.append(key)
            continue
        departure = departed(*pair)
        if departure is None:
            within.append(key)
        else:
            departures.append(departure)
    departures.sort(key=lambda d: (d.onset.first, d.onset.high, -(d.sigmas or np.inf)))
    return Against(name, tuple(departures), tuple(within), tuple(unmatched), twin_fault)


def matched(one: Series, other: Series) -> tuple[Series, Series] | None:
    """Two figures at the steps at which both are known; None for fewer than 8."""
    one, other = one.known, other.known
    shared = np.intersect1d(one.steps, other.steps)
    if len(shared) < LEAST:
        return None
    return one.part(np.isin(one.steps, shared)), other.part(np.isin(other.steps, shared))


def departed(ours: Series, twin: Series) -> Departure | None:
    """Whether a figure left the band of its twin, at equal steps.

    In every window of w steps the median difference is held against what matters (a tenth of the
    range of the twin's windows, a thousandth of its level) by its confidence limit, 4.5 standard
    errors of a difference, the noise being that of the twin.
    """
    width = window(len(twin))
    noise = noise_of(ours, twin)
    levels = _medians(twin.values, width)
    matters = max(MATTERS * float(np.ptp(levels)), SAME * float(np.abs(levels).mean()))
    effects = np.abs(_medians(ours.values - twin.values, width))
    out = np.array([change(float(effect), noise).passes(matters, matters) for effect in effects])
    if not out.any():
        return None
    first = int(np.argmax(out))
    back = np.flatnonzero(~out[first:])
    last = first + int(back[0]) if len(back) else len(out)
    worst = first + int(np.argmax(effects[first:last]))
    end = worst + width
    return Departure(
        ours.name,
        _onset(twin.steps[:end], _apart(ours.values[:end], twin.values[:end]), first, width),
        float(np.median(ours.values[worst:end])),
        float(np.median(twin.values[worst:end])),
        change(float(effects[worst]), noise).sigmas if noise > 0 else None,
        ours.unit,
    )


def _apart(ours: Float[np.ndarray, " T"], twin: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """How far a figure is from its twin's, for dating: in logarithms where it runs away by factors.

    What grows by equal factors is nearly all made in its last steps; its logarithm is a line.
    """
    ratio = ours / twin if ours.min() > 0 and twin.min() > 0 else np.ones(1)
    by_factors = max(float(ratio.max()), 1 / float(ratio.min())) >= FACTORS
    apart: np.ndarray = np.log(ratio) if by_factors else ours - twin
    return apart


def _onset(
    steps: Int[np.ndarray, " T"], difference: Float[np.ndarray, " T"], first: int, width: int
) -> Onset:
    """When a difference began, by its steps up to the largest; in the first window: at once."""
    if first == 0:
        return Onset(None, int(steps[0]), int(steps[width - 1]))
    return ramp_onset(steps, difference)


def noise_of(ours: Series, twin: Series) -> float:
    """Standard error of the median of a window of one of two figures.

    The noise of the twin; ours counts too where it is larger, but at most twice, for what disturbs
    a run must not hide itself as noise. 0 where the twin moves by rounding alone.
    """
    noise, own = (window_error(series.values, series.error) for series in (twin, ours))
    if noise <= ROUNDING * float(np.abs(twin.values).max()):
        return 0.0
    own = min(max(own, noise), MOST * noise)
    return float(np.sqrt((noise**2 + own**2) / 2)) * OF_MEDIAN


def _medians(values: Float[np.ndarray, " T"], width: int) -> Float[np.ndarray, " T-w+1"]:
    """Median of every window."""
    medians: np.ndarray = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    return medians
