"""How far operators end apart beyond what their seeds alone explain."""

import numpy as np
from jaxtyping import Float

from tod.base import DataError
from tod.study.swap.condition import Condition

__all__ = ["across_seeds", "excess"]


def excess(
    condition: Condition, distance: Float[np.ndarray, "A S A S"] | None = None
) -> Float[np.ndarray, "A A"]:
    """E of every pair of operators.

    E(a, b) = mean over s ≠ t of D[a, s, b, t] − ½·D[a, s, a, t] − ½·D[b, s, b, t]

    It is 0 in the mean where both end at one distribution of policies: no noise is left over from
    the seeds, so it may be below 0 by chance. The diagonal is 0.

    Args:
        condition: Operators, seeds and distances.
        distance: Another of the condition's distances; its first if None.

    Raises:
        DataError: There are fewer than two seeds: seeds and operators cannot be told apart.
    """
    apart = across_seeds(condition, condition.distance if distance is None else distance)
    own = np.diagonal(apart)
    pairs: Float[np.ndarray, "A A"] = apart - 0.5 * (own[:, None] + own[None, :])
    return pairs


def across_seeds(
    condition: Condition, distance: Float[np.ndarray, "A S A S"]
) -> Float[np.ndarray, "A A"]:
    """Mean distance of two operators at different seeds; on the diagonal the seeds' own distance.

    Raises:
        DataError: There are fewer than two seeds.
    """
    count = len(condition.seeds)
    if count < 2:
        raise DataError(
            f"{condition.name}: {count} seed. With fewer than two nothing tells seeds from "
            "operators: run at least two, better four."
        )
    different = ~np.eye(count, dtype=bool)
    by_seeds = distance.transpose(0, 2, 1, 3)[:, :, different]
    mean: Float[np.ndarray, "A A"] = by_seeds.mean(axis=2)
    both: Float[np.ndarray, "A A"] = 0.5 * (mean + mean.T)
    return both
