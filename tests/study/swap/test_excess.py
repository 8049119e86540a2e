"""The excess of two operators over their seeds, by hand and by its expectation."""

import numpy as np
import pytest

from tod.base import DataError
from tod.study.swap import Condition, excess
from tolerance import rounding


def condition(ends: np.ndarray) -> Condition:
    """Policies that are points of a plane, [A, S, 2]."""
    apart = np.linalg.norm(ends[:, :, None, None] - ends[None, None], axis=-1)
    count, seeds = ends.shape[:2]
    names = tuple(f"operator {i}" for i in range(count))
    return Condition("η 1", "world 0", names, tuple(range(seeds)), apart, ends[..., :1])


def by_pairs(distance: np.ndarray, a: int, b: int) -> float:
    """The definition, pair by pair of seeds."""
    seeds = range(distance.shape[1])
    pairs = [(s, t) for s in seeds for t in seeds if s != t]
    return float(
        np.mean(
            [
                distance[a, s, b, t] - 0.5 * distance[a, s, a, t] - 0.5 * distance[b, s, b, t]
                for s, t in pairs
            ]
        )
    )


def test_it_is_the_mean_over_pairs_of_seeds() -> None:
    setting = condition(np.random.default_rng(0).normal(size=(3, 4, 2)))
    table = excess(setting)
    assert not np.diagonal(table).any()
    for a in range(3):
        for b in range(3):
            assert table[a, b] == pytest.approx(
                by_pairs(setting.distance, a, b), abs=rounding("float64", 40)
            )


def test_it_is_nought_in_the_mean_for_one_operator_under_two_names() -> None:
    """300 conditions of 2 operators whose ends have one distribution: the mean is within 4 se."""
    rng = np.random.default_rng(1)
    values = [excess(condition(rng.normal(size=(2, 4, 2))))[0, 1] for _ in range(300)]
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error


def test_one_seed_is_refused() -> None:
    with pytest.raises(DataError, match="fewer than two"):
        excess(condition(np.zeros((2, 1, 2))))


def test_a_one_way_distance_is_refused() -> None:
    apart = np.zeros((2, 2, 2, 2))
    apart[0, 0, 1, 1] = 0.5
    with pytest.raises(DataError, match="not symmetric"):
        Condition("η 1", "w", ("a", "b"), (0, 1), apart, np.zeros((2, 2, 5)))
