"""Errors of the excess: against leaving seeds out by hand, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from planted_conditions import condition, policies, variations
from tod.base import DataError
from tod.study.swap.condition import Condition
from tod.study.swap.excess import excess, excess_of_pairs, mean_excess
from tolerance import chance, double


def setting(seed: int, operators: int, seeds: int, shift: float = 0.5) -> Condition:
    rng = np.random.default_rng(seed)
    return condition(variations(policies(rng, 1, operators, seeds, shift)[0]))


def left_out(whole: Condition, s: int) -> Condition:
    rest = np.delete(np.delete(whole.distance, s, axis=1), s, axis=3)
    return condition(rest)


@pytest.mark.parametrize("seeds", [3, 5])
def test_it_is_the_jackknife_over_seeds(seeds: int) -> None:
    whole = setting(0, 3, seeds)
    tables = np.array([excess(left_out(whole, s)) for s in range(seeds)])
    scale = np.sqrt((seeds - 1) * tables.var(axis=0))
    pairs = excess_of_pairs(whole)
    near = double(100, 20)
    for (a, b), (i, j) in {("a", "b"): (0, 1), ("a", "c"): (0, 2), ("b", "c"): (1, 2)}.items():
        assert pairs[a, b].value == pytest.approx(excess(whole)[i, j], abs=near)
        assert pairs[a, b].error == pytest.approx(scale[i, j], abs=near)
    means = tables[:, [0, 0, 1], [1, 2, 2]].mean(axis=1)
    mean = mean_excess(whole)
    assert mean.value == pytest.approx(excess(whole)[[0, 0, 1], [1, 2, 2]].mean(), abs=near)
    assert mean.error == pytest.approx(np.sqrt((seeds - 1) * means.var()), abs=near)
    assert mean.seeds == seeds


def rates(seeds: int, shift: float, count: int = 600) -> tuple[float, float]:
    """Shares of conditions of two operators whose 95 % interval, and ± 2 errors, hold the truth."""
    rng = np.random.default_rng(seeds)
    many = variations(policies(rng, 20, 2, 60, shift))
    truth = np.mean([excess(condition(d))[0, 1] for d in many])
    tables = variations(policies(rng, count, 2, seeds, shift))
    values = [mean_excess(condition(d)) for d in tables]
    inside = [low <= truth <= high for low, high in (x.interval() for x in values)]
    near = [abs(x.value - truth) <= 2 * x.error for x in values]
    return float(np.mean(inside)), float(np.mean(near))


@pytest.mark.parametrize("seeds", [3, 4, 8])
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_the_interval_holds_the_truth(seeds: int, shift: float) -> None:
    """In 95 % at least, up to the chance of 600 conditions."""
    inside, near = rates(seeds, shift)
    assert inside > 0.95 - chance(0.22, 600, 3)
    if shift == 0:
        assert near > 0.95 - chance(0.22, 600, 3)


def test_planted_excess_of_one_pair_among_others() -> None:
    """An operator that ends elsewhere at every seed is apart from all others by the same E."""
    ends = np.array([0.2, 0.2, 0.2, 0.9])[:, None] + np.zeros((1, 4))
    apart = np.abs(ends[:, :, None, None] - ends[None, None])
    pairs = excess_of_pairs(condition(apart))
    assert {names for names, x in pairs.items() if x.beyond(3)} == {
        ("a", "d"), ("b", "d"), ("c", "d"),
    }  # fmt: skip
    assert mean_excess(condition(apart)).value == pytest.approx(0.7 * 2 / 4)


def test_two_seeds_have_a_value_and_no_error() -> None:
    pair = excess_of_pairs(setting(1, 2, 2))["a", "b"]
    assert pair.error is None
    assert pair.p is None


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="one operator"):
        mean_excess(setting(0, 1, 3))
    table = setting(0, 2, 3).distance.copy()
    table[1, 2] = table[:, :, 1, 2] = np.nan
    with pytest.raises(DataError, match="distances of a, b are unknown"):
        excess_of_pairs(condition(table))


def test_a_false_difference_is_rare_at_four_seeds() -> None:
    """p of E = 0 is below 5 % in at most 5 % of conditions: measured .01."""
    tables = variations(policies(np.random.default_rng(3), 1000, 2, 4, 0.0))
    p = np.array([mean_excess(condition(d)).p for d in tables])
    assert stats.binomtest(int((p < 0.05).sum()), 1000, 0.05, alternative="greater").pvalue > 0.001
