"""Bounds of the next doubling, against laws whose moments are known."""

import numpy as np
import pytest
import scipy.stats

from tod.reranking.doubling import _largest_gain, _least_gain, after_the_last, seen
from tod.reranking.order import in_order, rank_chances
from tod.reranking.verdict import WORTH, _enough
from tolerance import central_difference, double

K = 8


def moments(atoms, weights):
    """m_{K/2}, m_K and m_{2K} of a law of failure chances."""
    return [float((weights * atoms**j).sum()) for j in (K // 2, K, 2 * K)]


def test_every_law_gains_what_the_bounds_allow(rng):
    for _ in range(400):
        size = rng.integers(1, 5)
        atoms, weights = rng.random(size) ** rng.choice([0.05, 0.3, 1.0]), rng.dirichlet([1] * size)
        a, b, after = moments(atoms, weights)
        gain, near = b - after, double(100, 100 / max(1 - a, 1e-3) ** 2)
        assert _least_gain(a, b)[0] - near <= gain <= _largest_gain(a, b)[0] + near


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_bounds_are_reached_by_laws_of_two_atoms(end):
    """Atoms at 0 (sure to pass) for the largest gain, at 1 (hopeless) for the least."""
    atoms, weights = np.array([end, 0.8]), np.array([0.35, 0.65])
    a, b, after = moments(atoms, weights)
    bound = (_largest_gain if end == 0.0 else _least_gain)(a, b)[0]
    assert bound == pytest.approx(b - after, abs=double(100, 50))


def test_a_uniform_law_lies_between(rng):
    """p uniform: m_j = 1/(j + 1), so that 16 of 8 gain 1/9 − 1/17."""
    a, b = 1 / (K // 2 + 1), 1 / (K + 1)
    gain = b - 1 / (2 * K + 1)
    assert _least_gain(a, b)[0] < gain < _largest_gain(a, b)[0]


@pytest.mark.parametrize("bound", [_least_gain, _largest_gain])
def test_derivatives_are_difference_quotients(bound):
    a, b, h = 0.45, 0.3, 1e-5
    _, by_a, by_b = bound(a, b)
    near = central_difference(h, third=1e3, size=100)
    assert by_a == pytest.approx((bound(a + h, b)[0] - bound(a - h, b)[0]) / (2 * h), abs=near)
    assert by_b == pytest.approx((bound(a, b + h)[0] - bound(a, b - h)[0]) / (2 * h), abs=near)


def test_the_interval_covers_the_population(rng):
    """p ~ U(0, 1)², 60 prompts × 8: the truth, by enumeration of p, is covered in 95 % at least."""
    grid = ((np.arange(100_000) + 0.5) / 100_000) ** 2
    truth = ((1 - grid) ** K - (1 - grid) ** (2 * K)).mean()
    covered = 0
    for _ in range(200):
        passed = (rng.random((60, K)) < (rng.random((60, 1)) ** 2)).astype(float)
        ordered = in_order(passed, passed)
        half, whole = ordered @ rank_chances(K, K // 2), ordered @ rank_chances(K, K)
        found = after_the_last(half, whole, K, bounded=True)
        assert found.ci95 is not None
        covered += found.ci95[0] <= truth <= found.ci95[1]
    assert covered >= 185  # of 200 at 95 %: 190 ± 3.1; fewer than 185 in 5 % at the nominal rate


def test_prompts_that_do_not_differ_leave_the_rule_of_three():
    nothing = np.zeros(50)
    found = after_the_last(nothing, nothing, K, bounded=True)
    assert (found.low, found.high) == (0.0, 0.0)
    assert found.ci95 == (0.0, pytest.approx(1 - 0.05 ** (1 / 50)))


def test_unbounded_rewards_gain_at_most_twice_the_last(rng):
    """E[max of 2k] − E[max of k] ≤ 2·(E[max of k] − E[max of k/2]), by normal and Pareto draws."""
    for draws in (rng.normal(size=(4000, 16)), rng.pareto(3.0, size=(4000, 16))):
        half, whole, doubled = (draws[:, :k].max(axis=1) for k in (4, 8, 16))
        found = after_the_last(half, whole, 8, bounded=False)
        assert found.method == "twice"
        assert found.ci95 is not None
        assert 0 <= (doubled - whole).mean() <= found.ci95[1]


def test_a_seen_doubling_is_a_paired_difference(rng):
    before, after = rng.random(30), rng.random(30)
    found = seen(before, after, 4, 8, bounded=True)
    assert found.low == found.high == pytest.approx((after - before).mean())
    assert found.ci95 is not None
    half = scipy.stats.t.ppf(0.975, 29) * (after - before).std(ddof=1) / np.sqrt(30)
    assert found.ci95[1] - found.low == pytest.approx(half)


def test_prompts_that_all_gain_alike_tell_no_error() -> None:
    same = np.full(20, 0.5)
    found = seen(same, same, 4, 8, bounded=True)
    assert found.ci95 == (
        pytest.approx(-(1 - 0.05 ** (1 / 20))),
        pytest.approx(1 - 0.05 ** (1 / 20)),
    )
    assert seen(same, same, 4, 8, bounded=False).ci95 is None
    assert after_the_last(same, same, 8, bounded=False).ci95 is None


@pytest.mark.parametrize("prompts", [2, 3, 5, 20, 100])
@pytest.mark.parametrize(
    "law",
    [
        lambda rng, n: rng.beta(0.3, 3.0, n),
        lambda rng, n: np.where(rng.random(n) < 0.1, 0.2, 0.0),
        lambda rng, n: np.where(rng.random(n) < 0.5, 1.0, 0.08),
    ],
    ids=["spread", "rare", "half_solved"],
)
def test_few_prompts_do_not_call_k_enough(rng, law, prompts) -> None:
    """Pass rates under which 8 add more than is worth it to 4: *enough* is false, and rare."""
    p = law(rng, 100_000)
    assert np.mean((1 - p) ** 4 - (1 - p) ** 8) > 2 * WORTH
    said = 0
    for _ in range(400):
        passes = rng.random((prompts, 4)) < law(rng, prompts)[:, None]
        count = passes.sum(axis=1)
        half = np.array([0, 1 / 2, 5 / 6, 1, 1])[count]  # the best of all pairs of four
        whole = (count > 0).astype(float)
        said += _enough(after_the_last(half, whole, 4, bounded=True), WORTH) == "yes"
        said += _enough(seen(half, whole, 2, 4, bounded=True), WORTH) == "yes"
    assert said <= 0.05 * 800
