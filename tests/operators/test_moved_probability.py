"""DPPO's mask: by how far the probability of a token moved, not by its ratio."""

import numpy as np
import pytest
import torch

from tod.base import SpecError, to_numpy
from tod.operators import MovedProbability, PolicyGradient
from tolerance import double

OLD = np.log([0.5, 0.5, 0.5, 0.01, 0.01, 0.9, 0.5])
NEW = np.log([0.6, 0.8, 0.2, 0.05, 0.9, 0.5, 0.8])
A = np.array([1.0, 1.0, -1.0, 1.0, 2.0, 1.0, -1.0])


def test_a_token_is_dropped_by_how_far_its_probability_moved(backend):
    """Bound .2: +.1 stays, +.3 goes, −.3 goes down; ρ = 5 of a rare token stays, as it moved .04;
    what moved against its advantage stays."""
    region = MovedProbability(low=0.2, high=0.2, cap=100.0)
    log_rho, a, old = (backend.make(x) for x in (NEW - OLD, A, OLD))
    gate = to_numpy(region.gate(log_rho, a, log_old=old))
    np.testing.assert_array_equal(gate, [1, 0, 0, 1, 0, 1, 1])


def test_the_kl_is_that_of_two_points():
    """By hand: KL((p, 1 − p) ‖ (q, 1 − q)); the bound between two tokens' values parts them."""
    p, q = np.exp(OLD), np.exp(NEW)
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    pushed = np.sign(q - p) == np.sign(A)
    for bound in (kl[:5].min() / 2, np.median(kl[pushed]) * 1.001, kl.max() * 2):
        region = MovedProbability(measure="kl", low=bound, high=bound, cap=100.0)
        gate = region.gate(NEW - OLD, A, log_old=OLD)
        np.testing.assert_array_equal(gate > 0, (kl <= bound) | ~pushed)


def test_the_weight_is_capped_and_its_credit_is_a_derivative(make_batch):
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    region = MovedProbability(low=0.1, high=0.05, cap=1.3)
    credit = PolicyGradient(trust_region=region, aggregation="token_mean").credit(batch)
    assert 0 < int((credit.gate == 0).sum()) < len(credit.gate)
    x = batch.log_policy.clone().requires_grad_()
    rho, old = torch.exp(batch.log_policy - batch.log_old), torch.exp(batch.log_old)
    a = credit.token_advantage
    moved = torch.exp(batch.log_policy) - old
    keep = torch.where(a > 0, moved <= 0.05, moved >= -0.1)
    (keep * torch.clamp(rho, max=1.3) * a * x).mean().backward()
    near = double(64, float(abs(credit.per_token).max()))
    np.testing.assert_allclose(credit.per_token, x.grad, rtol=0, atol=near)


def test_it_refuses_without_the_old_policy_and_at_another_level():
    with pytest.raises(SpecError, match="pi_old of the tokens is not there"):
        MovedProbability().gate(NEW - OLD, A)
    with pytest.raises(SpecError, match="use level token"):
        PolicyGradient.parse({"trust_region": "moved_probability", "level": "sequence_mean"})


def test_a_certain_token_has_no_logarithm_of_nothing():
    for measure in ("tv", "kl"):
        gate = MovedProbability(measure=measure).gate(
            np.array([0.0, 1e-9, -1.0]), np.ones(3), log_old=np.zeros(3)
        )
        assert np.isfinite(gate).all()
