"""A reward that, the harder it selects, picks answers that are worse by another measure."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.base import Unknown
from tod.findings.change import SIGMAS
from tod.findings.detector import Detector, of_other_runs, unreadable
from tod.findings.finding import Cause, Finding, Remedy
from tod.findings.reward_parts import centred, task_like
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import number

SHARPNESS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Sharpness η of the selection, in units of 1/(standard deviation of the reward in a group)."""
LOSS = 0.05
"""Loss of the other measure (of its range) that is worth saying."""
LIMIT = 0.01
"""Its lower confidence limit must exceed this."""
GROUPS = 20
"""Groups below which nothing is said."""


@dataclass(frozen=True)
class ProxyTilt:
    """A measure under exp(η·reward) over the answers to a prompt, as η grows.

    Attributes:
        mean: Mean over groups by η, [S].
        peak: Position of the best η.
        loss: Mean of the peak less that of the largest η.
        error: Its standard error, groups being the sample.
    """

    mean: Float[np.ndarray, " S"]
    peak: int
    loss: float
    error: float


def tilted(rollouts: RolloutTable, measure: Float[np.ndarray, " N"]) -> ProxyTilt | None:
    """The tilt of a measure by the total reward; None where no group has different rewards."""
    groups = rollouts.groups
    deviation = centred(rollouts, rollouts.reward)
    differs = np.asarray(groups.max(rollouts.reward)) > np.asarray(groups.min(rollouts.reward))
    if int(differs.sum()) < GROUPS:
        return None
    scale = float(np.sqrt((deviation[groups.spread(differs)] ** 2).mean()))
    of_group = np.stack(
        [
            np.asarray(groups.sum(groups.softmax(eta / scale * deviation) * measure))[differs]
            for eta in SHARPNESS
        ]
    )
    mean = of_group.mean(axis=1)
    peak = int(np.argmax(mean))
    loss = of_group[peak] - of_group[-1]
    error = float(loss.std(ddof=1)) / np.sqrt(len(loss))
    return ProxyTilt(mean, peak, float(loss.mean()), error)


class SelectionDetector(Detector):
    """Mean of a part of the reward over answers that the whole reward selects ever harder."""

    kind = "selection"
    kinds = ("selection_overoptimised",)
    checks = "selection by the reward"
    order = 88

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        rollouts = run.rollouts
        if rollouts is None or not rollouts.rewards:
            return of_other_runs(
                self.kind, "one reward alone", "a second measure of the answers, by rollout"
            )
        if not rollouts.grouped or int((rollouts.groups.sizes > 1).sum()) < GROUPS:
            return unreadable(
                self.kind,
                "too few prompts with several rollouts",
                f"{GROUPS} prompts with several rollouts",
                few=True,
            )
        any_task = any(map(task_like, rollouts.rewards))
        found = []
        for name, values in rollouts.rewards.items():
            unit = float(np.ptp(values))
            tilt = tilted(rollouts, values) if unit > 0 else None
            if tilt is None or tilt.loss <= LOSS * unit:
                continue
            if tilt.loss - SIGMAS * tilt.error <= LIMIT * unit:
                continue
            found.append(_finding(name, tilt, warn=any_task and task_like(name)))
        return tuple(found)


def _finding(name: str, tilt: ProxyTilt, *, warn: bool) -> Finding:
    at_once = tilt.peak == 0
    best = f"{number(tilt.mean[tilt.peak])} at {SHARPNESS[tilt.peak]:g}"
    start, end = number(tilt.mean[0]), number(tilt.mean[-1])
    headline = (
        f"The more the reward decides, the worse {name} gets: {start} to {end}."
        if at_once
        else f"Selecting by the reward helps {name} at first, then harms it: {best} to {end}."
    )
    return Finding(
        "selection_overoptimised",
        "warning" if warn else "note",
        headline,
        None,
        (
            (f"{name} as selection sharpens", ", ".join(number(x) for x in tilt.mean)),
            ("loss", f"{number(tilt.loss)}, standard error {number(tilt.error)}"),
        ),
        {"start": float(tilt.mean[0]), "end": float(tilt.mean[-1]), "loss": tilt.loss},
        causes=(
            Cause(
                "proxy",
                f"the reward is a proxy that its best answers exploit at the cost of {name}",
                "likely" if warn else "possible",
                f"read the answers with the highest reward and a low {name}",
            ),
        ),
        remedies=(
            Remedy("read_best", f"read five answers with the highest reward and a low {name}"),
        ),
        series=(f"reward.{name}", "reward"),
    )
