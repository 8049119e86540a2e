"""Activation, clip fractions by sign, and quantiles of log ρ."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tod.base import DataError, Groups
from tod.diagnostics import activation_of_clip
from tod.diagnostics.activation import (
    activation,
    activation_sums,
    changed,
    clip_fractions,
    gate_quantiles,
    log_rho_quantiles,
)
from tod.operators import Clip, Level, Mask, Truncate, TrustRegionSpec, Unbounded, at_level
from tolerance import double, printed

OLD = np.array([-1.0, -2.0, -0.5, -0.7, -1.5, -2.5, -0.3])
NEW = np.array([-0.5, -2.1, -0.5, -1.2, -0.2, -2.4, -0.35])
LOG_RHO = NEW - OLD
ADVANTAGE = Groups(np.array([3, 4])).spread(np.array([1.2, -0.7]))


def test_reference_fractions(backend):
    found = clip_fractions(backend.make(LOG_RHO), backend.make(ADVANTAGE), 0.2, 0.28)
    assert (found.low, found.high) == (1 / 7, 1 / 7)


def test_soft_gate_reference(backend):
    tau = np.where(ADVANTAGE > 0, 1.0, 1.05)
    p = 1 / (1 + np.exp(-tau * (np.exp(LOG_RHO) - 1)))
    found = activation(backend.make(4 * p * (1 - p)), backend.make(np.sign(ADVANTAGE)))
    assert found == pytest.approx(1 - 0.8671331715, abs=printed(10) + backend.rounding(7 + 4))


def test_the_sign_decides():
    """Every token is outside the band; a clip acts only where it would stop a gradient."""
    x = np.log([0.5, 2.0, 0.5, 2.0])
    found = clip_fractions(x, np.array([1.0, -1.0, -1.0, 1.0]), 0.2, 0.2)
    assert (found.low, found.high) == (0.25, 0.25)


def test_the_band_is_in_rho_not_in_its_logarithm():
    """1 − 0.2 = 0.8 is the lower edge, 1/1.2 = 0.83 is not."""
    x = np.log([0.82, 0.79, 1.19, 1.21])
    found = clip_fractions(x, np.array([-1.0, -1.0, 1.0, 1.0]), 0.2, 0.2)
    assert (found.low, found.high) == (0.25, 0.25)


def test_both_denominators(backend):
    x = backend.make(np.log([0.5, 2.0, 2.0, 1.0]))
    found = clip_fractions(x, backend.make([-1.0, 1.0, 0.0, 0.0]), 0.2, 0.2)
    assert (found.low, found.high) == (0.25, 0.25)
    assert (found.low_active, found.high_active) == (0.5, 0.5)
    blind = clip_fractions(x, backend.make(np.zeros(4)), 0.2, 0.2)
    assert (blind.low, blind.low_active, blind.high_active) == (0.0, None, None)


def test_no_lower_bound_from_one_on():
    found = clip_fractions(np.array([-np.inf, -50.0]), np.array([-1.0, -1.0]), 1.0, 0.2)
    assert found.low == 0.0


@pytest.mark.parametrize(("low", "high", "size"), [(-0.1, 0.2, 1), (0.2, -0.1, 1), (0.2, 0.2, 0)])
def test_nonsense(low, high, size):
    with pytest.raises(DataError, match="clip fractions"):
        clip_fractions(np.zeros(size), np.zeros(size), low, high)


def test_activation_of_nothing_is_unknown(backend):
    """Nothing: no token, or no gradient that could be changed."""
    assert activation(backend.make([]), backend.make([])) is None
    assert activation(backend.make([0.0, 1.0]), backend.make([0.0, 0.0])) is None
    assert activation_of_clip(0.0, 0.0) is None
    gate, one = backend.make([1.0, 0.0, 0.5, 0.5]), backend.make([1.0, -1.0, 1.0, -1.0])
    assert activation(gate, one) == 0.5


def regions():
    """Members of the union, each at its defaults and at settings that are easily got wrong."""
    union = get_args(get_args(TrustRegionSpec)[0])
    found = [region() for region in union]
    found += [Truncate(cap=1.0, floor=1.0), Truncate(cap=2.0, floor=0.5), Truncate(cap=1e-6)]
    found += [Clip(low=0.003, high=0.5), Clip(low=2.0, high=0.0), Mask(low=0.0, high=1e-3)]
    return found


@pytest.mark.parametrize("level", get_args(Level))
@pytest.mark.parametrize("region", regions(), ids=repr)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3, 1e300]))
@settings(max_examples=20, deadline=None)
def test_between_0_and_1_for_every_region_level_and_input(region, level, seed, scale):
    """Version 0.1 averaged |1 − g|: 75, and 10⁹, with a cap of 1, a floor of 1 and a stale μ."""
    rng = np.random.default_rng(seed)
    sequences = Groups(rng.integers(1, 9, 12))
    log_rho = np.clip(scale * rng.normal(size=sequences.total), -1e300, 1e300)
    advantage = rng.choice([0.0, 1.0, -1.0, 1e-300, -1e300], sequences.total)
    length = sequences.spread(sequences.sizes.astype(float))
    with np.errstate(all="ignore"):
        known = {"log_old": -rng.gamma(1.5, 0.8, len(log_rho))} if region.reads_old else {}
        gate = region.gate(at_level(log_rho, sequences, level), advantage, length, **known)
    found = activation(gate, advantage)
    assert (found is None) == (not advantage.any())
    if found is not None:
        assert 0 <= found <= 1
        if isinstance(region, Unbounded):
            assert found == 0


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_clip_at_equal_advantages_reads_its_clip_fraction(seed):
    rng = np.random.default_rng(seed)
    log_rho, sign = 0.5 * rng.normal(size=200), rng.choice([-2.5, 0.0, 2.5], 200)
    region = Clip(low=0.2, high=0.28)
    counted = clip_fractions(log_rho, sign, 0.2, 0.28)
    got = activation(region.gate(log_rho, sign, np.ones(200)), sign)
    assert got == pytest.approx(counted.low_active + counted.high_active, rel=double(200))
    logged = activation_of_clip(counted.low + counted.high, float((sign != 0).mean()))
    assert logged == pytest.approx(got, rel=double(200))


def test_sums_of_parts_are_those_of_the_step():
    rng = np.random.default_rng(5)
    gate, advantage = rng.exponential(1.0, 60), rng.normal(size=60)
    sums = np.array([activation_sums(gate[i::3], advantage[i::3]) for i in range(3)]).sum(axis=0)
    assert sums[0] / sums[1] == pytest.approx(activation(gate, advantage), rel=double(200))


def test_taking_and_adding_count_alike():
    """A token at half of its weight and one at twice of it are changed by half of the larger."""
    np.testing.assert_allclose(
        changed(np.array([0.0, 0.5, 1.0, 2.0, 1e9, np.inf])), [1, 0.5, 0, 0.5, 1 - 1e-9, 1]
    )


def test_quantiles_are_order_statistics(backend, rng):
    x = rng.normal(size=101)
    found = log_rho_quantiles(backend.make(x))
    ordered = np.sort(x)
    assert list(found) == ["min", "q01", "q05", "q50", "q95", "q99", "max"]
    picked = [ordered[i] for i in (0, 1, 5, 50, 95, 99, 100)]
    assert list(found.values()) == pytest.approx(picked, rel=backend.rounding(1))
    assert gate_quantiles(backend.make(x))["q50"] == pytest.approx(
        ordered[50], rel=backend.rounding(1)
    )
