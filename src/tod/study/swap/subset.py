"""A condition with some of its operators."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from tod.base import DataError
from tod.study.swap.condition import Condition

__all__ = ["with_operators", "without_contrast"]


def with_operators(condition: Condition, names: Collection[str]) -> Condition:
    """The same condition with these operators alone, in its own order.

    Raises:
        DataError: One of them is not in the condition.
    """
    unknown = sorted(set(names) - set(condition.operators))
    if unknown:
        raise DataError(
            f"{condition.name}: no operator {unknown[0]!r}. It has "
            f"{', '.join(condition.operators)}."
        )
    places = [a for a, name in enumerate(condition.operators) if name in names]
    square = np.ix_(places, range(len(condition.seeds)), places, range(len(condition.seeds)))
    return replace(
        condition,
        operators=tuple(condition.operators[a] for a in places),
        distance=condition.distance[square],
        distances={name: table[square] for name, table in condition.distances.items()},
        utility=condition.utility[places],
        travel=None if condition.travel is None else condition.travel[places],
    )


def without_contrast(condition: Condition) -> Condition:
    """The same without the operators that are run as a contrast: fact ``contrast``, by commas.

    They are reported, and left out of means over pairs. What is returned has no contrast left.

    Raises:
        DataError: A contrast is no operator of the condition.
    """
    contrast = condition.facts.get("contrast")
    if not contrast:
        return condition
    left_out = [name.strip() for name in str(contrast).split(",")]
    with_operators(condition, left_out)
    rest = with_operators(condition, [n for n in condition.operators if n not in left_out])
    return replace(rest, facts={**rest.facts, "contrast": None})
