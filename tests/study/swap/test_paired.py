"""Paired differences against scipy's paired t, and error rates from planted utilities."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from planted_conditions import of_utility
from tod.base import DataError
from tod.study.swap.paired import OTHERS, against_others, over_prompts, pairs, parting
from tolerance import chance, double


def utilities(
    rng: np.random.Generator, effects: list[float], seeds: int = 4, prompts: int = 50
) -> np.ndarray:
    """Seeds, prompts and their interplay move all operators; an operator's seeds move it alone."""
    shape = (len(effects), seeds, prompts)
    shared = rng.normal(size=shape[1:]) + rng.normal(size=(seeds, 1)) + rng.normal(size=prompts)
    own = 0.05 * rng.normal(size=shape[:2])[..., None] + 0.3 * rng.normal(size=shape)
    return np.array(effects)[:, None, None] + shared + own


def test_a_pair_is_scipys_paired_t_of_the_seed_means() -> None:
    u = utilities(np.random.default_rng(0), [0.0, 0.2, 0.0])
    effects = pairs([of_utility(u)])
    assert [(e.operator, e.against) for e in effects] == [("a", "b"), ("a", "c"), ("b", "c")]
    near = double(300, 100)
    for effect, (a, b) in zip(effects, combinations(range(3), 2), strict=True):
        want = stats.ttest_rel(u[a].mean(axis=1), u[b].mean(axis=1))
        assert effect.difference.value == pytest.approx(np.mean(u[a] - u[b]), abs=near)
        assert effect.difference.p == pytest.approx(want.pvalue)
        low, high = want.confidence_interval()
        assert effect.difference.interval() == pytest.approx((low, high))
        assert effect.tests == 3


def test_an_operator_against_the_mean_of_the_others() -> None:
    u = utilities(np.random.default_rng(1), [0.0, 0.2, 0.0, 0.1])
    for a, effect in enumerate(against_others([of_utility(u)])):
        rest = np.delete(u, a, axis=0).mean(axis=0)
        want = stats.ttest_rel(u[a].mean(axis=1), rest.mean(axis=1))
        assert (effect.operator, effect.against) == ("abcd"[a], OTHERS)
        assert effect.difference.value == pytest.approx(np.mean(u[a] - rest))
        assert effect.difference.p == pytest.approx(want.pvalue)
    assert against_others([of_utility(u[:1])]) == []


def test_every_test_of_the_study_is_counted() -> None:
    rng = np.random.default_rng(2)
    conditions = [of_utility(utilities(rng, [0.0] * 4), f"c{i}") for i in range(5)]
    assert {e.tests for e in pairs(conditions)} == {30}
    assert {e.tests for e in against_others(conditions)} == {20}
    one = of_utility(utilities(rng, [0.0, 0.0], seeds=1), "one seed")
    untested = pairs([*conditions, one])
    assert {e.tests for e in untested} == {30}
    assert untested[-1].adjusted is None


def test_a_task_may_be_corrected_by_itself() -> None:
    rng = np.random.default_rng(11)
    conditions = [of_utility(utilities(rng, [0.0] * 3), f"c{i}", f"t{i % 2}") for i in range(3)]
    whole, own = pairs(conditions), pairs(conditions, family="cluster")
    assert [e.tests for e in own] == [6] * 3 + [3] * 3 + [6] * 3
    assert {e.tests for e in whole} == {9}
    assert [e.adjusted for e in own[3:6]] == [e.adjusted for e in pairs(conditions[1:2])]
    assert {e.tests for e in against_others(conditions, family="cluster")} == {3, 6}


def test_false_findings_are_rare_in_the_whole_study() -> None:
    """400 studies of 4 conditions × 6 pairs without any effect: at most 5 % find one."""
    rng = np.random.default_rng(3)
    count = 400
    studies = (
        [of_utility(utilities(rng, [0.0] * 4, prompts=5)) for _ in range(4)] for _ in range(count)
    )
    wrong = sum(any(e.adjusted <= 0.05 for e in pairs(study)) for study in studies)
    assert stats.binomtest(wrong, count, 0.05, alternative="greater").pvalue > 0.001


def test_the_interval_over_seeds_holds_the_truth() -> None:
    rng = np.random.default_rng(4)
    count = 800
    effects = [pairs([of_utility(utilities(rng, [0.3, 0.0]))])[0] for _ in range(count)]
    inside = [low <= 0.3 <= high for low, high in (e.difference.interval() for e in effects)]
    assert abs(np.mean(inside) - 0.95) < chance(0.22, count, 4)


@pytest.mark.parametrize("shared", [True, False])
def test_over_prompts_it_holds_the_mean_over_all_prompts(shared: bool) -> None:
    """Prompts that all seeds share move all seeds at once; others do not."""
    rng = np.random.default_rng(5)
    count, inside = 300, 0
    for _ in range(count):
        d = rng.normal(size=(1 if shared else 4, 60)) + 0.5 * rng.normal(size=(4, 60))
        low, high = over_prompts(d, shared=shared, resamples=200)
        inside += low <= 0 <= high
    assert abs(inside / count - 0.945) < chance(0.23, count, 4)


def test_over_prompts_its_width_is_the_standard_error() -> None:
    d = np.random.default_rng(6).normal(size=(3, 200))
    low, high = over_prompts(d, resamples=5_000)
    error = d.mean(axis=0).std() / np.sqrt(200)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=5 / np.sqrt(5_000))
    low, high = over_prompts(d, shared=False, resamples=5_000)
    error = np.sqrt((d.var(axis=1) / 200).sum()) / 3
    assert high - low == pytest.approx(2 * 1.96 * error, rel=5 / np.sqrt(5_000))
    assert over_prompts(d, resamples=50) == over_prompts(d, resamples=50)


def test_the_operator_that_parts_from_the_rest_is_named() -> None:
    rng = np.random.default_rng(7)
    apart = pairs([of_utility(utilities(rng, [0.0, 0.0, -3.0, 0.0], seeds=8))])
    assert parting(apart) == ("c",)
    assert parting(pairs([of_utility(utilities(rng, [0.0] * 4))])) == ()
    both = pairs([of_utility(utilities(rng, [0.0, 5.0, -3.0, 0.0], seeds=8))])
    assert set(parting(both)) == {"b", "c"}


def test_a_pair_without_a_third_is_named_by_its_first() -> None:
    u = utilities(np.random.default_rng(8), [0.0, 4.0], seeds=8)
    assert parting(pairs([of_utility(u)])) == ("a",)


def test_the_prompts_are_asked_for() -> None:
    u = utilities(np.random.default_rng(9), [0.0, 1.0])
    assert pairs([of_utility(u)])[0].prompts is None
    low, high = pairs([of_utility(u)], resamples=100)[0].prompts
    assert low < np.mean(u[0] - u[1]) < high < 0


def test_unpaired_utilities_are_refused() -> None:
    u = utilities(np.random.default_rng(10), [0.0, 1.0])
    u[1, 2, 7] = np.nan
    with pytest.raises(DataError, match="b at seed 2 are unknown on some prompts"):
        pairs([of_utility(u)])
