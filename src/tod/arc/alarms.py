"""Alarms on the figures of a run: when each would have rung, and how long before harm.

An alarm compares the mean of the last ``window`` known readings of one figure with a bound. Its
bounds are those of the controller, so that a replay shows what a threshold is worth before anything
is steered by it: a bound that rings in healthy runs is not one to act on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tod.arc.config import ArcConfig

__all__ = ["Alarm", "AlarmRates", "Rang", "alarms_of", "rates", "rings"]

DAMAGE = 0.4
"""Off-path damage, nats², from which a controller slows down, where its settings name none."""
ENTROPY_SHARE = 0.5
"""Share of the entropy of the start below which it has collapsed."""
STALE = 0.5
"""ESS_rel(π/μ) below which a proposal is stale, where the settings name none."""


@dataclass(frozen=True)
class Alarm:
    """A figure and the bound beyond which it rings.

    Attributes:
        path: Of the figure in a record, dotted, such as ``probe.delta``.
        bound: The bound; a share of the figure's own start where ``of_start``.
        above: Whether it rings above the bound, else below.
        window: Known readings whose mean is compared; no fewer are.
        of_start: Whether the bound is relative to the mean of the first ``window`` readings.
    """

    path: str
    bound: float
    above: bool
    window: int = 1
    of_start: bool = False


@dataclass(frozen=True)
class Rang:
    """What an alarm did in a run.

    Attributes:
        alarm: It.
        readings: How many readings there were; with none nothing is known.
        step: First step at which it rang; None where it did not.
        value: What it read there.
        lead: Steps from there to the harm, negative after it; None without either.
    """

    alarm: Alarm
    readings: int
    step: int | None = None
    value: float | None = None
    lead: int | None = None


@dataclass(frozen=True)
class AlarmRates:
    """An alarm over several runs.

    Attributes:
        alarm: It.
        harmed: Runs that were harmed and had readings.
        caught: Those of them in which it rang before the harm.
        lead: Median steps before it, over those; None where there are none.
        healthy: Runs without harm that had readings.
        false: Those of them in which it rang.
    """

    alarm: Alarm
    harmed: int
    caught: int
    lead: float | None
    healthy: int
    false: int


def alarms_of(config: ArcConfig) -> tuple[Alarm, ...]:
    """The controller's own bounds as alarms, and those of the probe and of the entropy.

    A probe asks the same candidates every time, so that one reading is enough; what is read off a
    batch is averaged over the controller's window.
    """
    w = config.window
    damage = getattr(config, "damage_limit", None) or DAMAGE
    stale = getattr(config, "overlap_limit", None) or STALE
    found = [
        Alarm("probe.delta", damage, above=True),
        Alarm("path.delta", damage, above=True, window=w),
        Alarm("entropy", ENTROPY_SHARE, above=False, window=w, of_start=True),
        Alarm(f"ess_rel.{config.ess_quantile}", config.ess_target, above=False, window=w),
        Alarm("overlap.policy_proposal", stale, above=False, window=w),
    ]
    optional = (
        ("tails.max_weight_median", config.tail_limit),
        ("activation", config.activation_limit),
        ("drift.ref", config.drift_budget),
    )
    found += [Alarm(path, b, above=True, window=w) for path, b in optional if b is not None]
    return tuple(found)


def rings(
    alarm: Alarm,
    steps: Sequence[int],
    values: Sequence[float | None],
    harm: int | None = None,
) -> Rang:
    """When an alarm would have rung first.

    Args:
        alarm: It.
        steps: Numbers of the steps, ascending.
        values: The figure at every step; None where it was not read.
        harm: First step at which the run was harmed; None: it was not, or nobody knows.
    """
    known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    w, bound = alarm.window, alarm.bound
    if alarm.of_start and len(known) >= w:
        bound *= sum(value for _, value in known[:w]) / w
    for end in range(w, len(known) + 1):
        mean = sum(value for _, value in known[end - w : end]) / w
        if mean > bound if alarm.above else mean < bound:
            step = known[end - 1][0]
            return Rang(alarm, len(known), step, mean, None if harm is None else harm - step)
    return Rang(alarm, len(known))


def rates(runs: Sequence[tuple[bool, Sequence[Rang]]]) -> list[AlarmRates]:
    """Catches, leads and false alarms over runs, alarm by alarm.

    Args:
        runs: Whether a run was harmed, and what every alarm did in it, in the same order.
    """
    found = []
    for column in zip(*(rang for _, rang in runs), strict=True):
        read = [
            (harmed, rang) for (harmed, _), rang in zip(runs, column, strict=True) if rang.readings
        ]
        leads = [r.lead for harmed, r in read if harmed and r.lead is not None and r.lead > 0]
        healthy = [rang for harmed, rang in read if not harmed]
        found.append(
            AlarmRates(
                alarm=column[0].alarm,
                harmed=len(read) - len(healthy),
                caught=len(leads),
                lead=float(median(leads)) if leads else None,
                healthy=len(healthy),
                false=sum(rang.step is not None for rang in healthy),
            )
        )
    return found


def readings(records: Sequence[Any], path: str) -> list[float | None]:
    """A figure at every step of a run, from its records."""
    found: list[float | None] = []
    for record in records:
        value: Any = record
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found.append(None if value is None else float(value))
    return found
