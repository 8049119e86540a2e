"""Weights within a KL budget: scipy's minimum of the dual, its limits, and parts of a step."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp, rel_entr, softmax

from tod.base import Groups, SpecError, to_numpy
from tod.operators import Totals, WeightedRegression, WithinBudget
from tolerance import minimum, of_weights


def slices(groups):
    return [slice(a, b) for a, b in zip(groups.offsets[:-1], groups.offsets[1:], strict=True)]


def base_of(batch):
    """log b/μ within every context, normalised."""
    base = to_numpy(batch.log_w) - to_numpy(batch.tilt)
    return np.concatenate([base[s] - logsumexp(base[s]) for s in slices(batch.contexts)])


def spent(weight, batch):
    """Mean over contexts of KL(w̄‖b̂)."""
    b = np.exp(base_of(batch))
    return np.mean([rel_entr(weight[s], b[s]).sum() for s in slices(batch.contexts)])


@pytest.mark.parametrize("budget", [0.01, 0.1, 0.5])
def test_the_weights_are_the_minimum_of_the_dual(backend, make_batch, budget):
    """g(T) = Tε + T·mean_c LSE(log b̂ + U/T), minimised by scipy over log T."""
    batch = make_batch(backend.make)
    log_b, u = base_of(batch).astype(float), to_numpy(batch.value).astype(float)

    def dual(log_t):
        t = np.exp(log_t)
        return t * budget + t * np.mean(
            [logsumexp(log_b[s] + u[s] / t) for s in slices(batch.contexts)]
        )

    stop = 1e-9
    found = minimize_scalar(dual, bounds=(-7, 9), method="bounded", options={"xatol": stop})
    t = np.exp(found.x)
    want = np.concatenate([softmax(log_b[s] + u[s] / t) for s in slices(batch.contexts)])
    rule = WithinBudget(budget=budget)
    got = to_numpy(rule(batch)).astype(float)
    # ∂²g/∂(log T)² = mean of Var(U)/T; a step δ of log T moves w̄ by w̄·|U − Ū|·δ/T ≤ range·δ/4T
    bend = np.mean([np.cov(u[s], aweights=want[s], ddof=0) for s in slices(batch.contexts)]) / t
    step = stop + minimum("float64", 16 * found.fun, bend)
    near = backend.of_weights(7, np.abs(log_b).max() + np.abs(u).max() / t)
    np.testing.assert_allclose(got, want, rtol=0, atol=near + step * np.ptp(u) / (4 * t))
    largest = max(np.abs(np.log(got[s] / np.exp(log_b[s]))).max() for s in slices(batch.contexts))
    assert spent(got, batch) == pytest.approx(budget, abs=near * (1 + largest))
    credit = to_numpy(WeightedRegression(weights=rule).credit(batch).per_token)
    np.testing.assert_allclose(
        credit,
        np.repeat(got, batch.sequences.sizes) / len(batch.contexts),
        rtol=backend.rounding(4),
    )


def test_no_law_within_the_budget_has_more_utility():
    """The primal, max E_q U under KL(q‖b) ≤ ε, by sequential quadratic programming."""
    rng = np.random.default_rng(3)
    log_b, u, stop = np.log(softmax(rng.normal(size=6))), rng.normal(size=6), 1e-14
    contexts = Groups.equal(1, 6)
    found = minimize(
        lambda q: -q @ u,
        np.exp(log_b),
        bounds=[(1e-12, 1)] * 6,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "ineq", "fun": lambda q: 0.2 - np.sum(q * (np.log(q) - log_b))},
        ],
        method="SLSQP",
        options={"ftol": stop, "maxiter": 500},
    )
    batch = plain(contexts, log_b, u)
    # E U falls like T·(δq)²/2q from its maximum, and is looked at by differences of √u
    flat = np.sqrt(2 * stop * WithinBudget(budget=0.2).eta(batch)) + np.sqrt(np.finfo(float).eps)
    np.testing.assert_allclose(WithinBudget(budget=0.2)(batch), found.x, rtol=0, atol=16 * flat)


def plain(contexts, log_b, u, totals=None):
    """A batch of one token a candidate, of which only weights are asked."""
    from tod.operators import Batch

    tokens = Groups(np.ones(contexts.total, dtype=int))
    totals = totals or Totals.of(tokens, contexts)
    zero = np.zeros_like(u)
    return Batch(contexts, tokens, zero, zero, u, 3.0 * u, 3.0, totals, log_w=log_b + 3.0 * u)


def test_the_declared_sharpness_is_not_read(make_batch):
    one, other = make_batch(eta=0.3), make_batch(eta=12.0)
    # log b is what is left of log w when ηU is taken away; η of what is spent, 0.1 nats
    near = of_weights("float64", 7, np.abs(other.log_w).max())
    np.testing.assert_allclose(WithinBudget()(one), WithinBudget()(other), rtol=near / 0.1)
    assert WithinBudget().eta(one) == pytest.approx(WithinBudget().eta(other), rel=near / 0.1)


def test_more_than_all_of_the_budget_is_the_best_of_the_anchor():
    log_b = np.log([0.2, 0.3, 0.1, 0.4, 0.5, 0.5])
    batch = plain(Groups.equal(2, 3), log_b, np.array([1.0, 1.0, 0.0, 0.0, 2.0, 1.0]))
    assert WithinBudget(budget=3.0).eta(batch) == np.inf
    got = WithinBudget(budget=3.0)(batch)
    np.testing.assert_allclose(got, [0.4, 0.6, 0, 0, 1, 0], rtol=of_weights("float64", 3, 3.0))
    nearly = WithinBudget(budget=0.55)(batch)
    small = 1e-12  # nats a context, 2·small in one of two; |q − b| ≤ √(KL/2) (Pinsker)
    np.testing.assert_allclose(
        WithinBudget(budget=small)(batch), np.exp(base_of(batch)), rtol=0, atol=np.sqrt(small)
    )
    assert 0 < nearly[2] < 0.1


def test_what_is_outside_the_support_has_no_weight_and_no_say():
    log_b = np.zeros(7)
    u = np.array([0.0, 1.0, 5.0, 0.3, 0.9, 2.0, 2.0])
    batch = plain(Groups(np.array([3, 2, 2])), log_b, u)
    outside = np.array([0, 0, 1, 0, 0, 1, 1], dtype=bool)
    dead = replace(
        batch,
        log_w=np.where(outside, -np.inf, batch.log_w),
        tilt=np.where(outside, -np.inf, batch.tilt),
        value=np.where(outside, -np.inf, batch.value),
    )
    inner = plain(Groups(np.array([2, 2])), np.zeros(4), u[[0, 1, 3, 4]])
    rule = WithinBudget(budget=0.05)
    near = of_weights("float64", 3, 3.0 * u.max()) / 0.05  # η of what is spent
    np.testing.assert_allclose(rule(dead)[[0, 1, 3, 4]], rule(inner), rtol=near)
    np.testing.assert_array_equal(rule(dead)[[2, 5, 6]], 0.0)
    none = replace(dead, log_w=np.full(7, -np.inf))
    np.testing.assert_array_equal(rule(none), 0.0)


def test_a_part_of_a_step_reads_the_sharpness_of_the_whole():
    rng = np.random.default_rng(0)
    u = rng.normal(size=8) * np.repeat([0.3, 3.0], 4)
    whole = plain(Groups.equal(2, 4), np.zeros(8), u)
    action = WeightedRegression(weights=WithinBudget(budget=0.2))
    assert action.reads_the_step
    totals = action.totals(whole)
    weight = action.weights(whole)
    for number in range(2):
        rows = slice(4 * number, 4 * number + 4)
        part = plain(Groups.equal(1, 4), np.zeros(4), u[rows], replace(whole.totals))
        with pytest.raises(SpecError, match="totals_of"):
            action.weights(part)
        np.testing.assert_array_equal(action.weights(replace(part, totals=totals)), weight[rows])
