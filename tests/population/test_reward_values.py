"""Rewards of a few values: sums, labels, gradients, and two values against pass rates."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from tod.base import Groups
from tod.population import RewardCounts, reward_value_ess
from tod.population.laplace import laplace_fit
from tod.population.reward_values import compositions
from tod.population.value_laws import Compositions, DirichletLaw, TiltLaw
from tolerance import central_difference, double

LEVELS = np.linspace(0, 1, 4)


def rewards(rng, prompts, k):
    """Shares of three tests passed."""
    p = np.repeat(rng.beta(1, 1.5, prompts), k)
    return LEVELS[rng.binomial(3, p)]


def seen_in(rng, prompts=40, k=6):
    return compositions(RewardCounts.of(rewards(rng, prompts, k), Groups.equal(prompts, k)))


def all_compositions(k, levels):
    return [row for row in product(range(k + 1), repeat=levels) if sum(row) == k]


def multinomial(row):
    return np.exp(special.gammaln(sum(row) + 1) - special.gammaln(np.array(row) + 1).sum())


@pytest.mark.parametrize("law", [DirichletLaw, TiltLaw])
def test_chances_of_all_groups_with_a_signal_sum_to_one(law, rng):
    """The likelihood is a probability: over every composition of K = 4 of three values."""
    rows = np.array([row for row in all_compositions(4, 3) if max(row) < 4])
    values, ones = np.array([0.0, 0.4, 1.0]), np.ones(1, dtype=np.int64)
    total = 0.0
    for row in rows:
        one = law(Compositions(values, row[None], ones))
        at = np.array([-0.3, 0.4, 0.1, 0.6][: one.fit.mode.size])
        total += multinomial(row) * np.exp(one.log_likelihood(at)[0])
    assert total == pytest.approx(1, rel=double(1000, 30))


def test_dirichlet_likelihood_is_the_library_s(rng):
    rows = np.array([[1, 2, 1], [0, 1, 3]])
    law = DirichletLaw(Compositions(np.array([0.0, 0.5, 1.0]), rows, np.array([2, 3])))
    alpha = np.array([0.7, 1.4, 0.3])
    chance = stats.dirichlet_multinomial(alpha, 4)
    signal = 1 - sum(np.exp(chance.logpmf(4 * np.eye(3, dtype=int))))
    want = sum(
        n * (chance.logpmf(row) - np.log(multinomial(row)) - np.log(signal))
        for n, row in zip((2, 3), rows, strict=True)
    )
    assert law.log_likelihood(np.log(alpha))[0] == pytest.approx(want, rel=double(200, 10))


def test_tilt_likelihood_is_the_integral():
    """Grid of s/20 against scipy's quadrature; both stop at 4 s."""
    row, values = np.array([1, 2, 1]), np.array([0.0, 0.5, 1.0])
    law = TiltLaw(Compositions(values, row[None], np.ones(1, dtype=np.int64)))
    base, s = np.array([0.2, -0.1, 0.4]), 1.7

    def chance(z):
        return special.softmax(base + s * z * values)

    def mean(f):
        inside = integrate.quad(lambda z: stats.norm.pdf(z) * f(chance(z)), -4, 4)
        return inside[0] / (stats.norm.cdf(4) - stats.norm.cdf(-4)), inside[1]

    seen, error = mean(lambda p: np.prod(p**row))
    signal, other = mean(lambda p: 1 - (p**4).sum())
    got = law.log_likelihood(np.append(base, np.log(s)))[0]
    edge = 2 * stats.norm.pdf(4)  # a sum over a grid counts its two ends whole, not half
    assert got == pytest.approx(np.log(seen / signal), abs=error / seen + other / signal + edge)


@pytest.mark.parametrize("law", [DirichletLaw, TiltLaw])
def test_gradient_is_the_slope(law, rng):
    one, step = law(seen_in(rng)), 1e-4
    x = one.fit.mode + 0.3
    value, gradient = one.log_likelihood(x)
    for move, slope in zip(step * np.eye(x.size), gradient, strict=True):
        ends = [one.log_likelihood(x + side * move)[0] for side in (1, -1)]
        bound = central_difference(step, 10 * 40 * 6, abs(value) * 100)
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, abs=bound)


def test_laplace_is_exact_for_a_normal():
    """Likelihood N(y; x, 1) and prior N(0, 2²): posterior N(.8y, .8), evidence of N(0, 5)."""
    y = np.array([1.5])

    def log_likelihood(x):
        return float(stats.norm.logpdf(y, x).sum()), y - x

    fit = laplace_fit(log_likelihood, np.zeros(1), np.zeros(1), np.full(1, 2.0))
    assert fit.mode == pytest.approx(0.8 * y, rel=double(1e9))
    assert fit.root @ fit.root.T == pytest.approx(0.8, rel=double(1e9))
    assert fit.log_evidence == pytest.approx(stats.norm.logpdf(1.5, 0, 5**0.5), rel=double(1e9))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_steps_add_up_in_any_order(seed, order):
    rng = np.random.default_rng(seed)
    steps = [RewardCounts.of(rewards(rng, 8, 6), Groups.equal(8, 6)) for _ in order]

    def pooled(places):
        first, *others = (steps[place] for place in places)
        for other in others:
            first = first.joined(other)
        return reward_value_ess(first, 1.5)

    assert pooled(order) == pooled(range(4))


def test_the_truth_is_inside_for_many_groups(rng):
    """4000 groups of a known law: an interval of .02 that holds the median of 10⁶ prompts."""
    prompts, k, eta = 4000, 8, 2.0
    said = reward_value_ess(
        RewardCounts.of(rewards(rng, prompts, k), Groups.equal(prompts, k)), eta
    )
    p = rng.beta(1, 1.5, 10**6)
    m = np.arange(4)
    chance = special.binom(3, m) * p[:, None] ** m * (1 - p[:, None]) ** (3 - m)
    w = np.exp(eta * LEVELS)
    e, signal = (chance @ w) ** 2 / (chance @ w**2), 1 - (chance**k).sum(1)
    order = np.argsort(e)
    median = e[order][np.searchsorted(np.cumsum(signal[order]), signal.sum() / 2)]
    assert said.median.low <= median <= said.median.high
    assert said.median.high - said.median.low < 0.05


def test_too_few_groups_are_not_read(rng):
    said = reward_value_ess(RewardCounts.of(rewards(rng, 5, 6), Groups.equal(5, 6)), 1.0)
    assert (said.median, said.q10, said.method) == (None, None, None)
    assert "8" in said.unreadable
