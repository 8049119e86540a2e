"""Where a plan is at a time: the ramp to the declared sharpness, and the way that is left."""

from math import ceil

from tod.arc.config import ArcConfig
from tod.arc.state import ArcState
from tod.base import SpecError

SHARE = 0.8
"""Share of a run over which a plan is laid where no deadline is written."""
CATCH_UP = 1.5
"""Largest step of a plan, in steps of the ramp without a disturbance."""
LEAST_STEP = 0.05
"""Largest step of a plan at the least, as a share of the declared sharpness."""


def deadline_of(config: ArcConfig, steps: int | None) -> int | None:
    """Batches until full sharpness: as written, else 80 % of the run, else not known."""
    if config.deadline is not None:
        return config.deadline
    return None if steps is None else ceil(SHARE * steps)


def elapsed(state: ArcState, step: int) -> int:
    """Batches before this one since the first that was read."""
    return 0 if state.first is None else max(0, step - state.first)


def ramp(config: ArcConfig, goal: float, deadline: int, step: int) -> float:
    """Linear ramp in force at ``step`` (from 0): goal·(step+1)/(deadline+1), then goal."""
    return max(config.eta_min, goal * min(1.0, (step + 1) / (deadline + 1)))


def planned(
    current: float, goal: float, share: float, *, time: int, deadline: int, length: int | None
) -> float:
    """Sharpness of the next batch: η ← min(η*, η + m·(η*−η)/time left).

    Time left is max(1, D−t), and max(1, T−t) from the deadline D on; the step is at most
    max(.05 η*, 1.5 η*/D). With m = 1 throughout it is the linear ramp; what a smaller m lost is
    planned anew, because the divisor is the time that is left.

    Args:
        current: η in force.
        goal: η*, the declared one.
        share: m in [0, 1].
        time: t, batches before this one.
        deadline: D, batches until η* is reached.
        length: T, batches of the run; None: nothing is left after the deadline.

    Source: constant-rate annealing with time left (equation plan-and-brake)
    """
    end = deadline if time < deadline or length is None else length
    left = max(1, end - time)
    most = max(LEAST_STEP * goal, CATCH_UP * goal / deadline)
    return min(goal, current + min(share * (goal - current) / left, most))


def required(config: ArcConfig, deadline: int | None) -> int:
    """The deadline of a plan that is laid over the run.

    Raises:
        SpecError: There is none, and no length to lay it over.
    """
    if deadline is None:
        raise SpecError(
            f"arc.plan = {config.plan!r} is laid over the run, and neither the run's length nor "
            "arc.deadline is known: what is not sampled any more is not learned back, so the speed "
            "cannot be found on the way. Give the number of steps, or arc.deadline, or plan: "
            "set_point."
        )
    return deadline
