"""Derivatives against reference values, autograd and finite differences."""

import numpy as np
import pytest
import torch

from tod.base import Groups, to_numpy
from tod.diagnostics import d_ess, d_kl, d_log_ess, ess, kl_target_proposal, log_ess

U = np.array([0.0, 0.2, 0.5, 1.0, 1.0])
ONE = Groups.equal(1, 5)


def test_reference_values(backend):
    w, u = backend.make(1.5 * U), backend.make(U)
    near = max(1e-9, 20 * backend.rtol)
    assert float(ess(w, ONE)[0]) == pytest.approx(3.7992988799, abs=near)
    assert float(d_log_ess(w, u, ONE)[0]) == pytest.approx(-0.2694234660, abs=near)
    assert float(d_ess(w, u, ONE)[0]) == pytest.approx(-1.0236202725, abs=near)


def test_autograd_of_log_ess(batch, rng):
    log_w, contexts = batch
    direction = rng.normal(size=contexts.total)
    step = torch.zeros(len(contexts), dtype=torch.float64, requires_grad=True)
    moved = torch.tensor(log_w) + contexts.spread(step) * torch.tensor(direction)
    log_ess(moved, contexts).sum().backward()
    np.testing.assert_allclose(step.grad, d_log_ess(log_w, direction, contexts), atol=1e-13)


def test_finite_differences(batch, rng):
    log_w, contexts = batch
    utility, h = rng.normal(size=contexts.total), 1e-5
    up, down = (ess(log_w + s * h * utility, contexts) for s in (1, -1))
    np.testing.assert_allclose(d_ess(log_w, utility, contexts), (up - down) / (2 * h), atol=1e-7)
    eta = 1.3
    up, down = (kl_target_proposal((eta + s * h) * utility, contexts) for s in (1, -1))
    np.testing.assert_allclose(
        d_kl(eta * utility, utility, contexts, eta), (up - down) / (2 * h), atol=1e-7
    )


def test_sharpness_only_loses_when_the_anchor_is_the_proposal(rng):
    utility, g = rng.normal(size=200), Groups.equal(20, 10)
    for eta in (0.0, 0.5, 3.0):
        assert (d_log_ess(eta * utility, utility, g) <= 1e-15).all()
        assert (d_kl(eta * utility, utility, g, eta) >= 0).all()


def test_a_shift_of_the_direction_changes_nothing(batch, rng):
    log_w, contexts = batch
    direction = rng.normal(size=contexts.total)
    shifted = direction + contexts.spread(rng.normal(size=len(contexts)) * 5)
    np.testing.assert_allclose(
        d_log_ess(log_w, shifted, contexts), d_log_ess(log_w, direction, contexts), atol=1e-12
    )


def test_weight_outside_support_does_not_count(backend):
    w, u = backend.make([0.0, -np.inf, 1.0]), backend.make([0.3, -np.inf, 0.7])
    inner = d_log_ess(backend.make([0.0, 1.0]), backend.make([0.3, 0.7]), Groups.equal(1, 2))
    got = d_log_ess(w, u, Groups.equal(1, 3))
    assert to_numpy(got) == pytest.approx(to_numpy(inner), rel=backend.rtol)


def test_invalid_contexts_are_nan(invalid):
    log_w, contexts = invalid
    assert np.isnan(d_log_ess(log_w, np.ones(contexts.total), contexts)).all()
