"""The statistics of legs against enumerable worlds."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tod.base import Groups
from tod.population import leg_statistics
from tolerance import double


def ess(first, second):
    """1/(1 + χ²(first‖second)) of two laws on a finite space."""
    return 1.0 / float((first**2 / second).sum())


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.1), st.floats(0.1, 4.0))
def test_the_near_policy_bound_holds_in_enumerable_worlds(seed, width, eta):
    """π within e^{±δ} of μ at every outcome: q*/π lies within e^{±δ} of q*/μ."""
    rng = np.random.default_rng(seed)
    mu = rng.dirichlet(np.ones(12))
    pi = mu * np.exp(width * rng.uniform(-0.5, 0.5, 12))
    pi /= pi.sum()
    target = mu * np.exp(eta * rng.normal(size=12))
    target /= target.sum()
    delta = float(np.abs(np.log(pi / mu)).max())
    far, near = ess(target, pi), ess(target, mu)
    slack = 1 + double(64, 1 + eta)
    assert near * math.exp(-delta) / slack <= far <= near * math.exp(delta) * slack


def test_the_third_leg_is_read_only_where_the_policies_agree():
    rng = np.random.default_rng(0)
    groups = Groups.equal(64, 8)
    u = rng.normal(size=groups.total)
    for spread, read in ((1e-6, True), (0.02, True), (0.5, False)):
        log_r = np.clip(spread * rng.normal(size=len(u)), -4 * spread, 4 * spread)
        statistics = leg_statistics(groups, log_w=u, anchored=True, eta=0.3, log_r=log_r)
        found = statistics.population()
        assert ("target_policy" in found) == read
        if read:
            first, third = found["target_proposal"].median, found["target_policy"].median
            assert third.low < first.low
            assert third.high > first.high
            assert third.value == first.value


def test_what_nothing_was_drawn_of_is_not_read():
    groups = Groups.equal(12, 1)
    found = leg_statistics(groups, log_w=np.arange(12.0), anchored=True, eta=1.0).population()
    assert found["target_proposal"].median is None
    assert found["target_proposal"].unreadable
