"""ESS, its family and identities: reference values, 50 digits, laws L2, L3, L5 and L8."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from tod.base import DataError, Groups, to_numpy
from tod.diagnostics import (
    chi2,
    ess,
    ess_rel,
    kl_proposal_target,
    kl_target_proposal,
    log_ess,
    log_ess_alpha,
    log_z,
    renyi_divergence,
)
from tod.diagnostics.ess import d_ess, d_kl, d_log_ess, entropy, ess_alpha, log_weights_normalised
from tod.diagnostics.tails import gini
from tolerance import central_difference, chance, double, of_weights, printed

W = np.array([0.0, -0.5, -1.2, -3.0])
REFERENCE = {
    ess: 2.6226237449,
    ess_rel: 0.6556559362,
    entropy: 1.0875386796,
    kl_target_proposal: 0.2987556816,
    kl_proposal_target: 0.4603798874,
    chi2: 0.5251901871,
    log_z: -0.7146201126,
    gini: 0.4030595137,
}
finite_log_w = arrays(np.float64, st.integers(1, 12), elements=st.floats(-60, 60))


@pytest.mark.parametrize("statistic", REFERENCE, ids=lambda f: f.__name__)
def test_reference_values(statistic, backend):
    value = to_numpy(statistic(backend.make(W), Groups.equal(1, 4)))
    assert value == pytest.approx(
        [REFERENCE[statistic]], abs=printed(10) + backend.of_weights(4, 3.0)
    )


def test_reference_family(backend):
    orders = {0.0: 4, 0.5: 3.3237537779, 1.0: 2.9669624328, 2.0: 2.6226237449, np.inf: 1.9575119400}
    for alpha, expected in orders.items():
        got = to_numpy(ess_alpha(backend.make(W), Groups.equal(1, 4), alpha))
        assert got == pytest.approx([expected], abs=printed(10) + 4 * backend.of_weights(4, 3.0))
    assert 4 * (1 - gini(W, Groups.equal(1, 4))[0]) == pytest.approx(2.3877619450, abs=printed(10))


def test_scipy_agrees():
    bar, near = softmax(W), of_weights("float64", 4, 3.0)
    assert entropy(W, Groups.equal(1, 4))[0] == pytest.approx(scipy_entropy(bar), rel=near)
    assert np.exp(log_weights_normalised(W, Groups.equal(1, 4))) == pytest.approx(bar, rel=near)


def test_fifty_digits_on_adversarial_weights(adversarial, exact, rounded):
    for log_w, contexts, lists in adversarial:
        oracle = [exact(x) for x in lists]
        near = of_weights("float64", max(len(x) for x in lists), 1.0)
        np.testing.assert_allclose(
            ess(log_w, contexts), [float(o.ess()) for o in oracle], rtol=near
        )
        np.testing.assert_allclose(
            entropy(log_w, contexts),
            [float(o.entropy()) for o in oracle],
            rtol=near,
            atol=double(100, 0.1),
        )
        np.testing.assert_allclose(
            log_z(log_w, contexts), [rounded(o.log_z()) for o in oracle], rtol=near, atol=near
        )
        for alpha in (0.5, 3.0):
            expected = [float(o.power_sum(alpha) ** (1 / (1 - alpha))) for o in oracle]
            np.testing.assert_allclose(ess_alpha(log_w, contexts, alpha), expected, rtol=near)


def test_invalid_contexts_are_nan(invalid, backend):
    log_w, contexts = invalid
    for statistic in REFERENCE:
        assert np.isnan(to_numpy(statistic(backend.make(log_w), contexts))).all(), statistic
    for alpha in (0.0, 0.5, 1.0, 2.0, np.inf):
        assert np.isnan(to_numpy(ess_alpha(backend.make(log_w), contexts, alpha))).all()


def test_weight_outside_support_counts_in_k(backend):
    x, g = backend.make([0.0, -np.inf]), Groups.equal(1, 2)
    assert float(ess(x, g)[0]) == 1.0
    assert float(ess_rel(x, g)[0]) == 0.5
    assert float(ess_alpha(x, g, 0.0)[0]) == 1.0
    assert float(kl_proposal_target(x, g)[0]) == np.inf


def test_singleton_context(backend):
    x, g = backend.make([-3.0, 7.0]), Groups.equal(2, 1)
    assert to_numpy(ess_rel(x, g)).tolist() == [1.0, 1.0]
    assert to_numpy(entropy(x, g)).tolist() == [0.0, 0.0]
    assert to_numpy(log_z(x, g)).tolist() == [-3.0, 7.0]


def test_ties_are_exact(backend):
    for k in (3, 7, 49):
        x = backend.make(np.full(k, 0.1))
        assert float(ess(x, Groups.equal(1, k))[0]) == k


@given(finite_log_w, st.floats(-1e8, 1e8))
def test_a_constant_changes_nothing(x, constant):
    g = Groups.equal(1, len(x))
    exact_shift = np.round(x * 64) / 64  # so that the shift itself rounds nothing away
    constant = np.round(constant)
    assert ess(exact_shift + constant, g)[0] == ess(exact_shift, g)[0]
    assert log_z(exact_shift + constant, g)[0] == pytest.approx(
        log_z(exact_shift, g)[0] + constant, rel=double(len(x) + 8), abs=double(len(x) + 8, 60)
    )


@given(finite_log_w, st.randoms())
def test_permuting_candidates_changes_nothing(x, random):
    order = random.sample(range(len(x)), len(x))
    g = Groups.equal(1, len(x))
    near = double(len(x) + 8, 8)  # the same exponentials, added in another order
    for statistic in REFERENCE:
        np.testing.assert_allclose(statistic(x[order], g), statistic(x, g), rtol=near, atol=near)


@pytest.mark.parametrize("statistic", REFERENCE, ids=lambda f: f.__name__)
def test_permuting_contexts_permutes_and_whole_contexts_split(statistic, batch, rng):
    log_w, contexts = batch
    value = statistic(log_w, contexts)
    order = rng.permutation(len(contexts))
    moved, rows = contexts.take(order)
    np.testing.assert_allclose(statistic(log_w[rows], moved), value[order], rtol=double(16 + 8, 8))


@given(finite_log_w)
def test_bounds_and_order_of_the_family(x):
    g, k = Groups.equal(1, len(x)), len(x)
    largest, two, one, half, zero = (ess_alpha(x, g, a)[0] for a in (np.inf, 2.0, 1.0, 0.5, 0.0))
    slack = 1 + double(k + 8, 8)
    assert largest * slack >= 1
    assert largest <= two * slack <= one * slack**2 <= half * slack**3 <= zero * slack**4
    assert two <= k * slack
    assert two <= largest**2 * slack
    assert ess(x, g)[0] == pytest.approx(two, rel=of_weights("float64", k, 120))


@given(finite_log_w, st.integers(2, 4))
def test_replicating_the_weights_leaves_ess_rel(x, times):
    once, again = Groups.equal(1, len(x)), Groups.equal(1, len(x) * times)
    near = of_weights("float64", len(x) * times, 120)
    for alpha in (0.5, 1.0, 2.0, np.inf):
        assert ess_alpha(np.tile(x, times), again, alpha)[0] == pytest.approx(
            times * ess_alpha(x, once, alpha)[0], rel=near
        )
    assert gini(np.tile(x, times), again)[0] == pytest.approx(gini(x, once)[0], abs=near)


@given(
    arrays(np.float64, st.integers(1, 8), elements=st.floats(-3, 3)),
    st.floats(0, 20),
    st.floats(0, 5),
)
def test_ess_falls_with_sharpness_when_the_anchor_is_the_proposal(utility, eta, more):
    g = Groups.equal(1, len(utility))
    assert log_ess((eta + more) * utility, g)[0] <= log_ess(eta * utility, g)[0] + of_weights(
        "float64", 8, 150
    )


def test_limits_of_sharpness():
    utility, g = np.array([0.0, 0.2, 0.5, 1.0, 1.0]), Groups.equal(1, 5)
    assert ess(0 * utility, g)[0] == 5
    assert ess(1e6 * utility, g)[0] == 2  # the ties of the maximum


def test_identities(batch):
    log_w, g = batch
    near = of_weights("float64", 16, np.ptp(log_w))
    np.testing.assert_allclose(
        renyi_divergence(log_w, g, 2.0), -np.log(ess_rel(log_w, g)), rtol=0, atol=near
    )
    np.testing.assert_allclose(
        renyi_divergence(log_w, g, 1.0), kl_target_proposal(log_w, g), rtol=0, atol=near
    )
    d2 = renyi_divergence(log_w, g, 2.0)
    np.testing.assert_allclose(np.log1p(chi2(log_w, g)), d2, rtol=0, atol=near)
    assert (kl_target_proposal(log_w, g) <= d2 + near).all()
    np.testing.assert_allclose(log_ess(log_w, g), log_ess_alpha(log_w, g, 2.0), rtol=0, atol=near)


def test_population_limits(rng):
    s = 0.8
    gaussian = rng.normal(scale=s, size=2_000_000)
    assert ess_rel(gaussian, Groups.equal(1, len(gaussian)))[0] == pytest.approx(
        np.exp(-(s**2)),
        # (mean w)²/mean w² of a log-normal: relatively √((e^{4v} − 4e^v + 3)/n), v = s²
        rel=chance(np.sqrt(np.exp(4 * s**2) - 4 * np.exp(s**2) + 3), len(gaussian)),
    )
    passes, eta, k = 3, 2.5, 8
    binary = eta * (np.arange(k) < passes)
    p = passes / k
    closed = (1 - p + p * np.exp(eta)) ** 2 / (1 - p + p * np.exp(2 * eta))
    assert ess_rel(binary, Groups.equal(1, k))[0] == pytest.approx(
        closed, rel=of_weights("float64", k, eta)
    )


@pytest.mark.parametrize("alpha", [-1.0, float("nan")])
def test_orders_that_mean_nothing(alpha):
    with pytest.raises(DataError, match="order 0 to infinity"):
        ess_alpha(W, Groups.equal(1, 4), alpha)


def test_backends_agree(backend, batch):
    log_w, contexts = batch
    near = backend.of_weights(16, np.abs(log_w).max())
    for statistic in [*REFERENCE, log_ess]:
        np.testing.assert_allclose(
            to_numpy(statistic(backend.make(log_w), contexts)),
            statistic(log_w, contexts),
            rtol=near,
            atol=near,
        )


U = np.array([0.0, 0.2, 0.5, 1.0, 1.0])
ONE = Groups.equal(1, 5)


def test_reference_derivatives(backend):
    w, u = backend.make(1.5 * U), backend.make(U)
    near = printed(10) + backend.of_weights(5, 1.5)
    assert float(ess(w, ONE)[0]) == pytest.approx(3.7992988799, abs=near)
    assert float(d_log_ess(w, u, ONE)[0]) == pytest.approx(-0.2694234660, abs=near)
    assert float(d_ess(w, u, ONE)[0]) == pytest.approx(-1.0236202725, abs=near)


def test_autograd_of_log_ess(batch, rng):
    log_w, contexts = batch
    direction = rng.normal(size=contexts.total)
    near = of_weights("float64", 16, np.abs(log_w).max()) * np.abs(direction).max()
    step = torch.zeros(len(contexts), dtype=torch.float64, requires_grad=True)
    moved = torch.tensor(log_w) + contexts.spread(step) * torch.tensor(direction)
    log_ess(moved, contexts).sum().backward()
    np.testing.assert_allclose(step.grad, d_log_ess(log_w, direction, contexts), rtol=0, atol=near)


def test_finite_differences(batch, rng):
    log_w, contexts = batch
    utility, h = rng.normal(size=contexts.total), 1e-5
    up, down = (ess(log_w + s * h * utility, contexts) for s in (1, -1))
    # the third derivative of a statistic up to K in units of (2·|U|)³
    near = central_difference(h, 16 * (4 * np.abs(utility).max()) ** 3, 16 * 100)
    np.testing.assert_allclose(
        d_ess(log_w, utility, contexts), (up - down) / (2 * h), rtol=0, atol=near
    )
    eta = 1.3
    up, down = (kl_target_proposal((eta + s * h) * utility, contexts) for s in (1, -1))
    np.testing.assert_allclose(
        d_kl(eta * utility, utility, contexts, eta), (up - down) / (2 * h), rtol=0, atol=near
    )


def test_sharpness_only_loses_when_the_anchor_is_the_proposal(rng):
    utility, g = rng.normal(size=200), Groups.equal(20, 10)
    for eta in (0.0, 0.5, 3.0):
        assert (d_log_ess(eta * utility, utility, g) <= double(10 + 8, 2)).all()
        assert (d_kl(eta * utility, utility, g, eta) >= 0).all()


def test_a_shift_of_the_direction_changes_nothing(batch, rng):
    log_w, contexts = batch
    direction = rng.normal(size=contexts.total)
    shifted = direction + contexts.spread(rng.normal(size=len(contexts)) * 5)
    near = of_weights("float64", 16, np.abs(log_w).max()) * np.abs(shifted).max()
    np.testing.assert_allclose(
        d_log_ess(log_w, shifted, contexts),
        d_log_ess(log_w, direction, contexts),
        rtol=0,
        atol=near,
    )


def test_weight_outside_support_does_not_count(backend):
    w, u = backend.make([0.0, -np.inf, 1.0]), backend.make([0.3, -np.inf, 0.7])
    inner = d_log_ess(backend.make([0.0, 1.0]), backend.make([0.3, 0.7]), Groups.equal(1, 2))
    got = d_log_ess(w, u, Groups.equal(1, 3))
    assert to_numpy(got) == pytest.approx(to_numpy(inner), rel=backend.of_weights(3, 1.0))


def test_derivatives_of_invalid_contexts_are_nan(invalid):
    log_w, contexts = invalid
    assert np.isnan(d_log_ess(log_w, np.ones(contexts.total), contexts)).all()
