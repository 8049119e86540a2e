"""Where a figure that is too high at the end of a run began to be so."""

from tod.findings.change import end_level, start_level
from tod.findings.dating import jump_onset, ramp_onset
from tod.findings.finding import Onset
from tod.findings.run import Series

LIKE = 0.6
"""Share of the last level from which the first one is like it."""


def since(series: Series, slow: bool = False) -> Onset:
    """Onset of a high level of a figure that is never negative.

    Args:
        series: The figure, with no unknown values.
        slow: Whether it may have grown over many steps; else it is taken for a jump.

    Returns:
        The first step if the run starts at 0.6 of its last level, or if nothing moves.
    """
    values, first = series.values, int(series.steps[0])
    if len(values) < 3 or start_level(values) >= LIKE * end_level(values):
        return Onset(None, first, first)
    return (ramp_onset if slow else jump_onset)(series.steps, values)
