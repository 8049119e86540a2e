"""Holm's correction of many tests at once."""

from collections.abc import Sequence

import numpy as np

from tod.base import DataError

__all__ = ["holm"]


def holm(p: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted so that the chance of any false finding among all is below the level.

    Of m values in rising order the adjusted i-th is the largest of (m − j + 1)·p_j over j ≤ i, at
    most 1. It holds whatever the dependence of the tests, such as that of pairs which share an
    operator.

    Args:
        p: A p-value a test, in [0, 1]; None for a test that could not be made, which is not
            counted among the m and stays None.

    Raises:
        DataError: A value is outside [0, 1].

    Source: Holm 1979
    """
    places = [place for place, value in enumerate(p) if value is not None]
    known = np.array([value for value in p if value is not None], dtype=np.float64)
    if bool(((known < 0) | (known > 1) | np.isnan(known)).any()):
        raise DataError("a p-value is outside [0, 1]: leave out what was not tested (None).")
    order = np.argsort(known, kind="stable")
    factors = len(known) - np.arange(len(known))
    rising = np.minimum(np.maximum.accumulate(factors * known[order]), 1.0)
    adjusted: list[float | None] = [None] * len(p)
    for place, value in zip(order, rising, strict=True):
        adjusted[places[place]] = float(value)
    return adjusted
