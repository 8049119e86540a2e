"""ESS_rel over prompts from moments: what is covered, what is refused, what changes nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tod.base import Groups
from tod.population import (
    EssCounts,
    WeightMoments,
    ess_of_scale,
    jackknife_counts,
    weight_moment_ess,
    weight_shape,
)
from tod.population.jackknife import CELLS
from tod.population.weight_moments import (
    HEAVIER_Z,
    HEAVIER_Z_OF_FEW,
    SAFE_Z,
    _chi_power,
    _normal_theory,
)
from tolerance import chance, double, printed


def drawn(rng, prompts=128, k=8, h=0.5, tau=0.3):
    groups = Groups.equal(prompts, k)
    scale = h * np.exp(tau * rng.normal(size=(prompts, 1)))
    return (scale * rng.normal(size=(prompts, k))).ravel(), groups


def read(x, groups, constant="blind"):
    moments = WeightMoments.of(x, groups, constant=constant)
    return weight_moment_ess(moments, jackknife_counts(x, groups, constant=constant))


@pytest.mark.parametrize("k", [4, 8, 64])
@pytest.mark.parametrize("h", [0.3, 0.8, 1.5])
def test_the_interval_holds_the_truth_of_normal_weights(rng, k, h):
    tau, held = 0.4, []
    for _ in range(40):
        got = read(*drawn(rng, 128, k, h, tau))
        held.append(got.median.low <= math.exp(-(h**2)) <= got.median.high)
        assert got.method == "weight_moments"
        assert got.prompts == 128
    assert np.mean(held) >= 0.9 - chance(0.3, 40)


def test_heavy_tails_have_no_lower_end(rng):
    groups = Groups.equal(256, 16)
    got = read(1.2 * rng.standard_t(3, size=groups.total), groups)
    assert (got.median.low, got.median.value) == (0.0, None)
    assert got.median.high < 1


def test_scale_and_shape_of_many_groups(rng):
    groups = Groups.equal(40_000, 8)
    r = 4.0
    x = (rng.gamma(r, size=groups.total) - r) / math.sqrt(r)
    shape = weight_shape(WeightMoments.of(0.7 * x, groups, constant="blind"))
    assert shape.skew == pytest.approx(2 / math.sqrt(r), abs=5 * shape.skew_error)
    assert shape.kurtosis == pytest.approx(6 / r, abs=5 * shape.kurtosis_error)
    assert 0 < shape.correlation < 1
    # the standard errors are those of independent halves
    parts = [Groups.equal(400, 8)] * 100
    shapes = [
        weight_shape(WeightMoments.of(x[3200 * i : 3200 * (i + 1)], g, constant="blind"))
        for i, g in enumerate(parts)
    ]
    for name in ("skew", "kurtosis"):
        spread = np.std([getattr(s, name) for s in shapes], ddof=1)
        error = np.mean([getattr(s, f"{name}_error") for s in shapes])
        # a standard deviation of heavy-tailed values: √((κ − 1)/4n) with κ of up to 9
        assert error == pytest.approx(spread, rel=chance(math.sqrt(2), 100, 3))


@pytest.mark.parametrize("size", [4, 8, 30])
def test_normal_theory_of_k_statistics(rng, size):
    rows = rng.normal(size=(60_000, size))
    moments = WeightMoments.of(rows.ravel(), Groups.equal(*rows.shape), constant="blind")
    theory, n = _normal_theory(moments, 0.0), len(rows)
    # of heavy-tailed products: twenty times the error that they have where they are normal
    near = chance(20.0, n)
    assert theory.cube / (n * size) == pytest.approx(1.0, rel=near)
    assert moments.sum_of("k3_k3") == pytest.approx(theory.third, rel=near)
    assert moments.sum_of("k4_k4") == pytest.approx(theory.fourth, rel=near)


def test_powers_of_chi_square():
    assert _chi_power(7, 1) == pytest.approx(1.0, rel=double(64))
    assert _chi_power(7, 4) == pytest.approx(9 * 11 * 13 / 7**3, rel=double(64))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_labels_of_steps_change_nothing(seed):
    rng = np.random.default_rng(seed)
    x, groups = drawn(rng, 40)
    whole = weight_moment_ess(WeightMoments.of(x, groups, constant="blind"))
    total = WeightMoments()
    for step in np.array_split(rng.permutation(40), 4):
        some, rows = groups.take(step)
        total = total + WeightMoments.of(x[rows], some, constant="blind")
    pooled = weight_moment_ess(total)
    for a, b in ((whole.median, pooled.median), (whole.q10, pooled.q10)):
        assert (a.value is None) == (b.value is None)
        # a root of squared moves: the largest of them loses half of the digits at a branch
        np.testing.assert_allclose(
            [a.low, a.high], [b.low, b.high], rtol=0, atol=math.sqrt(double(64))
        )


@pytest.mark.parametrize("ess", [0.5, 0.7])
def test_the_sharpness_of_an_ess(rng, ess):
    x, groups = drawn(rng, 20_000, 8, 0.3, 0.2)
    moments = WeightMoments.of(x, groups, constant="blind")
    shape = weight_shape(moments)
    eta = shape.eta_at_ess(ess)
    at = weight_shape(moments.scaled(eta))
    value = math.exp(at.log_ends(0.5)[1])
    # the grids of the two posteriors are a thousandth apart
    assert value == pytest.approx(ess, abs=printed(2))
    assert eta == pytest.approx(math.sqrt(-math.log(ess)) / 0.3, rel=chance(2.0, 20_000))
    assert shape.eta_at_ess(ess, z=SAFE_Z) < eta


def test_too_little_is_not_readable_and_says_why(rng):
    pairs = Groups.equal(64, 3)
    got = read(rng.normal(size=pairs.total), pairs)
    assert got.median is None
    assert "4 are needed" in got.unreadable
    few = Groups.equal(20, 8)
    x = np.zeros(few.total)
    x[:56] = rng.normal(size=56)
    assert read(x, few).unreadable == "7 prompts whose rewards differ: 8 are needed"
    assert read(x, few).prompts == 7


def test_constant_log_ratios_are_prompts_of_full_overlap(rng):
    x, groups = drawn(rng, 128, 8, 1.0, 0.2)
    assert read(np.zeros(1024), groups, "one").median.to_dict() == {"low": 1, "value": 1, "high": 1}
    fresh = groups.spread(np.arange(128) < 32)
    x = np.where(fresh, 0.0, x)
    got = read(x, groups, "one")
    # the median of all is the third of four parts of the others
    truth = math.exp(-(math.exp(0.2 * -0.4307) ** 2))
    assert got.median.low <= truth <= got.median.high
    assert got.prompts == 128
    assert read(x, groups).prompts == 96
    mostly = np.where(groups.spread(np.arange(128) < 124), 0.0, x)
    got = read(mostly, groups, "one")
    assert got.median.low == 1
    assert got.q10 is None or got.q10.low == 1


def test_weights_of_zero_give_a_high_end_only(rng):
    x, groups = drawn(rng)
    x[::8] = -np.inf
    moments = WeightMoments.of(x, groups, constant="blind")
    assert "weight of zero" in weight_moment_ess(moments).unreadable
    got = read(x, groups)
    assert (got.median.low, got.median.value) == (0.0, None)
    assert got.median.high < 1


def test_the_jackknife_caps_and_widens(rng):
    x, groups = drawn(rng, h=0.8)
    moments = WeightMoments.of(x, groups, constant="blind")
    plain = weight_moment_ess(moments).median
    low = EssCounts.of(np.full(128, plain.value))
    assert weight_moment_ess(moments, low).median.high == pytest.approx(plain.value, abs=1 / CELLS)
    bounded = rng.choice([-0.5, 0.5], size=groups.total)
    moments = WeightMoments.of(bounded, groups, constant="blind")
    assert weight_shape(moments).bounded
    wide = weight_moment_ess(moments, EssCounts.of(np.linspace(0, 1, 400) ** 2))
    assert wide.median.low < weight_moment_ess(moments).median.low


def test_small_groups_are_taken_for_heavier(rng):
    """Half of the groups of 4 and half of 8: half way between; the low end moves, no other."""
    sizes = np.repeat([4, 8], 20)
    x = rng.uniform(-0.3, 0.3, size=sizes.sum())
    shape = weight_shape(WeightMoments.of(x, Groups(sizes), constant="blind"))
    assert shape.heavier == pytest.approx((HEAVIER_Z + HEAVIER_Z_OF_FEW) / 2)
    few = weight_shape(WeightMoments.of(x, Groups.equal(len(x) // 4, 4), constant="blind"))
    many = weight_shape(WeightMoments.of(x, Groups.equal(len(x) // 8, 8), constant="blind"))
    assert (few.heavier, many.heavier) == (HEAVIER_Z_OF_FEW, HEAVIER_Z)
    low, value, high = few.log_ends(0.5)
    other = replace(few, heavier=HEAVIER_Z).log_ends(0.5)
    assert low < other[0]
    assert (value, high) == other[1:]


def test_ends_move_as_their_errors_correlate(rng):
    x, groups = drawn(rng, h=0.4)
    shape = weight_shape(WeightMoments.of(x, groups, constant="blind"))
    low, value, _ = shape.log_ends(0.5)
    _, h, high = shape.scales.quantile(0.5)
    g1, g2 = shape.skew, shape.kurtosis
    moved = [
        value - math.log(float(ess_of_scale(*at)))
        for at in (
            (high, g1, g2),
            (h, g1 + HEAVIER_Z * shape.skew_error, g2),
            (h, g1, g2 + HEAVIER_Z * shape.kurtosis_error),
        )
    ]
    a, b, c = (max(m, 0.0) for m in moved)
    want = math.sqrt(a**2 + b**2 + c**2 + 2 * shape.correlation * b * c)
    assert value - low == pytest.approx(want, rel=double(64, 64))
