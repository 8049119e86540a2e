"""Moments of log-weights: unbiased k-statistics, sums that add and scale, and a small record."""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, Groups
from tod.population import WeightMoments, k_statistics
from tod.population.moments import CELL, POWERS
from tolerance import double


def moments(rng, sizes, scale=1.0, constant="blind"):
    groups = Groups(np.asarray(sizes))
    return WeightMoments.of(scale * rng.gamma(2.0, size=groups.total), groups, constant=constant)


SIZES = {
    0: "weight",
    3: "cube",
    4: "kappa22",
    6: "cube_cube",
    7: "cube_kappa22",
    8: "kappa22_kappa22",
}
"""The sum of positive numbers of every power: others of that power may cancel."""


def same(a, b, near):
    for name, power in POWERS.items():
        size = a.sum_of(SIZES[power]) + b.sum_of(SIZES[power])
        assert a.sum_of(name) == pytest.approx(b.sum_of(name), rel=0, abs=near * size), name


def test_expectations_over_all_samples_of_a_coin():
    rows = np.array(list(product([0.0, 1.0], repeat=5)))
    chance = np.prod(np.where(rows == 1, 0.3, 0.7), axis=1)
    k, near = k_statistics(rows.T), double(64, 4)
    assert chance @ k.k2 == pytest.approx(0.21, rel=near)
    assert chance @ k.k3 == pytest.approx(0.084, rel=near)
    assert chance @ k.k4 == pytest.approx(-0.0546, rel=near)
    assert chance @ k.kappa22 == pytest.approx(0.0441, rel=near)


@pytest.mark.parametrize("size", [4, 6])
def test_expectations_over_all_samples_of_three_values(size):
    values, p = np.array([-1.0, 0.5, 3.0]), np.array([0.5, 0.3, 0.2])
    at = np.array(list(product(range(3), repeat=size)))
    k, chance = k_statistics(values[at].T), np.prod(p[at], axis=1)
    x = values - p @ values
    m2, m3, m4 = (float(p @ x**r) for r in (2, 3, 4))
    want = m2, m3, m4 - 3 * m2**2, m2**2
    got = [float(chance @ y) for y in (k.k2, k.k3, k.k4, k.kappa22)]
    assert got == pytest.approx(want, rel=double(len(at), 8))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 12), st.integers(0, 99))
def test_moments_add_whatever_the_order(sizes, cut, seed):
    rng = np.random.default_rng(seed)
    groups = Groups(np.array(sizes))
    x = rng.normal(size=groups.total)
    whole = WeightMoments.of(x, groups, constant="blind")
    order = rng.permutation(len(sizes))
    total = WeightMoments()
    for at in (order[:cut], order[cut:]):
        some, rows = groups.take(at)
        total = total + WeightMoments.of(x[rows], some, constant="blind")
    same(total, whole, double(64, 8))
    assert total.scales == whole.scales
    assert (total.groups, total.short) == (whole.groups, whole.short)


@given(st.floats(0.01, 30.0), st.sampled_from([1, -1]), st.integers(0, 99))
def test_moments_of_u_scale_to_those_of_eta_u(size, sign, seed):
    rng, groups = np.random.default_rng(seed), Groups(np.array([4, 8, 8, 5, 16]))
    u, eta = rng.gamma(2.0, size=groups.total), size * sign
    scaled = WeightMoments.of(u, groups, constant="blind").scaled(eta)
    direct = WeightMoments.of(eta * u, groups, constant="blind")
    same(scaled, direct, double(256, 64))
    assert scaled.eta == pytest.approx(eta, rel=double(8, 8))
    for k, (log_k2, count) in direct.log_k2().items():
        near, number = scaled.log_k2()[k]
        assert number.sum() == count.sum()
        # a cell's centre is half a cell from what it holds, in both
        both = np.repeat(near, number) - np.repeat(log_k2, count)
        assert np.abs(both).max() <= CELL * (1 + double(64, 64))


def test_moments_at_other_sharpness_are_brought_to_the_first(rng):
    groups = Groups.equal(20, 8)
    u = rng.normal(size=groups.total)
    a, b = (WeightMoments.of(s * u, groups, constant="blind") for s in (1.0, 0.25))
    same(a + b.scaled(-4.0), a + a.scaled(-1.0), double(256, 64))
    assert (a + b.scaled(4.0)).groups == 40


def test_a_shift_of_a_group_changes_nothing(rng):
    groups = Groups(np.array([4, 8, 6]))
    x = rng.normal(size=groups.total)
    shift = groups.spread(np.array([1.0, -3.0, 10.0]))
    a, b = (WeightMoments.of(y, groups, constant="blind") for y in (x, x + shift))
    same(a, b, double(64, 64))


def test_groups_that_tell_nothing_are_counted():
    groups = Groups(np.array([4, 4, 4, 4, 3, 4, 1, 4]))
    rows = [
        [0.0, 1.0, 2.0, 4.0],
        [1.0] * 4,
        [0.0, -np.inf, 1.0, 2.0],
        [np.nan, 0.0, 1.0, 2.0],
        [0.0, 1.0, 2.0],
        [-np.inf] * 4,
        [0.0],
        [0.1 + 0.2, 0.3, 0.3, 0.3],
    ]
    m = WeightMoments.of(np.concatenate(rows), groups, constant="one")
    assert (m.groups, m.constant, m.infinite, m.invalid, m.short) == (1, 2, 1, 2, 2)
    assert m.constant_is_one


def test_the_record_is_small_and_whole(rng):
    m = moments(rng, [8] * 128, 0.7) + moments(rng, [8] * 128, 2.0)
    text = json.dumps(m.to_dict())
    assert len(text) < 2048
    assert WeightMoments.from_dict(json.loads(text)) == m


def test_what_does_not_go_together_is_refused(rng):
    a, b = moments(rng, [8] * 3), moments(rng, [8] * 3, constant="one")
    with pytest.raises(DataError, match="pool each apart"):
        a + b
    with pytest.raises(DataError, match="other than 0"):
        a.scaled(0.0)
    with pytest.raises(DataError, match="one for each"):
        WeightMoments.of(np.zeros(3), Groups.equal(1, 4), constant="one")
