"""Parts of a reward: what each weighs in the total, and what it carries of its differences."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.findings.run import RolloutTable

TASK = (
    "correct", "acc", "task", "answer", "solve", "pass", "verif", "math", "code", "outcome", "gold",
    "test", "exact", "em",
)  # fmt: skip
"""Words in the name of a part that is the task itself, not how it is written."""
FIT = 0.98
"""Share of the total's variance that the parts must explain for their weights to be readable."""

FIT_OF_STEPS = 0.8
"""The same of changes from step to step, where a log rounds or leaves out answers."""


def task_like(name: str) -> bool:
    """Whether a part's name says that it is the task: ``accuracy``, ``math_verify``."""
    words = name.lower().replace("-", "_").replace(".", "_").replace("/", "_").split("_")
    return any(w.startswith(t) if len(t) > 2 else w == t for w in words for t in TASK)


def centred(rollouts: RolloutTable, values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Values less the mean of their group: what tells answers to one prompt apart."""
    groups = rollouts.groups
    result: np.ndarray = values - groups.spread(np.asarray(groups.mean(values)))
    return result


@dataclass(frozen=True)
class Shares:
    """What the parts carry of the total's differences within groups.

    Attributes:
        weight: Weight of every part in the total.
        covariance: Σ over a group of w·(part − mean)·(total − mean) by part, [G] each.
        variance: Σ over a group of (total − mean)², [G].
    """

    weight: dict[str, float]
    covariance: dict[str, Float[np.ndarray, " G"]]
    variance: Float[np.ndarray, " G"]

    def of(self, name: str, where: np.ndarray) -> tuple[float, float]:
        """Share of a part over some groups, and its standard error, groups being the sample.

        NaN where the total does not vary there.
        """
        c, v = self.covariance[name][where], self.variance[where]
        total = float(v.sum())
        if total <= 0:
            return float("nan"), float("nan")
        share = float(c.sum()) / total
        return share, float(np.sqrt(((c - share * v) ** 2).sum())) / total


def shares(rollouts: RolloutTable) -> Shares | None:
    """Weights of the parts by least squares on the total, and what they carry of its differences.

    Returns:
        None without two parts, or where the parts do not make up the total.
    """
    names = list(rollouts.rewards)
    if len(names) < 2:
        return None
    total = centred(rollouts, rollouts.reward)
    columns = {name: centred(rollouts, rollouts.rewards[name]) for name in names}
    varying = [name for name in names if float(np.abs(columns[name]).max(initial=0.0)) > 0]
    square = float(total @ total)
    if not varying or square <= 0:
        return None
    design = np.stack([columns[name] for name in varying], axis=1)
    weight = np.linalg.lstsq(design, total, rcond=None)[0]
    rest = total - design @ weight
    if float(rest @ rest) > (1 - FIT) * square:
        return None
    weights = dict.fromkeys(names, 0.0) | dict(zip(varying, weight.tolist(), strict=True))
    groups = rollouts.groups
    covariance = {
        name: np.asarray(groups.sum(weights[name] * columns[name] * total)) for name in names
    }
    return Shares(weights, covariance, np.asarray(groups.sum(total * total)))


def shares_of_steps(
    total: Float[np.ndarray, " T"], parts: Mapping[str, Float[np.ndarray, " T"]]
) -> dict[str, tuple[float, float]] | None:
    """What the parts carry of the total's changes from step to step, with standard errors.

    A change from one step to the next is the chance of two batches, to which every part adds by
    its weight and its spread between answers, and hardly the trend. Weights are those of least
    squares on the changes.

    Args:
        total: Mean reward by step, [T].
        parts: Mean of every part by step, [T] each.

    Returns:
        Share of Σ Δtotal² and its standard error by part; None where the total stands still or the
        parts do not make it up.
    """
    change = np.diff(total)
    columns = {name: np.diff(values) for name, values in parts.items()}
    design = np.stack(list(columns.values()), axis=1)
    square = float(change @ change)
    if square <= 0:
        return None
    weight = np.linalg.lstsq(design, change, rcond=None)[0]
    rest = change - design @ weight
    if float(rest @ rest) > (1 - FIT_OF_STEPS) * square:
        return None
    carried = {}
    for name, w in zip(columns, weight.tolist(), strict=True):
        product = w * columns[name] * change
        share = float(product.sum()) / square
        # neighbouring changes share a step: their products correlate by half at most, both ways
        error = float(np.sqrt(2 * ((product - share * change**2) ** 2).sum())) / square
        carried[name] = (share, error)
    return carried
