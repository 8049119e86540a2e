"""The reward does not rise any more. A note: a plateau may be the task's end."""

from tod.base import Unknown
from tod.findings.change import SIGMAS, end_level, start_level, window, window_error
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Finding
from tod.findings.run import TrainingRun
from tod.findings.words import number

GAIN = 0.05
"""Gain of the second half of the run below which there is a plateau."""
LEAST = 20
"""Steps below which nothing is said."""


class PlateauDetector(Detector):
    """The second half of the run gained less than 0.05 with its confidence limit added."""

    kind = "plateau"
    checks = "plateau"
    order = 90

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        reward = run.get("reward", LEAST)
        if reward is None:
            return unreadable(self.kind, f"no reward of {LEAST} steps", "a longer run", few=True)
        values = reward.values
        half = values[len(values) // 2 - window(len(values)) // 2 :]
        middle = float(half[: window(len(values))].mean())
        end, start = end_level(values), start_level(values)
        limit = SIGMAS / 2 * 2**0.5 * window_error(values, reward.error)
        unit = _unit(run)
        if unit is None or end >= 0.95 * unit or end - middle + limit >= GAIN * unit:
            return ()
        if middle - end > GAIN * unit:  # a fall is a matter of its own
            return ()
        return (
            Finding(
                self.kind,
                "note",
                f"The reward stands at {number(end)} since the middle of the run.",
                None,
                (
                    ("first fifth", number(start)),
                    ("middle", number(middle)),
                    ("end", number(end)),
                ),
                {"start": start, "middle": middle, "end": end},
                series=("reward",),
            ),
        )


def _unit(run: TrainingRun) -> float | None:
    """Range of the rewards, or 1 where all means lie in [0, 1]; None where it is unknown."""
    if run.rollouts is not None:
        low, high = run.rollouts.range
        return high - low if high > low else None
    reward = run.get("reward")
    inside = reward is not None and reward.values.min() >= 0 and reward.values.max() <= 1
    return 1.0 if inside else None
