"""Holm's correction against its step-down rule, and the rate of false findings under it."""

import numpy as np
import pytest

from tod.base import DataError
from tod.study.swap.holm import holm
from tolerance import double


def rejected(p: list[float], level: float) -> list[bool]:
    """Holm's rule: from the smallest p on, reject while p ≤ level/(tests left)."""
    out = [False] * len(p)
    for i, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[place] > level / (len(p) - i):
            break
        out[place] = True
    return out


def test_by_hand() -> None:
    got = holm([0.01, 0.04, 0.03, 0.005])
    assert got == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=double(4))


@pytest.mark.parametrize("seed", range(5))
def test_it_rejects_what_the_rule_rejects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = [float(x) for x in rng.beta(0.3, 2, size=12)]
    adjusted = holm(p)
    for level in np.linspace(0.0013, 0.999, 400):
        assert rejected(p, level) == [x <= level for x in adjusted]


def test_what_was_not_tested_is_not_counted() -> None:
    assert holm([None, 0.02, None, 0.5]) == [None, 0.04, None, 0.5]
    assert holm([]) == []
    assert holm([None]) == [None]


def test_equal_values_stay_equal_and_none_exceeds_one() -> None:
    assert holm([0.2, 0.2, 0.9]) == pytest.approx([0.6, 0.6, 0.9], rel=double(4))
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_no_probability(value: float) -> None:
    with pytest.raises(DataError, match="outside"):
        holm([0.5, value])
