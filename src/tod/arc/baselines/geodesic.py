"""An oracle's schedule: constant speed √Var_η(U)·dη/dt along the path."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tod.arc.config import ArcConfig


def geodesic(config: ArcConfig, goal: float, deadline: int, time: int) -> float:
    """Sharpness at batch ``time`` (from 0), between the shares that were given.

    Share j of n is in force at (j + 1)/n of the deadline, 0 at its beginning.
    """
    place = min(1.0, (time + 1) / (deadline + 1)) * len(config.shares)
    share = float(np.interp(place, range(len(config.shares) + 1), [0.0, *config.shares]))
    return min(goal, max(config.eta_min, goal * share))


def constant_speed(
    eta: Sequence[float], variance: Float[np.ndarray, " n"], count: int
) -> tuple[float, ...]:
    """Shares of the last of ``eta`` at evenly spaced times, at constant √Var_η(U)·dη/dt.

    Args:
        eta: Sharpness, ascending from 0.
        variance: Mean over contexts of Var U under b·exp(ηU) at each.
        count: Shares to give.

    Source: thermodynamic length of an annealed path (equation constant-speed)
    """
    speed = np.sqrt(variance)
    steps = np.diff(eta) * (speed[1:] + speed[:-1]) / 2
    length = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = length[-1] * np.arange(1, count + 1) / count
    return tuple((np.interp(wanted, length, eta) / eta[-1]).tolist())
