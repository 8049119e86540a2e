"""One part of the reward that carries all differences, while the task itself carries none."""

from collections.abc import Iterator, Mapping
from functools import reduce

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import SIGMAS
from tod.findings.dating import jump_onset
from tod.findings.detector import Detector, of_other_runs, unreadable
from tod.findings.finding import Cause, Finding, Onset, Remedy
from tod.findings.reward_parts import Shares, centred, shares, shares_of_steps, task_like
from tod.findings.run import RolloutTable, Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.words import cost_since, number, per_cent

SHARE = 0.1
"""Share of the differences below which a part does not count."""
LIMIT = 0.2
"""Its upper confidence limit must be below this."""
MOST = 0.5
"""Share that another part must carry."""
MIDDLE = (0.1, 0.9)
"""Means of the part (of its range) between which it has something to teach."""
LEAST = 12
"""Steps of the second half of a log below which nothing is said of it."""
SATURATED = 0.02
"""Share of groups in which a part differs at all, below which it is saturated."""


class OneRewardDetector(Detector):
    """Share of a part in the covariance with the total within groups, over the second half."""

    kind = "one_reward"
    kinds = ("reward_dominated", "saturated_reward")
    checks = "balance of the rewards"
    order = 62

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        rollouts = run.rollouts
        if rollouts is None:
            return self._of_log(run)
        if len(rollouts.rewards) < 2:
            return of_other_runs(
                self.kind, "one reward alone", "the parts of the reward by rollout"
            )
        if not (rollouts.groups.sizes > 1).any() or not rollouts.grouped:
            return unreadable(self.kind, "no prompt has several rollouts", "rollouts in groups")
        carried = shares(rollouts)
        found = list(_saturated(rollouts))
        if carried is not None:
            found += _drowned(run, rollouts, carried)
        return tuple(found)

    def _of_log(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """The same of a metric log, between steps: a note, since gradients compare answers."""
        parts = {
            name: s for name in run.series if name.startswith("reward.") and (s := run.get(name))
        }
        reward = run.get("reward")
        if reward is None or len(parts) < 2:
            return of_other_runs(self.kind, "one reward alone", "the parts of the reward by step")
        steps = reduce(np.intersect1d, [s.steps for s in (reward, *parts.values())])
        steps = steps[len(steps) // 2 :]
        if len(steps) < LEAST:
            few = f"{counted(len(steps), 'step')} with every reward in the second half"
            return unreadable(self.kind, few, f"{LEAST} of them", few=True)

        def late(series: Series) -> np.ndarray:
            return series.values[np.isin(series.steps, steps)]

        values = {name.removeprefix("reward."): late(s) for name, s in parts.items()}
        carried = shares_of_steps(late(reward), values)
        if carried is None:
            return unreadable(
                self.kind,
                "the logged parts do not make up the reward",
                "a log of every part, or rollouts with them",
            )
        largest = max(carried, key=lambda name: carried[name][0])
        if not carried[largest][0] > MOST:
            return ()
        found = []
        for name, (share, error) in carried.items():
            top = max(1.0, float(parts[f"reward.{name}"].values.max()))
            mean = float(values[name].mean())
            untold = task_like(name) and name != largest and not task_like(largest)
            if not untold or mean > MIDDLE[1] * top:
                continue
            if share < SHARE and share + SIGMAS * error < LIMIT:
                found.append(_between_steps(name, largest, carried, mean))
        return tuple(found)


def _between_steps(
    name: str, largest: str, carried: Mapping[str, tuple[float, float]], mean: float
) -> Finding:
    """A task's reward that moves the total by nothing while another moves it by nearly all."""
    share, error = carried[name]
    return Finding(
        "reward_dominated",
        "note",
        f"The reward {largest} moves the total alone: {name} makes {per_cent(max(share, 0.0))} of "
        "its changes from step to step.",
        None,
        (
            (f"changes by {largest}", per_cent(min(carried[largest][0], 1.0))),
            (f"by {name}", f"{per_cent(max(share, 0.0))} (at most {share + 2 * error:.2f})"),
            (f"mean of {name}", number(mean)),
        ),
        {"share": share, "error": error, "largest": carried[largest][0], "mean": mean},
        causes=(
            Cause(
                "weights",
                f"{largest} outweighs {name}",
                "likely",
                "the rewards of single answers: shares of the differences within prompts",
            ),
        ),
        series=(f"reward.{name}", f"reward.{largest}"),
    )


def _late(rollouts: RolloutTable) -> np.ndarray:
    """Groups of the second half of the steps."""
    late: np.ndarray = rollouts.step >= rollouts.steps[len(rollouts.steps) // 2]
    return late


def _drowned(run: TrainingRun, rollouts: RolloutTable, carried: Shares) -> Iterator[Finding]:
    late = _late(rollouts)
    part = {name: carried.of(name, late) for name in rollouts.rewards}
    largest = max(part, key=lambda name: part[name][0] if np.isfinite(part[name][0]) else -np.inf)
    if not part[largest][0] > MOST:
        return
    any_task = any(map(task_like, rollouts.rewards))
    for name, (share, error) in part.items():
        values = rollouts.rewards[name]
        low, high = float(values.min()), float(values.max())
        if name == largest or not low < high or not np.isfinite(share):
            continue
        mean = (float(np.asarray(rollouts.groups.mean(values))[late].mean()) - low) / (high - low)
        if share >= SHARE or share + SIGMAS * error >= LIMIT:
            continue
        if not MIDDLE[0] < mean < MIDDLE[1] or (any_task and not task_like(name)):
            continue
        onset = _onset(rollouts, carried, name)
        factor = _factor(rollouts, carried, name, late)
        yield Finding(
            "reward_dominated",
            "warning" if any_task else "note",
            f"The reward {largest} decides alone: {name} makes {per_cent(max(share, 0.0))} of the "
            "differences.",
            onset,
            (
                (f"differences by {largest}", per_cent(part[largest][0])),
                (f"by {name}", f"{per_cent(max(share, 0.0))} (at most {share + 2 * error:.2f})"),
                (f"mean of {name}", f"{mean:.2f} of its range: it is not learned yet"),
            ),
            {"share": share, "error": error, "largest": part[largest][0], "mean": mean},
            remedies=() if factor is None else (_reweigh(run, name, factor),),
            best_step=onset.before,
            cost=cost_since(run, onset),
            series=(f"reward.{name}", f"reward.{largest}"),
        )


def _onset(rollouts: RolloutTable, carried: Shares, name: str) -> Onset:
    """When the part stopped counting; the first step if it never did."""
    steps = rollouts.steps
    by_step = np.array([carried.of(name, rollouts.step == step)[0] for step in steps.tolist()])
    known = np.isfinite(by_step)
    first = int(steps[0])
    fifth = by_step[known][: max(3, int(known.sum()) // 5)]
    if int(known.sum()) < 6 or float(np.median(fifth)) < 2 * SHARE:
        return Onset(None, first, first)
    return jump_onset(steps[known], by_step[known])


def _factor(rollouts: RolloutTable, carried: Shares, name: str, late: np.ndarray) -> float | None:
    """By what to multiply a part's weight so that it varies as much as the rest together."""
    rows = rollouts.groups.spread(late)
    own = carried.weight[name] * centred(rollouts, rollouts.rewards[name])[rows]
    rest = centred(rollouts, rollouts.reward)[rows] - own
    square = float(own @ own)
    return float(np.sqrt(float(rest @ rest) / square)) if square > 0 else None


def _reweigh(run: TrainingRun, name: str, factor: float) -> Remedy:
    key = setting("reward_weights", run.framework)
    return Remedy(
        "reward_weights",
        f"multiply the weight of {name} in {key} by {number(factor)}",
        f"{name} then varies as much as all other parts together",
        {"factor": factor},
    )


def _saturated(rollouts: RolloutTable) -> Iterator[Finding]:
    """Parts that hardly differ within groups any more."""
    late = _late(rollouts) & (rollouts.groups.sizes > 1)
    if not late.any() or not bool(np.ptp(rollouts.reward) > 0):
        return
    for name, values in rollouts.rewards.items():
        differs = np.asarray(rollouts.groups.max(values)) > np.asarray(rollouts.groups.min(values))
        share = float(differs[late].mean())
        if share >= SATURATED:
            continue
        level = float(np.asarray(rollouts.groups.mean(values))[late].mean())
        yield Finding(
            "saturated_reward",
            "note",
            f"The reward {name} is the same for all answers to a prompt: it teaches nothing.",
            None,
            (
                ("prompts where it differs", per_cent(share) + " in the second half"),
                ("mean", number(level)),
            ),
            {"share": share, "mean": level},
            series=(f"reward.{name}",),
        )
