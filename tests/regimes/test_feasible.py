"""Feasible sharpness: reference values, brute force, and the degenerate cases by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp

from tod.base import Groups, SpecError
from tod.base.roots import falling_roots
from tod.diagnostics import ess_rel
from tod.operators import kl_budget
from tod.regimes import eta_for_ess, eta_for_quantile, k_for_error, k_for_ess, k_for_kl
from tod.regimes.feasible import (
    eta_for_ess_binary,
    eta_for_fraction,
    feasible_interval,
    gaussian_step,
    path_temperature,
)
from tolerance import double, of_weights, printed

U5 = np.array([0, 0.2, 0.5, 1, 1])
U9 = np.array([-1.2, -0.7, -0.1, 0, 0.3, 0.4, 0.9, 1.1])
BINARY = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])


def one(x):
    return Groups.equal(1, len(x))


def log_ess(w):
    return 2 * logsumexp(w) - logsumexp(2 * w)


def test_reference_values_of_the_search(backend):
    for target, eta in ((0.9, 0.8403469752), (0.6, 2.4606309475), (0.45, 4.7183626881)):
        found = eta_for_ess(backend.make(U5), one(U5), target)[0]
        # utilities are rounded once, then searched in double precision
        assert found == pytest.approx(eta, rel=backend.rounding(1, 4), abs=printed(10))
    assert eta_for_ess(backend.make(U5), one(U5), 0.4)[0] == np.inf
    assert eta_for_ess(backend.make(U5), one(U5), 0.4, eta_max=7.0)[0] == 7.0


def test_reference_values_of_the_binary_form():
    cases = ((2, 0.5, 1.8662640413), (1, 0.5, 1.7683205358), (4, 0.75, 1.3169578969))
    for passes, target, eta in (*cases, (2, 0.9, 0.6694968118)):
        found = eta_for_ess_binary(np.array([passes]), np.array([8]), target)[0]
        assert found == pytest.approx(eta, abs=printed(10))


def test_reference_values_of_the_gaussian_step_and_of_path_tempering():
    assert ess_rel(U9, one(U9))[0] == pytest.approx(0.7118591348, abs=printed(10))
    step = gaussian_step(1.0, float(ess_rel(U9, one(U9))[0]), 0.5)
    assert step == pytest.approx(1.4280814314, abs=printed(10))
    assert eta_for_ess(U9, one(U9), 0.5)[0] == pytest.approx(1.7161727054, abs=printed(10))
    w = np.array([0, 1, 2, 5, 9.0])
    assert path_temperature(w, one(w), 0.5)[0] == pytest.approx(0.2672089648, abs=printed(10))
    assert path_temperature(w / 1000, one(w), 0.5)[0] == 1.0


def test_reference_values_of_the_aggregate():
    utility = np.concatenate([U5, U9, BINARY])
    contexts = Groups(np.array([5, 8, 8]))
    star = eta_for_ess(utility, contexts, 0.6)
    expected = [2.4606309475, 1.3369058384, 2.2924316696]
    np.testing.assert_allclose(star, expected, rtol=0, atol=printed(10))
    assert eta_for_fraction(star, 1 / 3) == pytest.approx(2.2924316696, abs=printed(10))
    assert eta_for_quantile(utility, contexts, 0.6, 0.5) == pytest.approx(
        2.2924316696, abs=printed(10)
    )


def test_reference_values_when_the_anchor_is_not_the_proposal():
    w0, u = np.array([0, -2, -4.0]), np.array([0, 1, 2.0])
    for eta in (0.0, 1.4, 2.0, 4.0):
        found = feasible_interval(w0, u, one(u), 0.8, eta=eta)
        assert found.low[0] == pytest.approx(1.3565064528, abs=printed(10))
        assert found.high[0] == pytest.approx(2.6434935472, abs=printed(10))
        assert bool(found.contains[0]) is (1.36 < eta < 2.64)


def test_disconnected_feasible_sets_are_not_jumped_between():
    w0, u = np.array([0, -2, -8, -18.0]), np.array([0, 1, 2, 3.0])
    for eta, value in ((2, 2.0364698303), (4, 1.5583710286), (6, 2.0732379869)):
        assert np.exp(log_ess(w0 + eta * u)) == pytest.approx(value, abs=printed(10))
    near = feasible_interval(w0, u, one(u), 0.5, eta=2.0)
    far = feasible_interval(w0, u, one(u), 0.5, eta=6.0)
    assert near.high[0] < 4 < far.low[0]
    assert feasible_interval(w0, u, one(u), 0.5, eta=3.9).high[0] == near.high[0]
    assert feasible_interval(w0, u, one(u), 0.5, eta=4.1).low[0] == far.low[0]
    gone = feasible_interval(w0, u, one(u), 0.6, eta=2.0)
    assert np.isnan(gone.low[0])
    assert np.isnan(gone.high[0])
    assert not gone.contains[0]


floats = st.floats(-3, 3, allow_nan=False, width=32)


@given(st.lists(st.lists(floats, min_size=2, max_size=9), min_size=1, max_size=5), st.data())
def test_the_search_against_brent(rows, data):
    target = data.draw(st.sampled_from([0.3, 0.5, 0.7, 0.9]))
    contexts = Groups(np.array([len(row) for row in rows]))
    star = eta_for_ess(np.concatenate(rows), contexts, target)
    for row, found in zip(rows, star, strict=True):
        u = np.array(row)
        goal = np.log(target * len(u))
        ties = np.log(np.sum(u == u.max()))
        if ties >= goal - double(8, np.log(len(u))):
            assert found == np.inf
            continue
        top = 1.0 / (u.max() - u.min())
        while log_ess(top * u) > goal:
            top *= 2
        exact = brentq(lambda x, u=u, goal=goal: log_ess(x * u) - goal, 0, top, xtol=1e-300)
        # near ties ESS is flat to rounding over a range of eta, and any point of it is a root
        near = of_weights("float64", len(u), exact * np.ptp(u))
        flat = abs(log_ess(found * u) - log_ess(exact * u)) <= near
        assert flat or found == pytest.approx(exact)
        assert log_ess(found * u) == pytest.approx(goal, abs=near)


@given(st.integers(0, 12), st.integers(1, 12), st.floats(0.05, 0.99))
def test_the_binary_form_is_the_search(passes, size, target):
    passes = min(passes, size)
    u = np.array([1.0] * passes + [0.0] * (size - passes))
    closed = eta_for_ess_binary(np.array([passes]), np.array([size]), target)[0]
    gap = abs(passes / size - target)  # log ESS falls as slowly as that, and η is where it crosses
    if gap < 1e-6:
        return
    near = of_weights("float64", size, 20.0) / gap
    assert closed == pytest.approx(eta_for_ess(u, one(u), target)[0], rel=near)


def test_eta_for_fraction_is_exactly_the_largest(rng):
    utility, contexts = rng.normal(size=60 * 8), Groups.equal(60, 8)
    star = eta_for_ess(utility, contexts, 0.6)
    for fraction in (0.0, 0.1, 0.29, 0.5):
        eta = eta_for_fraction(star, fraction)
        below = lambda e: (ess_rel(e * utility, contexts) < 0.6).sum()  # noqa: E731
        assert below(eta * (1 - 1e-9)) <= fraction * 60 < below(eta * (1 + 1e-9))
    assert eta_for_fraction(np.array([1.0, np.nan, 2.0]), 0.0) == 1.0
    assert eta_for_fraction(np.array([1.0]), 1.0) == np.inf
    assert eta_for_fraction(np.arange(100.0), 0.29) == 29.0  # 0.29 * 100 is 28.999999999999996
    with pytest.raises(SpecError, match="fraction"):
        eta_for_fraction(np.array([np.nan]), 0.1)


def test_general_search_against_a_fine_grid(rng):
    for _ in range(12):
        size = int(rng.integers(2, 7))
        w0, u = rng.normal(size=size) * 3, rng.normal(size=size)
        target = float(rng.choice([0.35, 0.5, 0.75]))
        eta = float(rng.uniform(0, 10))
        grid, spacing = np.linspace(0, 10, 40001, retstep=True)
        ok = ess_rel((w0 + np.outer(grid, u)).reshape(-1), Groups.equal(len(grid), size)) >= target
        found = feasible_interval(w0, u, one(u), target, eta=eta, eta_max=10.0, resolution=1e-3)
        if not ok.any():
            assert np.isnan(found.high[0])
            continue
        place = int(np.argmin(np.where(ok, np.abs(grid - eta), np.inf)))
        bad = np.flatnonzero(~ok)
        upper = bad[bad > place]
        lower = bad[bad < place]
        high = grid[upper[0] - 1] if upper.size else 10.0
        low = grid[lower[-1] + 1] if lower.size else 0.0
        assert found.high[0] == pytest.approx(high, abs=spacing)
        assert found.low[0] == pytest.approx(low, abs=spacing)


def test_general_search_is_the_monotone_one_when_the_anchor_is_the_proposal(rng):
    u, contexts = rng.normal(size=21), Groups(np.array([4, 9, 8]))
    found = feasible_interval(np.zeros(21), u, contexts, 0.5, eta=0.1, eta_max=50.0)
    np.testing.assert_allclose(
        found.high, eta_for_ess(u, contexts, 0.5), rtol=of_weights("float64", 9, 50)
    )
    assert (found.low == 0).all()


def test_singleton_context_is_feasible_at_any_sharpness():
    assert eta_for_ess(np.array([3.0]), one([3]), 0.9)[0] == np.inf
    found = feasible_interval(np.array([1.0]), np.array([3.0]), one([3]), 0.9, eta=1.0)
    assert (found.low[0], found.high[0]) == (0.0, 100.0)


def test_constant_utility_is_feasible_at_any_sharpness():
    assert eta_for_ess(np.full(6, 0.3), one(range(6)), 0.9)[0] == np.inf
    assert np.isnan(eta_for_quantile(np.full(6, 0.3), one(range(6)), 0.9))


def test_target_of_one_needs_no_sharpness():
    assert eta_for_ess(U9, one(U9), 1.0)[0] == 0.0


def test_candidates_outside_the_support_count_in_k():
    u = np.array([-np.inf, -np.inf, 0.0, 1.0, 1.5])
    found = eta_for_ess(u, one(u), 0.5)[0]
    assert np.exp(log_ess(found * u[2:])) == pytest.approx(2.5)
    assert np.isnan(eta_for_ess(u, one(u), 0.7)[0])
    assert np.isnan(eta_for_ess(np.full(3, -np.inf), one(range(3)), 0.7)[0])
    general = feasible_interval(np.where(np.isinf(u), u, 0.0), np.maximum(u, 0), one(u), 0.5, eta=0)
    assert general.high[0] == pytest.approx(found, rel=of_weights("float64", 5, 50))


def test_newton_does_the_work(monkeypatch, rng):
    """Halving alone would need fifty evaluations; a wrong slope falls back to it."""
    from tod.regimes import feasible

    calls = []

    def counting(function, guess):
        def counted(x):
            calls.append(1)
            return function(x)

        return falling_roots(counted, guess)

    monkeypatch.setattr(feasible, "falling_roots", counting)
    eta_for_ess(rng.normal(size=300 * 16), Groups.equal(300, 16), 0.5)
    assert len(calls) < 25


def test_extreme_scales_do_not_break_the_search():
    for scale in (1e-200, 1e-12, 1e12, 1e200):
        found = eta_for_ess(U9 * scale, one(U9), 0.5)[0]
        assert found * scale == pytest.approx(1.7161727054, abs=printed(10))


@pytest.mark.parametrize("target", [0.0, -0.1, 1.1, float("nan")])
def test_targets_outside_the_unit_interval_are_refused(target):
    with pytest.raises(SpecError, match="target"):
        eta_for_ess(U5, one(U5), target)


def test_kl_dual_reference_values():
    a = np.array([0, 1, 2, 3.0])
    found = kl_budget(a, one(a), 0.1)
    assert found.temperature == pytest.approx(2.4135060953, abs=printed(10))
    assert found.eta == pytest.approx(0.4143349801, abs=printed(10))
    assert found.dual == pytest.approx(1.9942741218, abs=printed(10))
    assert ess_rel(found.eta * a, one(a))[0] == pytest.approx(0.8320058170, abs=printed(10))


def test_kl_dual_is_the_minimum_of_the_dual(rng):
    contexts = Groups(np.array([3, 8, 5]))
    u, w0 = rng.normal(size=16), rng.normal(size=16)

    def dual(log_t):
        t = np.exp(log_t)
        parts = []
        for low, high in zip(contexts.offsets[:-1], contexts.offsets[1:], strict=True):
            part = slice(low, high)
            parts.append(logsumexp(w0[part] + u[part] / t) - logsumexp(w0[part]))
        return t * 0.2 + t * np.mean(parts)

    xatol = 1e-10
    best = minimize_scalar(dual, bounds=(-8, 8), method="bounded", options={"xatol": xatol})
    found = kl_budget(u, contexts, 0.2, log_w0=w0)
    # a minimum is flat: its place is known to the root of what the value is known to
    near = of_weights("float64", 8, 16)
    assert found.temperature == pytest.approx(np.exp(best.x), rel=xatol + 10 * near**0.5)
    assert found.dual == pytest.approx(best.fun, abs=near)


def test_kl_dual_has_no_root_above_the_ties():
    u = np.array([0.0, 1, 1, 0])
    assert kl_budget(u, one(u), 0.99 * np.log(2)).eta < np.inf
    beyond = kl_budget(u, one(u), 1.01 * np.log(2))
    assert (beyond.eta, beyond.temperature, beyond.dual) == (np.inf, 0.0, 1.0)
    with pytest.raises(SpecError, match="budget"):
        kl_budget(u, one(u), 0.0)
    with pytest.raises(SpecError, match="finite"):
        kl_budget(np.array([0.0, np.nan]), one([0, 1]), 0.1)


def test_needed_candidates():
    assert k_for_ess(np.array([0.5, 0.3, 1.0]), 8).tolist() == [16, 27, 8]
    assert k_for_error(np.array([0.5]), 0.1).tolist() == [800]
    assert k_for_kl(np.array([0.0, np.log(32), 1e4])).tolist() == [1, 32, np.inf]
    for wrong in (lambda: k_for_ess(np.ones(1), 0), lambda: k_for_kl(np.array([-1.0]))):
        with pytest.raises(SpecError):
            wrong()


@pytest.mark.parametrize("value", [0.0, 1.5, float("nan")])
def test_gaussian_step_refuses_what_is_no_ess_rel(value):
    with pytest.raises(SpecError, match="ess_rel"):
        gaussian_step(1.0, value, 0.5)
    assert gaussian_step(1.0, 1.0, 0.5) == np.inf


@pytest.mark.parametrize("fraction", [-0.1, 1.1, 1.5, 2.0, np.nan])
def test_a_fraction_is_a_share(fraction):
    with pytest.raises(SpecError, match="a share in"):
        eta_for_fraction(np.array([1.0, 2.0]), fraction)


def test_all_may_fail_at_a_fraction_of_one():
    assert eta_for_fraction(np.array([1.0, np.nan, 2.0]), 1.0) == np.inf
    assert eta_for_fraction(np.array([1.0, np.nan, 2.0]), 0.0) == 1.0


def test_by_default_half_of_the_contexts_keep_the_target():
    """Roots of one 0/1 utility scaled by 1, 2, 4, 8, 16 are apart by those factors."""
    u = np.concatenate([k * np.array([1.0, 0, 0, 0]) for k in (4, 1, 16, 2, 8)])
    contexts = Groups.equal(5, 4)
    single = eta_for_ess_binary(np.array([1]), np.array([4]), 0.5)[0]
    assert eta_for_quantile(u, contexts, 0.5) == pytest.approx(single / 4)
    assert eta_for_quantile(u, contexts, 0.5, 1.0) == pytest.approx(single)
    assert eta_for_quantile(u, contexts, 0.5, 0.2) == pytest.approx(single / 16)
