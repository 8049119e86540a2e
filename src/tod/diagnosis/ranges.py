"""Ranges that a person declares of rewards: whose they are, and that no reward leaves them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tod.base import SpecError
from tod.diagnosis.target import SourcedTarget
from tod.formats.reading import Reading

__all__ = ["declared_ranges"]

ROUNDING = 1e-9
"""How far outside a range a reward may be, relative to the range: decimals in files."""


def declared_ranges(
    reading: Reading,
    sourced: SourcedTarget | None,
    ranges: Mapping[str, Sequence[float]] | None,
) -> dict[str, tuple[float, float]]:
    """Least and largest value by reward, as they were declared.

    Args:
        reading: The rewards.
        sourced: The target, whose one reward a range without a name is of.
        ranges: By name; the empty name stands for the one reward that the target tilts by.

    Raises:
        SpecError: A range that is none, of no reward or of one of several, or one that a recorded
            reward lies outside of.
    """
    found: dict[str, tuple[float, float]] = {}
    for given, (low, high) in (ranges or {}).items():
        name = given or _only(reading, sourced)
        if name not in reading.utility:
            known = ", ".join(reading.utility) or "none"
            raise SpecError(f"reward range of {name!r}: the files hold {known}.")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise SpecError(
                f"reward range {low:g},{high:g}: give the least and the largest value that "
                f"{name!r} can have, as 0,1."
            )
        rewards = np.asarray(reading.utility[name], dtype=np.float64)
        room = ROUNDING * (high - low)
        outside = np.flatnonzero((rewards < low - room) | (rewards > high + room))
        if outside.size:
            raise SpecError(
                f"reward range {low:g},{high:g}: {name!r} reads {rewards[outside[0]]:g} in row "
                f"{outside[0] + 1}, {outside.size} of {rewards.size} lie outside. A bound for what "
                "no rollout can leave would be wrong: give the verifier's range, or none."
            )
        found[name] = (float(low), float(high))
    return found


def _only(reading: Reading, sourced: SourcedTarget | None) -> str:
    """The one reward that the target tilts by, else the one that the files hold."""
    names = list(reading.utility) if sourced is None else list(sourced.target.target.utilities)
    if len(names) != 1:
        several = ", ".join(names) or "none"
        raise SpecError(
            f"a reward range without a name, and the rewards are {several}: write NAME=LOW,HIGH."
        )
    return names[0]
