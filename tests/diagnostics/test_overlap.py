"""Three legs: reference values, population limits, coincidences and every edge of C.12."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import Groups, to_numpy
from tod.diagnostics import ess_rel, harmonic_mean, policy_proposal, target_policy
from tod.diagnostics.overlap import carried_by, target_proposal
from tolerance import double, of_weights, printed

W = np.array([0.0, -0.5, -1.2, -3.0])
R = np.array([0.3, -0.2, 0.1, -1.0])
ONE = Groups.equal(1, 4)


def test_reference_values(backend):
    w, r = backend.make(W), backend.make(R)
    near = printed(10) + backend.of_weights(4, 3.0)
    assert float(target_proposal(w, ONE)[0]) == pytest.approx(0.6556559362, abs=near)
    assert float(policy_proposal(r, ONE)[0]) == pytest.approx(0.8613231928, abs=near)
    assert float(target_policy(w, r, ONE)[0]) == pytest.approx(0.8227188282, abs=near)
    assert float(target_policy(r, w, ONE)[0]) == pytest.approx(0.6983663529, abs=near)
    assert float(carried_by(w, r, ONE)[0]) == pytest.approx(2.1594494358, abs=near)


def test_population_values():
    """Ten candidates in the proportions of μ are the population."""
    mu, pi, q = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4]), np.array([0.1, 0.2, 0.7])
    drawn = np.repeat(np.arange(3), [5, 3, 2])
    w, r = np.log(q / mu)[drawn], np.log(pi / mu)[drawn]
    g = Groups.equal(1, 10)
    assert target_proposal(w, g)[0] == pytest.approx(0.3841229193, abs=printed(10))
    assert policy_proposal(r, g)[0] == pytest.approx(0.7812500000, abs=printed(10))
    assert target_policy(w, r, g)[0] == pytest.approx(0.7185628743, abs=printed(10))
    assert target_policy(w, r, g)[0] == pytest.approx(1 / np.sum(q**2 / pi), abs=double(10, 4))


def test_coincidences(batch, rng):
    """π = μ, π = q* and μ = q*, exact at any K."""
    w, g = batch
    near = of_weights("float64", 16, np.abs(w).max())
    alone = g.sizes == 1
    zero = np.zeros_like(w)
    np.testing.assert_allclose(target_policy(w, zero, g), target_proposal(w, g), rtol=near)
    np.testing.assert_allclose(policy_proposal(zero, g)[~alone], 1, rtol=double(16))
    np.testing.assert_allclose(target_policy(w, w + 3.0, g)[~alone], 1, rtol=near)
    r = rng.normal(size=g.total)
    d2 = np.log(g.mean(np.exp(-r))) + np.log(g.mean(np.exp(r)))
    np.testing.assert_allclose(target_policy(zero, r, g)[~alone], np.exp(-d2)[~alone], rtol=near)
    assert (abs(target_policy(zero, r, g) - policy_proposal(r, g))[~alone] > 1e-6).any()


def test_constants_and_order_do_not_matter(batch, rng):
    w, g = batch
    r = rng.normal(size=g.total)
    shift = g.spread(np.round(rng.normal(size=len(g)) * 50))
    value = target_policy(w, r, g)
    size = max(np.abs(x).max() for x in (w, r, shift, 2 * shift))
    rounded = of_weights("float64", 16, size)  # the shift itself rounds the inputs
    np.testing.assert_allclose(target_policy(w + shift, r - 2 * shift, g), value, rtol=rounded)
    shuffle = np.lexsort((rng.random(g.total), g.owner))
    np.testing.assert_allclose(target_policy(w[shuffle], r[shuffle], g), value, rtol=rounded)
    np.testing.assert_allclose(
        carried_by(w[shuffle], r[shuffle], g), carried_by(w, r, g), rtol=rounded
    )


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.floats(0.1, 30))
def test_bounds(seed, k, scale):
    rng, g = np.random.default_rng(seed), Groups.equal(1, k)
    w, r = rng.normal(size=(2, k)) * scale
    slack = of_weights("float64", k, max(np.abs(w).max(), np.abs(r).max()))
    assert 0 <= target_policy(w, r, g)[0] <= 1 + slack
    assert 1 - slack <= carried_by(w, r, g)[0] <= k * (1 + slack)


def test_weight_outside_support_contributes_nothing(backend):
    w = backend.make([0.0, -np.inf, 1.0, -np.inf])
    r = backend.make([0.2, -np.inf, -0.3, 0.1])
    inside = np.array([1.0, 0.0, 1.0, 1.0])
    rho = np.exp([0.2, 0, -0.3, 0.1]) * inside
    weight = np.array([1.0, 0.0, np.e, 0.0])
    squares = (weight[[0, 2]] ** 2 / rho[[0, 2]]).sum()
    got = float(target_policy(w, r, ONE)[0])
    assert got == pytest.approx(
        weight.sum() ** 2 / rho.sum() / squares, rel=backend.of_weights(4, 1.0)
    )


def test_policy_that_misses_a_point_of_the_target(backend):
    w, r = backend.make([0.0, -9.0, 1.0, 2.0]), backend.make([0.2, -np.inf, 0.1, -np.inf])
    assert float(target_policy(w, r, ONE)[0]) == 0.0
    assert float(carried_by(w, r, ONE)[0]) == pytest.approx(2.0)


def test_singletons_are_unknown(backend):
    x, g = backend.make([0.3, 0.1, 0.2]), Groups(np.array([1, 2]))
    for leg in (target_proposal(x, g), policy_proposal(x, g), target_policy(x, x, g)):
        assert np.isnan(to_numpy(leg)).tolist() == [True, False]
    assert float(ess_rel(x, g)[0]) == 1.0


def test_invalid_contexts_are_unknown(invalid, backend):
    bad, g = invalid
    good = backend.make(np.zeros(g.total))
    for w, r in ((backend.make(bad), good), (good, backend.make(bad))):
        assert np.isnan(to_numpy(target_policy(w, r, g))).all()
        assert np.isnan(to_numpy(carried_by(w, r, g))).all()


def test_huge_spreads(backend):
    big = 1e37 if backend.name == "torch_f32" else 1e307
    g = Groups.equal(1, 2)
    w, r = backend.make([big, -big]), backend.make([0.0, 0.0])
    assert float(target_policy(w, r, g)[0]) == pytest.approx(0.5, rel=backend.rounding(8))
    assert float(target_policy(r, w, g)[0]) == 0.0


def test_harmonic_mean_is_the_pooled_leg(rng):
    """Equal contexts pooled with K w̄: (Σ w)²/(N Σ w²) = 1/mean(1/Ê)."""
    w, g = rng.normal(size=60), Groups.equal(6, 10)
    normalised = g.softmax(w)
    pooled = normalised.sum() ** 2 / (60 * (normalised**2).sum())
    assert harmonic_mean(target_proposal(w, g)) == pytest.approx(
        pooled, rel=of_weights("float64", 60, np.abs(w).max())
    )
    assert harmonic_mean(np.array([0.5, 0.0])) == 0.0
    assert np.isnan(harmonic_mean(np.zeros(0)))


def test_table_of_small_k():
    """C.12's two-sided claim on an enumerable world: a far start reads high legs at small K."""
    rng = np.random.default_rng(0)
    utility = rng.normal(size=625)
    base = rng.dirichlet(np.ones(625) * 5)
    target = base * np.exp(2 * utility)
    target /= target.sum()
    exact = 1 / np.sum(base**2 / target), 1 / np.sum(target**2 / base)
    found = {}
    for k in (4, 256):
        drawn = rng.choice(625, size=(400, k), p=target)  # μ = q*, π = b
        r = np.log(base / target)[drawn].reshape(-1)
        g = Groups.equal(400, k)
        found[k] = policy_proposal(r, g).mean(), target_policy(0 * r, r, g).mean()
    for leg in range(2):
        assert found[4][leg] > 2.5 * exact[leg]
        assert found[256][leg] < found[4][leg]


def test_backends_agree(backend, batch, rng):
    w, g = batch
    r = rng.normal(size=g.total)
    near = backend.of_weights(16, np.abs(w).max() + np.abs(r).max())
    for leg in (target_policy, carried_by):
        np.testing.assert_allclose(
            to_numpy(leg(backend.make(w), backend.make(r), g)), leg(w, r, g), rtol=near
        )


@pytest.mark.parametrize("leg", [target_policy, carried_by])
@pytest.mark.parametrize("where", ["w", "r", "both", "r outside"])
def test_a_log_prob_that_is_no_number_leaves_its_context_unknown_alone(leg, where, backend, rng):
    """Not a context of one fewer: NaN of either side is NaN of the leg, and of no other.

    Outside of q* too, where the policy's log-prob is not used: it was recorded and is no number.
    """
    contexts = Groups(np.array([3, 4, 2]))
    w, r = rng.normal(size=(2, 9))
    clean = to_numpy(leg(backend.make(w), backend.make(r), contexts))
    w[4] = {"r": w[4], "r outside": -np.inf}.get(where, np.nan)
    r[4] = r[4] if where == "w" else np.nan
    found = to_numpy(leg(backend.make(w), backend.make(r), contexts))
    assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_array_equal(found[[0, 2]], clean[[0, 2]])
