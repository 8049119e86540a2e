"""Groups of one size at a time, a rollout a row: sums over a group then add whole arrays."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups

__all__ = ["by_size"]


def by_size(
    x: Float[np.ndarray, " N"], groups: Groups
) -> Iterator[tuple[Int[np.ndarray, " g"] | slice, Float[np.ndarray, "K g"]]]:
    """Every size K that occurs: the places of its groups, and their values, [K, g].

    Args:
        x: A value of every rollout, [N].
        groups: Rollouts of one prompt each.
    """
    if groups.uniform is not None:
        yield slice(None), np.ascontiguousarray(x.reshape(len(groups), groups.uniform).T)
        return
    for size in np.unique(groups.sizes):
        where = np.flatnonzero(groups.sizes == size)
        same, at = groups.take(where)
        yield where, np.ascontiguousarray(x[at].reshape(len(same), int(size)).T)
