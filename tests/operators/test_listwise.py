"""Listwise: reference values in both semantics, autograd, equal recipes, the soft pair."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tod.base import DataError, Groups, SpecError, to_numpy
from tod.operators import Batch, Listwise, Totals, WeightedRegression
from tolerance import assert_credit, double, of_credit, printed

LOG_PI, LOG_REF, U = [-12.0, -15.0, -14.0], [-13.0, -14.0, -14.0], [1.0, 0.0, 0.5]


def _three(make, *, fixed=False, u=U, log_pi=LOG_PI, log_ref=LOG_REF, eta=1.0):
    """K candidates of one token; sampled with μ = b = π_ref, or a fixed set."""
    k = len(u)
    tilt, ref = eta * np.array(u), np.array(log_ref)
    groups = Groups.equal(k, 1), Groups.equal(1, k)
    return Batch(
        contexts=groups[1],
        sequences=groups[0],
        log_policy=make(log_pi),
        log_old=make(log_pi),
        value=make(u),
        tilt=make(tilt),
        sharpness=eta,
        totals=Totals.of(*groups),
        log_w=make(tilt + ref if fixed else tilt),
        log_mu=make(0 * ref if fixed else ref),
        log_base=make(ref),
    )


def close(backend, got, want):
    near = printed(10) + backend.of_weights(3, 15.0)  # log-probs up to 15 nats
    np.testing.assert_allclose(to_numpy(got), want, rtol=0, atol=near)


def test_sampled_reference_values(backend):
    batch = _three(backend.make)
    q, p = batch.contexts.softmax(batch.log_w), Listwise().policy_weights(batch)
    close(backend, q, [0.5064803911, 0.1863237232, 0.3071958857])
    close(backend, p, [0.6652409558, 0.0900305732, 0.2447284711])
    q, p = to_numpy(q), to_numpy(p)
    close(backend, -(q * np.log(p)).sum(), 1.0874492966)
    close(backend, (p * np.log(p / q)).sum(), 0.0602688975)
    want = [0.1587605647, -0.0962931501, -0.0624674147]
    close(backend, -Listwise().credit(batch).per_token, want)


def test_fixed_reference_values(backend):
    batch = _three(backend.make, fixed=True)
    q, p = batch.contexts.softmax(batch.log_w), Listwise().policy_weights(batch)
    close(backend, q, [0.7361247243, 0.0996236481, 0.1642516276])
    close(backend, -(to_numpy(q) * np.log(to_numpy(p))).sum(), 0.7972202190)


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_autograd_is_the_credit(make_batch, divergence):
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    log_policy = batch.log_policy.clone().requires_grad_()
    scores = batch.sequences.sum(log_policy) - batch.log_mu
    total = 0.0
    for a, b in zip(batch.contexts.offsets[:-1], batch.contexts.offsets[1:], strict=True):
        log_p, log_q = scores[a:b].log_softmax(0), batch.log_w[a:b].log_softmax(0)
        one = (
            -(log_q.exp() * log_p).sum()
            if divergence == "forward"
            else (log_p.exp() * (log_p - log_q)).sum()
        )
        total = total + one / len(batch.contexts)
    want = -torch.autograd.grad(total, log_policy)[0]
    got = Listwise(divergence=divergence).credit(batch).per_token
    assert_credit(got, want)


def test_forward_is_centred_weighted_regression(make_batch):
    batch = make_batch()
    np.testing.assert_array_equal(
        Listwise().credit(batch).per_token, WeightedRegression(centred=True).credit(batch).per_token
    )


def test_two_candidates_are_the_exact_target_pair(backend):
    """q = σ(η(U₁ − U₂)), loss −q log σ(Δ) − (1 − q) log σ(−Δ), optimum Δ = η(U₁ − U₂)."""
    batch = _three(backend.make, u=[1.0, 0.0], log_pi=LOG_PI[:2], log_ref=LOG_REF[:2], eta=2.0)
    q, p = (
        to_numpy(x) for x in (batch.contexts.softmax(batch.log_w), Listwise().policy_weights(batch))
    )
    close(backend, q[0], 0.8807970780)
    close(backend, -(q * np.log(p)).sum(), 0.3653338551)
    close(backend, Listwise().credit(batch).per_token, [0.0, 0.0])


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_credit_vanishes_at_the_target(make_batch, divergence):
    batch = make_batch()
    at = replace(batch, log_w=batch.sequences.sum(batch.log_policy) - batch.log_mu + 5.0)
    got = Listwise(divergence=divergence).credit(at).per_token
    np.testing.assert_allclose(got, 0, rtol=0, atol=of_credit("float64"))


def test_outside_the_support(backend):
    batch = _three(backend.make)
    cut = replace(batch, log_w=backend.make([1.0, -math.inf, 0.5]))
    credit = to_numpy(Listwise().credit(cut).per_token)
    near = printed(10) + backend.of_weights(3, 15.0)
    assert credit[1] == pytest.approx(-0.0900305732, abs=near)
    with pytest.raises(DataError, match="divergence: forward"):
        Listwise(divergence="reverse").credit(cut)
    nothing = replace(batch, log_w=backend.make([-math.inf] * 3))
    for divergence in ("forward", "reverse"):
        got = Listwise(divergence=divergence).credit(nothing).per_token
        np.testing.assert_array_equal(to_numpy(got), 0.0)


def test_singleton_context_says_nothing(make_batch):
    batch = make_batch()
    for divergence in ("forward", "reverse"):
        credit = Listwise(divergence=divergence).credit(batch)
        assert batch.sequences.mean(credit.per_token)[3] == pytest.approx(0.0, abs=double(8))


def test_missing_parts_are_named(make_batch):
    with pytest.raises(SpecError, match="fixed set"):
        Listwise().credit(replace(make_batch(), log_mu=None))
    with pytest.raises(SpecError, match="log-probs of μ"):
        Listwise().credit(replace(make_batch(), log_w=None))
