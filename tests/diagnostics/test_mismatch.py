"""Staleness and engine mismatch: reference values, and that neither reads as the other."""

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.diagnostics import fraction_outside, gap, gap_of_sequences, policy_proposal

OLD = np.array([-1.0, -2.0, -0.5, -0.7, -1.5, -2.5, -0.3])
MU = np.array([-1.1, -1.2, -0.5, -0.7, -1.6, -2.4, -0.3])
SEQUENCES = Groups(np.array([3, 4]))
ONE = Groups.equal(1, 2)


def test_reference_values(backend):
    found = gap(backend.make(OLD), backend.make(MU), SEQUENCES, ONE)
    near = max(1e-9, 10 * backend.rtol)
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
    sums = SEQUENCES.sum(OLD), SEQUENCES.sum(MU)
    full = gap(OLD, MU, SEQUENCES, ONE)
    found = gap_of_sequences(backend.make(sums[0]), backend.make(sums[1]), ONE)
    assert found.kl_sequence == pytest.approx(full.kl_sequence, rel=10 * backend.rtol)
    assert found.chi2_sequence == pytest.approx(full.chi2_sequence, rel=10 * backend.rtol)
    assert found.ess_rel == pytest.approx(full.ess_rel, rel=10 * backend.rtol)
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
    assert mismatch.k3 == pytest.approx(0.05**2 / 2, rel=0.02)  # sampling error
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
    assert pytest.approx(0.0000477118, abs=1e-9) == 1.01**-1000


def test_bounds_are_on_rho_itself():
    """A mask of [0.5, 5] rejects ρ = 0.25 and keeps ρ = 4, not the other way round."""
    x = np.log([0.25, 4.0, 4.0, 1.0])
    assert fraction_outside(x, 0.5, 5.0) == 0.25
    assert fraction_outside(np.array([-np.inf, 0.0]), 0.0, 2.0) == 0.0
    with pytest.raises(DataError, match="ordered"):
        fraction_outside(x, 5.0, 0.5)


def test_singletons_give_no_ess():
    found = gap(OLD, MU, SEQUENCES, Groups.equal(2, 1))
    assert found.ess_rel is None
    assert found.k1 is not None


def test_what_is_infinite_is_none():
    old = OLD.copy()
    old[0] = -np.inf
    found = gap(old, MU, SEQUENCES, ONE)
    assert (found.k1, found.k3, found.kl_sequence) == (None, None, None)
    assert found.chi2_token is not None
