"""Columns of a batch, arrays, tuples or mappings of them: some rows picked, batches chained."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from tod.base.groups import Groups

Column = TypeVar("Column")


def picked(column: Column, rows: Int[np.ndarray, " n"]) -> Column:
    """Some rows of a column, in that order; None, which is unknown, stays None."""
    values: Any = column
    if isinstance(values, Mapping):
        values = {name: picked(part, rows) for name, part in values.items()}
    elif isinstance(values, tuple):
        values = tuple(values[int(row)] for row in rows)
    elif values is not None:
        values = values[rows]
    return values  # type: ignore[no-any-return]


def chained(columns: Sequence[Column]) -> Column:
    """A column of several batches, one after the other; None where one of them is unknown.

    Of mappings only the names that all of them have.
    """
    values: Any = columns[0]
    parts: Sequence[Any] = columns
    if any(part is None for part in parts):
        values = None
    elif isinstance(values, Groups):
        values = Groups(np.concatenate([part.sizes for part in parts]))
    elif isinstance(values, Mapping):
        shared = [name for name in values if all(name in part for part in parts)]
        values = {name: chained([part[name] for part in parts]) for name in shared}
    elif isinstance(values, tuple):
        values = tuple(chain.from_iterable(parts))
    else:
        values = np.concatenate(parts)
    return values  # type: ignore[no-any-return]
