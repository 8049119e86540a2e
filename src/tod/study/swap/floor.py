"""How far seeds of one operator end apart, and what share of all distance operators explain."""

import numpy as np
from jaxtyping import Float

from tod.base import DataError
from tod.study.swap.condition import Condition
from tod.study.swap.estimate import Estimate
from tod.study.swap.excess import seed_kernel
from tod.study.swap.seeds import jackknife_error, mean_over_pairs, without_each

__all__ = ["intraclass", "seed_floor", "seed_floors"]


def seed_floors(
    condition: Condition, distance: Float[np.ndarray, "A S A S"] | None = None
) -> dict[str, Estimate]:
    """Mean distance between two seeds of each operator, with its jackknife error.

    Args:
        condition: Operators, seeds and distances.
        distance: Another of the condition's distances; its first if None.

    Raises:
        DataError: There are fewer than two seeds, or a distance is unknown.
    """
    own = np.einsum("aast->ast", seed_kernel(condition, distance))
    values, errors = mean_over_pairs(own), jackknife_error(without_each(own))
    return {
        name: Estimate(float(value), None if np.isnan(error) else float(error), own.shape[-1])
        for name, value, error in zip(condition.operators, values, errors, strict=True)
    }


def seed_floor(
    condition: Condition, distance: Float[np.ndarray, "A S A S"] | None = None
) -> Estimate:
    """The same, mean over operators: what is left of a distance where operators change nothing."""
    own = np.einsum("aast->ast", seed_kernel(condition, distance)).mean(axis=0)
    error = float(jackknife_error(without_each(own)))
    value = float(mean_over_pairs(own))
    return Estimate(value, None if np.isnan(error) else error, own.shape[-1])


def intraclass(
    condition: Condition, distance: Float[np.ndarray, "A S A S"] | None = None
) -> Estimate | None:
    """E/(E + seed floor): the share of the distance between two runs that the operator explains.

    E + floor is the mean distance of two operators at different seeds, so that it is 1 − floor
    over that. Of squared distances it is the intra-class correlation σ²_operator/(σ²_operator +
    σ²_seed) of a one-way layout. At most 1, below 0 by chance; its error is the jackknife of the
    ratio over seeds, None at two seeds.

    Args:
        condition: Operators, seeds and distances.
        distance: Another of the condition's distances; its first if None.

    Returns:
        None where all runs end at one policy: nothing is left to share out.

    Raises:
        DataError: There are fewer than two seeds or two operators, or a distance is unknown.

    Source: Fisher 1925, § 38; for squared distances Anderson 2001
    """
    if len(condition.operators) < 2:
        raise DataError(f"{condition.name}: one operator explains nothing. Run two.")
    kernel = seed_kernel(condition, distance)
    own = np.einsum("aast->ast", kernel).mean(axis=0)
    across = kernel[np.triu_indices(len(kernel), 1)].mean(axis=0)
    whole = float(mean_over_pairs(across))
    if whole <= 0:
        return None
    value = 1 - float(mean_over_pairs(own)) / whole
    left, left_whole = without_each(own), without_each(across)
    if own.shape[-1] < 3 or bool((left_whole <= 0).any()):
        return Estimate(value, None, own.shape[-1])
    return Estimate(value, float(jackknife_error(1 - left / left_whole)), own.shape[-1])
