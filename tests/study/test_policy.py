"""Gradients written by hand against finite differences; the optimiser against its paper."""

import numpy as np
import pytest

from tod.study.policy import Adam, Shared, Tabular, slope_of_logits
from tod.study.world import log_softmax
from tolerance import central_difference, double


def _value(policy, world, parameters, credit):
    tokens = world.language.of_tokens(log_softmax(policy.logits(parameters)))
    return float((credit * tokens).sum())


@pytest.mark.parametrize("kind", [Tabular, Shared])
@pytest.mark.parametrize("which", ["small", "ragged_world"])
def test_the_gradient_of_any_credit(kind, which, request, rng):
    world = request.getfixturevalue(which)
    policy = kind(world)
    parameters = policy.start()
    parameters = parameters + 0.3 * rng.standard_normal(parameters.shape)
    credit = rng.standard_normal(world.base_tokens.shape)
    log_cond = log_softmax(policy.logits(parameters))
    gradient = policy.pull_back(parameters, slope_of_logits(world, log_cond, credit))
    for _ in range(3):
        way = rng.standard_normal(parameters.shape)
        ahead, behind = (
            _value(policy, world, parameters + sign * 1e-5 * way, credit) for sign in (1, -1)
        )
        size = np.abs(credit).sum()
        near = central_difference(1e-5, size * (4 * np.abs(way).max()) ** 3, 16 * size)
        assert gradient @ way == pytest.approx((ahead - behind) / 2e-5, abs=near)


@pytest.mark.parametrize("kind", [Tabular, Shared])
def test_every_policy_starts_at_the_base(kind, small):
    policy = kind(small)
    tokens = small.language.of_tokens(log_softmax(policy.logits(policy.start())))
    np.testing.assert_allclose(tokens, small.base_tokens, rtol=0, atol=double(27 + 8, 16))


def test_the_score_has_no_mean(small):
    # E_π ∇log π = 0: credit 1 on every token, weighted by the policy's own probability
    p = np.repeat(np.exp(small.base), small.language.sequences.sizes, axis=1)
    slope = slope_of_logits(small, log_softmax(small.base_logits), p)
    np.testing.assert_allclose(slope, 0.0, rtol=0, atol=double(27 + 8, 4))


def test_adam_against_torch(rng):
    import torch

    start, gradients = rng.standard_normal(5), rng.standard_normal((4, 5))
    x = torch.tensor(start, requires_grad=True)
    oracle = torch.optim.Adam([x], lr=0.1, betas=(0.9, 0.99), eps=1e-6)
    mine, adam = start, Adam.start(start)
    for gradient in gradients:
        x.grad = -torch.tensor(gradient)
        oracle.step()
        mine, adam = adam.step(mine, gradient, 0.1)
    np.testing.assert_allclose(mine, x.detach().numpy(), rtol=double(4 * 16, 8))


def test_rounding_at_a_stationary_point_moves_nothing():
    # without a large enough epsilon a gradient of 1e-17 becomes a full step
    rate, gradient = 0.1, np.array([1e-17, -1e-17])
    moved, _ = Adam.start(np.zeros(2)).step(np.zeros(2), gradient, rate)
    # rate·g/(|g| + ε), ε = 1e-6; both means begin at 0 and are corrected for it
    np.testing.assert_allclose(
        moved, rate * gradient / (np.abs(gradient) + 1e-6), rtol=double(16), atol=0
    )
