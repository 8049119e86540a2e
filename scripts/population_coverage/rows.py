"""Rows of the table: which worlds each is made of."""

from collections.abc import Callable

import numpy as np

from population_coverage.graded_worlds import HARD, HEAVY, LIGHT
from population_coverage.leg_worlds import HARD_LEGS, LEGS
from population_coverage.partial_credit import partial_credit
from population_coverage.world import World
from population_coverage.zero_one import homogeneous, point_masses, smooth, two_points

__all__ = ["HARD_ROWS", "ROWS", "world_of"]

Maker = Callable[[np.random.Generator], World]

ROWS: dict[str, tuple[Maker, ...]] = {
    "0/1": (smooth,),
    "partial credit": (partial_credit,),
    "graded light": LIGHT,
    "graded heavy": HEAVY,
    "legs": LEGS,
}
"""Families: their makers take turns."""
HARD_ROWS: dict[str, tuple[Maker, ...]] = {
    "0/1, two pass rates": (two_points,),
    "0/1, a few pass rates": (point_masses,),
    "0/1, one pass rate": (homogeneous,),
    **{f"graded, {name}": (maker,) for name, maker in HARD.items()},
    **{f"legs, {name}": (maker,) for name, maker in HARD_LEGS.items()},
}
"""Worlds on which a method is known to be weak, reported as they are."""


def world_of(row: str, number: int, seed: int) -> World:
    """World of that number of a row: the same seed makes the same world at every K."""
    rows = {**ROWS, **HARD_ROWS}
    makers = rows[row]
    rng = np.random.default_rng([seed, list(rows).index(row), number])
    return makers[number % len(makers)](rng)
