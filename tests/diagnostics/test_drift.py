"""KL estimators: reference values, exact expectations and Gaussian closed forms."""

import numpy as np
import pytest

from tod.base import DataError, Groups, to_numpy
from tod.diagnostics import Drift, drift_and_reasons, gap_of_sequences, policy_proposal
from tod.diagnostics.drift import drift, fraction_outside, gap, k1, k2, k3, kl, kl_per_sequence
from tolerance import chance, double, of_weights, printed

NEW = np.array([-0.5, -2.1, -0.5, -1.2, -0.2, -2.4, -0.35])
REF = np.array([-1.1, -1.9, -0.6, -0.8, -1.4, -2.6, -0.3])
SEQUENCES = Groups(np.array([3, 4]))


def test_reference_token_means(backend):
    found = kl(backend.make(NEW), backend.make(REF))
    near = printed(10) + backend.rounding(7 + 8, 2.0)
    assert found.k1 == pytest.approx(0.2071428571, abs=near)
    assert found.k2 == pytest.approx(0.1466071429, abs=near)
    assert found.k3 == pytest.approx(0.1125817959, abs=near)


def test_sequences_sum_and_tokens_average(backend):
    found = kl_per_sequence(backend.make(NEW), backend.make(REF), SEQUENCES)
    token = kl(NEW, REF)
    near = backend.rounding(7 + 8, np.abs(NEW - REF).sum() / 0.1)  # means of 0.1 to 0.2 nats
    assert found.k1 == pytest.approx(token.k1 * 7 / 2, rel=near)
    assert found.k3 == pytest.approx(token.k3 * 7 / 2, rel=near)
    sums = kl(SEQUENCES.sum(NEW), SEQUENCES.sum(REF))  # estimators on whole sequences
    assert sums.k1 == pytest.approx(found.k1, rel=near)
    assert sums.k3 != pytest.approx(found.k3, rel=0.1)


def test_expectations_on_an_enumerated_space(rng):
    p, q = rng.dirichlet(np.ones(9), size=2)
    true = np.sum(p * np.log(p / q))
    lp, lq = np.log(p), np.log(q)
    near = double(9 + 8, np.sum(p * np.abs(lp - lq)) / true)
    assert np.sum(p * k1(lp, lq)) == pytest.approx(true, rel=near)
    assert np.sum(p * k3(lp, lq)) == pytest.approx(true, rel=near)
    assert np.sum(p * k2(lp, lq)) == pytest.approx(np.sum(p * np.log(p / q) ** 2) / 2)


def near(p, mu, terms, draws):
    """Chance of Σ ρ·f/Σ ρ, or of the mean of ρ·f, over draws of μ: the larger of both."""
    mean = np.sum(p * terms)
    ratio, plain = (np.sum(p**2 / mu * (terms - shift) ** 2) for shift in (mean, 0))
    return chance(np.sqrt(max(ratio, plain)), draws)


def test_draws_of_another_policy_need_the_weight(rng):
    p, q, mu = rng.dirichlet(np.ones(9) * 3, size=3)
    drawn = rng.choice(9, size=400_000, p=mu)
    found = kl(np.log(p)[drawn], np.log(q)[drawn], np.log(p / mu)[drawn])
    true = np.sum(p * np.log(p / q))
    first, third = (f(np.log(p), np.log(q)) for f in (k1, k3))
    assert found.k1 == pytest.approx(true, abs=near(p, mu, first, 400_000))
    assert found.k3 == pytest.approx(true, abs=near(p, mu, third, 400_000))
    bare = kl(np.log(p)[drawn], np.log(q)[drawn]).k1
    assert bare != pytest.approx(true, abs=2 * near(p, mu, first, 400_000))


def test_the_record_of_another_policys_draws_is_weighted(rng):
    p, q, mu = rng.dirichlet(np.ones(9) * 3, size=3)
    drawn = rng.choice(9, size=400_000, p=mu)
    lengths = 1 + np.arange(9)[drawn]
    found = drift(np.log(p)[drawn], {"ref": np.log(q)[drawn]}, lengths, np.log(p / mu)[drawn])
    true = np.sum(p * np.log(p / q))
    gap, tokens = np.log(p / q), 1 + np.arange(9)
    assert found.ref == pytest.approx(true, abs=near(p, mu, gap, 400_000))
    by_token = true / np.sum(p * tokens)
    left = (gap - by_token * tokens) / np.sum(p * tokens)  # linear part of a ratio of means
    assert found.ref_token == pytest.approx(by_token, abs=near(p, mu, left, 400_000))
    shift = rng.normal(size=400_000)  # μ = ref and π = μ e^d / E: the plain mean has the wrong sign
    log_r = shift - 0.5
    unweighted, (reason,) = drift_and_reasons(log_r, {"ref": np.zeros(len(shift))})
    assert (unweighted.ref, reason.what, reason.kind) == (None, "drift.ref", "impossible")
    right = drift(log_r, {"ref": np.zeros(len(shift))}, None, log_r)
    # E ρ²(d − 1)² = e·E(z + 1)² = 2e with ρ = exp(d − ½)
    assert right.ref == pytest.approx(0.5, abs=chance((2 * np.e) ** 0.5, 400_000))


def test_weights_of_too_few_draws_say_nothing(rng):
    log_r = 4 * rng.normal(size=1000)
    assert drift(log_r, {"ref": np.zeros(1000)}, None, log_r) == Drift()
    assert drift(log_r, {"ref": np.zeros(1000)}, None, np.full(1000, -np.inf)) == Drift()


@pytest.mark.parametrize("d", [0.1, 1.0])
def test_gaussian_closed_forms(d):
    nodes, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    lp, lq = -(nodes**2) / 2, -((nodes - d) ** 2) / 2
    mean = lambda x: float(weight @ x)  # noqa: E731
    sd = lambda x: np.sqrt(mean(x**2) - mean(x) ** 2)  # noqa: E731
    assert mean(k1(lp, lq)) == pytest.approx(d**2 / 2)
    assert sd(k1(lp, lq)) == pytest.approx(d)
    assert mean(k2(lp, lq)) == pytest.approx(d**2 / 2 + d**4 / 8)
    assert sd(k2(lp, lq)) == pytest.approx(np.sqrt(d**4 / 2 + d**6 / 4))
    assert sd(k3(lp, lq)) == pytest.approx(np.sqrt(np.exp(d**2) - 1 - d**2))


def test_k3_is_never_negative_and_exact_when_small(backend, rng):
    import mpmath

    x = np.r_[rng.normal(size=300) * 10.0 ** rng.integers(-9, 1, size=300), 0.0]
    x = to_numpy(backend.make(x)).astype(float)
    got = to_numpy(k3(backend.make(0 * x), backend.make(x)))
    assert (got >= 0).all()
    with mpmath.workdps(50):
        expected = [float(mpmath.expm1(mpmath.mpf(v)) - mpmath.mpf(v)) for v in x]
    # just above the series' edge the difference loses two digits
    np.testing.assert_allclose(got, expected, rtol=backend.rounding(4, 4 / 0.01))


def test_k3_of_a_forbidden_anchor_and_of_an_overflow(backend):
    x = backend.make([0.0, 0.0])
    got = to_numpy(k3(x, backend.make([1e4, -1e4])))
    assert got[0] == np.inf
    assert got[1] == pytest.approx(1e4 - 1)


def test_record():
    pi, ref = SEQUENCES.sum(NEW), SEQUENCES.sum(REF)
    found = drift(pi, {"ref": ref, "teacher": ref}, SEQUENCES.sizes)
    assert found.ref == pytest.approx(0.725)
    assert found.ref_token == pytest.approx(0.2071428571, abs=printed(10))
    assert (found.old, found.old_token) == (None, None)
    assert drift(pi, {"old": np.full(2, -np.inf)}) == Drift()


OLD = np.array([-1.0, -2.0, -0.5, -0.7, -1.5, -2.5, -0.3])
MU = np.array([-1.1, -1.2, -0.5, -0.7, -1.6, -2.4, -0.3])
SENTENCES = Groups(np.array([3, 4]))
ONE = Groups.equal(1, 2)


def test_reference_values(backend):
    found = gap(backend.make(OLD), backend.make(MU), SENTENCES, ONE)
    near = printed(10) + backend.rounding(7 + 8, np.abs(OLD - MU).sum() + 4)
    assert found.tokens == 7
    assert found.k1 == pytest.approx(0.1, abs=near)
    assert found.k2 == pytest.approx(((OLD - MU) ** 2).mean() / 2, abs=near)
    assert found.k3 == pytest.approx(0.0377868883, abs=near)
    assert found.chi2_token == pytest.approx(-0.0766524589, abs=near)
    assert found.chi2_sequence == pytest.approx(-0.3767015180, abs=near)
    assert found.ess_rel == pytest.approx(0.8983527300, abs=near)
    assert found.mean_abs == pytest.approx(np.abs(OLD - MU).mean(), abs=near)
    assert found.kl_sequence == pytest.approx(0.35, abs=near)
    assert found.perplexity_factor == pytest.approx(np.exp(0.1), abs=near)


def test_sequences_alone_say_less(backend):
    sums = SENTENCES.sum(OLD), SENTENCES.sum(MU)
    full = gap(OLD, MU, SENTENCES, ONE)
    found = gap_of_sequences(backend.make(sums[0]), backend.make(sums[1]), ONE)
    near = backend.of_weights(2, np.abs(sums).max() / 0.35)  # the least of what is compared
    assert found.kl_sequence == pytest.approx(full.kl_sequence, rel=near)
    assert found.chi2_sequence == pytest.approx(full.chi2_sequence, rel=near)
    assert found.ess_rel == pytest.approx(full.ess_rel, rel=near)
    assert (found.tokens, found.k1, found.k3) == (None, None, None)


def test_numerics_do_not_read_as_travel(rng):
    """Long answers, engine noise, a policy that has not moved: only the mismatch is low."""
    contexts, sequences = Groups.equal(24, 8), Groups.equal(192, 1500)
    old = rng.normal(size=sequences.total) - 3
    mu = old + rng.normal(size=sequences.total) * 0.05
    mismatch, staleness = gap(old, mu, sequences, contexts), gap(old, old, sequences, contexts)
    assert staleness.ess_rel == 1.0
    assert staleness.k3 == 0.0
    assert mismatch.ess_rel < 0.5
    assert mismatch.k3 == pytest.approx(
        0.05**2 / 2, abs=chance(0.05**2 / 2 * np.sqrt(2), sequences.total)
    )
    pi = old + rng.normal(size=sequences.total) * 0.03
    both = policy_proposal(sequences.sum(pi - mu), contexts)
    assert gap(pi, old, sequences, contexts).ess_rel > np.median(both)


def test_drift_of_independent_tokens():
    """1 + χ²_seq = Π (1 + χ²_t), enumerated over two binary tokens."""
    a, b = np.array([0.6, 0.4]), np.array([0.5, 0.5])
    pairs = np.array([(i, j) for i in range(2) for j in range(2)])
    tokens = np.log(a / b)[pairs.reshape(-1)]
    found = gap(tokens, 0 * tokens, Groups.equal(4, 2), Groups.equal(1, 4))
    assert 1 + found.chi2_sequence == pytest.approx((1 + found.chi2_token) ** 2)
    assert pytest.approx(0.0000477118, abs=printed(10)) == 1.01**-1000


def test_bounds_are_on_rho_itself():
    """A mask of [0.5, 5] rejects ρ = 0.25 and keeps ρ = 4, not the other way round."""
    x = np.log([0.25, 4.0, 4.0, 1.0])
    assert fraction_outside(x, 0.5, 5.0) == 0.25
    assert fraction_outside(np.array([-np.inf, 0.0]), 0.0, 2.0) == 0.0
    assert fraction_outside(np.log([0.49, 0.51, 1.9, 2.1, 2.9]), 0.5, 2.0) == pytest.approx(3 / 5)
    with pytest.raises(DataError, match="ordered"):
        fraction_outside(x, 5.0, 0.5)


def test_singletons_give_no_ess():
    found = gap(OLD, MU, SENTENCES, Groups.equal(2, 1))
    assert found.ess_rel is None
    assert found.k1 is not None


def test_what_is_infinite_is_none():
    old = OLD.copy()
    old[0] = -np.inf
    found = gap(old, MU, SENTENCES, ONE)
    assert (found.k1, found.k3, found.kl_sequence) == (None, None, None)
    assert found.chi2_token is not None


@pytest.mark.parametrize("shift", [-900.0, 0.0, 900.0])
def test_a_constant_in_the_weights_changes_no_drift(shift, rng):
    log_pi, log_ref, log_rho = rng.normal(size=(3, 50)) * 0.3
    found = drift(log_pi, {"ref": log_ref}, None, log_rho + shift)
    rho = np.exp(log_rho)
    gap_mean = float(np.sum(rho * (log_pi - log_ref)) / rho.sum())
    error = np.sqrt(np.mean((rho / rho.mean() * (log_pi - log_ref - gap_mean)) ** 2) / 50)
    expected = max(gap_mean, 0.0) if gap_mean >= -3 * error else None
    near = of_weights("float64", 50, abs(shift)) * np.abs(log_pi - log_ref).max() / abs(gap_mean)
    assert found.ref == pytest.approx(expected, rel=near, abs=0)
