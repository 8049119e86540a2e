"""Parts of a reward: what each weighs in the total, and what it carries of its differences."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tod.findings.run import Rollouts

TASK = (
    "correct", "acc", "task", "answer", "solve", "pass", "verif", "math", "code", "outcome", "gold",
    "test", "exact", "em",
)  # fmt: skip
"""Words in the name of a part that is the task itself, not how it is written."""
FIT = 0.98
"""Share of the total's variance that the parts must explain for their weights to be readable."""


def task_like(name: str) -> bool:
    """Whether a part's name says that it is the task: ``accuracy``, ``math_verify``."""
    words = name.lower().replace("-", "_").replace(".", "_").replace("/", "_").split("_")
    return any(w.startswith(t) if len(t) > 2 else w == t for w in words for t in TASK)


def centred(rollouts: Rollouts, values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
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


def shares(rollouts: Rollouts) -> Shares | None:
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
