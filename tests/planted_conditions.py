"""Conditions whose truth is planted: operators' mean policies and utilities are set, seeds vary."""

import numpy as np

from tod.study.swap import Condition


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def variations(policies: np.ndarray) -> np.ndarray:
    """Total variation of every policy from every other, [..., A, S, D] → [..., A, S, A, S]."""
    first, second = policies[..., :, :, None, None, :], policies[..., None, None, :, :, :]
    return 0.5 * np.abs(first - second).sum(axis=-1)


def policies(
    rng: np.random.Generator,
    count: int,
    operators: int,
    seeds: int,
    shift: float,
    outcomes: int = 8,
    shared: float = 0.6,
) -> np.ndarray:
    """Policies of ``count`` conditions, [n, A, S, D]: operator a is shifted along its own axis.

    A share ``shared`` of the seeds' variance is the same for all operators: common random numbers.
    """
    common = rng.normal(size=(count, 1, seeds, outcomes)) * np.sqrt(shared)
    own = rng.normal(size=(count, operators, seeds, outcomes)) * np.sqrt(1 - shared)
    logits = 0.5 * (common + own)
    for a in range(1, operators):
        logits[:, a, :, (a - 1) % outcomes] += shift
    return softmax(logits)


def condition(
    distance: np.ndarray,
    utility: np.ndarray | None = None,
    name: str = "η 1",
    cluster: str = "world 0",
    **more: object,
) -> Condition:
    """A condition of these distances, with a utility of 0 on one prompt if none is given."""
    count, seeds = distance.shape[:2]
    names = tuple("abcdefghijkl"[:count])
    values = np.zeros((count, seeds, 1)) if utility is None else utility
    return Condition(name, cluster, names, tuple(range(seeds)), distance, values, **more)


def of_utility(utility: np.ndarray, name: str = "η 1", cluster: str = "w", **more: object):
    """A condition of these utilities whose policies are all one."""
    count, seeds = utility.shape[:2]
    return condition(np.zeros((count, seeds, count, seeds)), utility, name, cluster, **more)
