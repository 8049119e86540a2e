"""Missed modes: statistics that weights cannot give, against enumeration and closed forms."""

from itertools import combinations

import numpy as np
import pytest

from tod.base import DataError, Groups, to_numpy
from tod.diagnostics import ess_rel, harmonic_mean, mean_rho, policy_proposal, reverse_ess
from tod.diagnostics.coverage import expected_coverage, missing_mass, pass_at_k
from tod.diagnostics.overlap import target_proposal
from tolerance import chance, double, of_weights, printed


@pytest.fixture
def hole(rng):
    """A world of 64 outcomes whose upper 30 % of q* the proposal cannot reach."""
    base = rng.dirichlet(np.ones(64) * 4)
    target = base * np.exp(0.5 * rng.normal(size=64))
    target /= target.sum()
    removed = np.cumsum(np.sort(target)[::-1]) < 0.3
    mu = base.copy()
    mu[np.argsort(target)[::-1][removed]] = 0
    mu /= mu.sum()
    return base, target, mu


def test_reference_mean():
    r = np.array([0.3, -0.2, 0.1, -1.0])
    found = mean_rho(r, Groups.equal(1, 4))
    assert found.value == pytest.approx(0.9104099800, abs=printed(10))
    assert found.z is None


def test_a_hole_is_seen_by_mean_rho_and_not_by_the_legs(hole, rng):
    base, target, mu = hole
    g = Groups.equal(128, 16)
    drawn = rng.choice(64, size=g.total, p=mu)
    r, w = np.log(base / np.where(mu > 0, mu, 1))[drawn], np.log(target / np.where(mu > 0, mu, 1))
    assert np.median(target_proposal(w[drawn], g)) > 0.7
    assert np.median(policy_proposal(r, g)) > 0.95
    found = mean_rho(r, g)
    reached = mu > 0
    spread = np.sqrt(np.sum(base[reached] ** 2 / mu[reached]) - base[reached].sum() ** 2)
    assert found.value == pytest.approx(base[reached].sum(), abs=chance(spread, g.total))
    assert found.z < -3


def test_mean_rho_under_full_support_is_one_and_z_is_standard(rng):
    p, mu = rng.dirichlet(np.ones(30) * 5, size=2)
    zs = []
    for _ in range(300):
        drawn = rng.choice(30, size=32 * 8, p=mu)
        zs.append(mean_rho(np.log(p / mu)[drawn], Groups.equal(32, 8)).z)
    assert np.mean(zs) == pytest.approx(0, abs=chance(1, 300))
    # a standard deviation of n draws has the standard error 1/√(2n)
    assert np.std(zs) == pytest.approx(1, abs=chance(0.5**0.5, 300))


def test_clustered_error_by_hand(rng):
    g = Groups(rng.integers(2, 9, size=60))
    r = rng.normal(size=g.total) * 0.2 + g.spread(rng.normal(size=60) * 0.3)
    rho = np.exp(r)
    sums = [part.sum() - len(part) * rho.mean() for part in np.split(rho, g.offsets[1:-1])]
    error = np.sqrt(60 / 59 * np.sum(np.square(sums))) / len(r)
    found, near = mean_rho(r, g), of_weights("float64", g.total, np.abs(r).max())
    assert found.z == pytest.approx((rho.mean() - 1) / error, rel=near / abs(rho.mean() - 1))
    assert found.effective == pytest.approx(rho.sum() ** 2 / (rho**2).sum(), rel=near)


def test_silent_on_policy():
    found = mean_rho(np.zeros(400), Groups.equal(50, 8))
    assert (found.value, found.z) == (1.0, 0.0)


def test_too_few_effective_candidates_give_no_z(rng):
    r = np.zeros(800)
    r[0] = 9.0
    assert mean_rho(r, Groups.equal(100, 8)).z is None
    assert mean_rho(np.zeros(800), Groups.equal(1, 800)).z is None


def test_mean_rho_of_extremes():
    r = np.array([800.0, 0.0])
    assert mean_rho(r, Groups.equal(2, 1)).value == np.inf
    assert mean_rho(np.array([0.0, -np.inf]), Groups.equal(1, 2)).value == 0.5
    for bad in ([np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]):
        with pytest.raises(DataError, match="invalid prompts"):
            mean_rho(np.array(bad), Groups.equal(1, 2))


def test_reverse_ess_sees_the_hole(hole, backend, rng):
    base, target, mu = hole
    contexts, targets = Groups.equal(40, 64), Groups.equal(40, 100)
    y = rng.choice(64, size=contexts.total, p=mu)
    z = rng.choice(64, size=targets.total, p=target)
    log = lambda p: np.log(np.maximum(p, 1e-12))  # noqa: E731
    w = backend.make((log(target) - log(mu))[y] + 3)
    holed = reverse_ess(w, contexts, backend.make((log(target) - log(mu))[z] + 3), targets)
    assert harmonic_mean(to_numpy(holed)) < 1e-8
    assert float(np.median(to_numpy(ess_rel(w, contexts)))) > 0.7
    y = rng.choice(64, size=contexts.total, p=base)
    w, wz = (backend.make((log(target) - log(base))[i] + 3) for i in (y, z))
    sound = harmonic_mean(to_numpy(reverse_ess(w, contexts, wz, targets)))
    # E_μ w over E_q* w of 40·64 and 40·100 draws, relatively
    a, b, c = (np.sum(target**p / base ** (p - 1)) for p in (1, 2, 3))
    near = chance(np.sqrt((b - a**2) / 64 + (c / b**2 - 1) / 100), 40)
    bias = (b - 1) / 64 + (c / b**2 - 1) / 100  # of a ratio of means, in every context
    assert sound == pytest.approx(1 / b, rel=near + bias)


def test_reverse_ess_by_hand(backend):
    contexts, targets = Groups(np.array([3, 2])), Groups(np.array([1, 2]))
    w, wz = np.array([0.0, 1.0, -1.0, 2.0, 0.5]), np.array([0.7, 0.1, -0.4])
    expected = [
        np.exp(w[:3]).mean() / np.exp(wz[:1]).mean(),
        np.exp(w[3:]).mean() / np.exp(wz[1:]).mean(),
    ]
    got = reverse_ess(backend.make(w), contexts, backend.make(wz), targets)
    np.testing.assert_allclose(to_numpy(got), expected, rtol=backend.of_weights(4, 2.0))
    with pytest.raises(DataError, match="select the prompts that have both"):
        reverse_ess(backend.make(w), contexts, backend.make(wz), Groups.equal(3, 1))


def test_pass_at_k_by_enumeration():
    assert pass_at_k(np.array([10]), np.array([3]), 4)[0] == pytest.approx(5 / 6, rel=double(8))
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                draws = list(combinations([i < c for i in range(n)], k))
                share = sum(any(d) for d in draws) / len(draws)
                assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(share)


@pytest.mark.parametrize("k", [0, 6])
def test_pass_at_k_needs_k_draws(k):
    with pytest.raises(DataError, match="draws per prompt"):
        pass_at_k(np.array([9, 5]), np.array([1, 1]), k)


def test_missing_mass_by_hand(backend):
    contexts = Groups(np.array([4, 2]))
    answers = np.array([7, 7, 3, 5, 7, 3])
    w = backend.make([0.0, 1.0, 2.0, -np.inf, 0.0, 0.0])
    bar = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    got = missing_mass(w, answers, contexts)
    np.testing.assert_allclose(got, [bar[2], 1.0], rtol=backend.of_weights(4, 2.0))


def test_missing_mass_has_the_expectation_of_good_and_turing(rng):
    q, mu, k = rng.dirichlet(np.ones(60)), rng.dirichlet(np.ones(60) * 3), 64
    contexts = Groups.equal(3000, k)
    drawn = rng.choice(60, size=contexts.total, p=mu)
    unseen = (q * (1 - mu) ** (k - 1)).sum()
    got = missing_mass(np.log(q / mu)[drawn], drawn, contexts).mean()
    chi2 = (q**2 / mu).sum() - 1
    bias = (1 + chi2) / k  # what self-normalisation leaves, relatively
    assert got == pytest.approx(unseen, abs=chance(0.5 / np.sqrt(k), 3000), rel=bias)


def test_missing_mass_of_invalid_contexts(invalid):
    log_w, contexts = invalid
    assert np.isnan(missing_mass(log_w, np.arange(contexts.total), contexts)).all()


def test_expected_coverage():
    assert expected_coverage(np.array(0.05), np.array(64)) == pytest.approx(
        0.9624758608, abs=printed(10)
    )
    assert expected_coverage(np.array([0.0, 1.0, 1e-18]), np.array(8)).tolist() == [0, 1, 8e-18]
