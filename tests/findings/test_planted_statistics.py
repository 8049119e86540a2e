"""The statistics of findings against independent oracles: least squares, scipy, enumeration."""

import itertools

import numpy as np
import pytest
from scipy import optimize, stats

from tod.base import Groups
from tod.findings import RolloutTable
from tod.findings.change import rss_of_lines, sums_of_lines, window, window_error
from tod.findings.dating import (
    SPAN,
    _ramp_rss,
    abrupt,
    bend,
    hinge_rss,
    jump_onset,
    ramp_onset,
    share_change,
)
from tod.findings.detectors.learning_end import _difference_error, _lower
from tod.findings.detectors.noise import intraclass_correlation
from tod.findings.detectors.reward_fall import _slope_errors, without_difficulty
from tod.findings.detectors.verifier import contradictions
from tod.findings.pass_rates import PassRates, fit_pass_rates
from tod.findings.planted.metrics import autoregressive, pass_rates
from tod.findings.planted.outcomes import above, below
from tolerance import chance, double, stated

FITTED = double(1000, 1e4)
"""Of fits by prefix sums: squares of 30 steps of values to 100 cancel."""
METHOD = stated(0.15, "the delta method at 60 groups of 8")
LOGISTIC = stated(0.0095, "the logistic law is so near to the normal one everywhere")

SEEDS = range(5)


def least_squares(columns, y):
    design = np.stack(columns, axis=1)
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(rest @ rest)


def noisy(seed, size):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=size)) + rng.normal(0, 0.3, size)


def close(found, exact, y):
    """Sums of squares by prefix sums: rounding of Σy², which they are a difference of."""
    bound = double(20 * len(y), float(len(y))) * float(((y - y.mean()) ** 2).sum() + 1e-30)
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("degree", [0, 1])
def test_a_line_fits_every_stretch_as_least_squares_does(seed, degree):
    y = noisy(seed, 17)
    pairs = [(a, b) for a in range(17) for b in range(a + degree + 2, 18)]
    first, last = np.array(pairs).T
    found = rss_of_lines(sums_of_lines(y), first, last, degree)
    exact = []
    for a, b in pairs:
        t = np.arange(a, b, dtype=float)
        exact.append(least_squares([np.ones(b - a), t][: degree + 1], y[a:b]))
    close(found, exact, y)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [6, 13, 40])
def test_a_bend_fits_as_least_squares_does(seed, size):
    y = noisy(seed, size)
    t = np.arange(size, dtype=float)
    places = np.arange(1, size - 2)
    exact = [least_squares([np.ones(size), t, np.maximum(0, t - s)], y) for s in places]
    close(hinge_rss(y, places), exact, y)
    fit = bend(y)
    assert fit.place == places[np.argmin(exact)]
    line = least_squares([np.ones(size), t], y)
    scale = (line - min(exact)) / fit.gain
    close(fit.loss * scale, exact, y)
    assert scale >= min(exact) / (size - 4) * (1 - FITTED)


@pytest.mark.parametrize("seed", SEEDS)
def test_slopes_of_an_exact_bend_are_found(seed):
    rng = np.random.default_rng(seed)
    t = np.arange(30.0)
    level, before, more, place = *rng.normal(size=3), int(rng.integers(4, 24))
    fit = bend(level + before * t + more * np.maximum(0, t - place))
    assert fit.place == place
    slopes = [before, before + more]
    np.testing.assert_allclose([fit.before, fit.after], slopes, atol=FITTED, rtol=0)
    np.testing.assert_allclose(fit.rest, 0, rtol=0, atol=FITTED)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ramp_between_lines_is_the_best_of_all(seed):
    y = noisy(seed, 14)
    t = np.arange(14.0)
    exact = []
    for end in [*range(5, 11), 14]:
        for s in range(1, end - 2):
            bent = [np.ones(end), t[:end], np.maximum(0, t[:end] - s)]
            rest = least_squares([np.ones(14 - end), t[end:]], y[end:]) if end < 14 else 0.0
            exact.append(least_squares(bent, y[:end]) + rest)
    close(_ramp_rss(y, sums_of_lines(y)), min(exact), y)


def test_a_free_line_after_a_ramp_has_four_steps_or_none():
    t = np.arange(14.0)
    y = np.maximum(0, t - 4)
    y[10:] = np.array([30.0, 31.0, 32.0, 33.0])
    assert _ramp_rss(y, sums_of_lines(y)) < FITTED
    y[10] = y[9] + 1  # a line of three is not tried: the bend runs over it to the end
    assert _ramp_rss(y, sums_of_lines(y)) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_share_changes_where_the_binomial_likelihood_says(seed):
    rng = np.random.default_rng(seed)
    total = rng.integers(4, 20, 12)
    count = rng.binomial(total, np.where(np.arange(12) < 7, 0.2, 0.9))

    def loglik(k, n):
        return stats.binom.logpmf(k, n, k.sum() / n.sum()).sum()

    split = [loglik(count[:s], total[:s]) + loglik(count[s:], total[s:]) for s in range(1, 12)]
    assert share_change(count, total) == 1 + int(np.argmax(split))
    assert 2 * (max(split) - loglik(count, total)) > SPAN
    same = np.full(12, 3)
    assert share_change(same, np.full(12, 10)) == 0


@pytest.mark.parametrize("at", [3, 20, 36])
@pytest.mark.parametrize("trend", [0.0, 0.02])
def test_a_jump_is_dated_to_its_step(at, trend):
    rng = np.random.default_rng(at)
    steps = np.arange(100, 140)
    y = trend * np.arange(40) + (np.arange(40) >= at) + rng.normal(0, 0.05, 40)
    # a ramp's first level is that of the first fifth
    for onset in (jump_onset(steps, y), ramp_onset(steps, y))[: 1 if at < 8 else 2]:
        assert onset.step == 100 + at
        assert onset.low <= onset.step <= onset.high
    assert abrupt(y) or at < 8


@pytest.mark.parametrize("at", [10, 25, 40])
@pytest.mark.parametrize("before", [-0.05, 0.0, 0.04])
def test_a_ramp_is_dated_to_the_first_step_off_the_line(at, before):
    rng = np.random.default_rng(at)
    steps = np.arange(60)
    y = before * steps + 0.5 * np.maximum(0, steps - (at - 1)) + rng.normal(0, 0.1, 60)
    onset = ramp_onset(steps, y)
    assert onset.step is not None
    assert abs(onset.step - at) <= 1
    assert onset.low <= at <= onset.high
    assert not abrupt(y)


@pytest.mark.parametrize("at", [10, 25, 40])
def test_without_noise_a_ramp_is_dated_exactly(at):
    steps = np.arange(60)
    y = 0.1 * steps + 0.5 * np.maximum(0, steps - (at - 1))
    y = y + np.random.default_rng(at).normal(0, 1e-3, 60)
    assert ramp_onset(steps, y).step == at


def test_a_ramp_that_only_steepens_a_little_began_with_the_first_step():
    steps = np.arange(60)
    y = 0.08 * steps + 0.03 * np.maximum(0, steps - 30)  # 0.73 of the slope was there before
    y = y + np.random.default_rng(0).normal(0, 1e-3, 60)
    assert ramp_onset(steps, y).step is None
    y = y + 0.07 * np.maximum(0, steps - 30)  # 0.44 of it
    assert ramp_onset(steps, y).step == 31


@pytest.mark.parametrize("seed", SEEDS)
def test_a_line_began_with_the_first_step(seed):
    y = 0.1 * np.arange(80) + np.random.default_rng(seed).normal(0, 0.3, 80)
    assert ramp_onset(np.arange(80), y).step is None


def test_scale_and_origin_move_no_onset():
    y = 0.3 * np.maximum(0, np.arange(50.0) - 20) + np.random.default_rng(1).normal(0, 0.2, 50)
    steps = np.arange(50)
    assert ramp_onset(steps, y) == ramp_onset(steps, 1000.0 - 64.0 * y)


def test_noise_is_read_beside_a_change_and_never_below_what_a_step_says():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 1, 200)
    jumped = noise + 50 * (np.arange(200) >= 90)
    width = window(200)
    plain = window_error(noise)
    # the safety factor is 1.15; the median of some twenty differences errs by a third
    assert 0.5 < plain * np.sqrt(width) < 2.0
    assert window_error(jumped) < 1.5 * plain
    short = noise[:30]
    steep = short + 5 * np.maximum(0, np.arange(30) - 12)
    assert window_error(steep) < 2 * window_error(short)
    assert window_error(noise, np.full(200, 40.0)) == pytest.approx(
        40 / np.sqrt(width), rel=double(200)
    )


@pytest.mark.parametrize(("a", "b"), [(0.3, 2.0), (1.0, 1.0), (5.0, 0.7)])
def test_informative_groups_are_those_of_the_beta_binomial(a, b):
    law = PassRates(a, b)
    for k in (1, 2, 3, 8, 64):
        same = stats.betabinom.pmf([0, k], k, a, b).sum() if k > 1 else 1.0
        assert law.informative(k) == pytest.approx(max(0.0, 1 - same), abs=double(200, 4))
    assert law.mean == pytest.approx(stats.beta.mean(a, b), rel=double(200))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_beta_law_fits_better_than_the_fitted_one(seed):
    rng = np.random.default_rng(seed)
    size = rng.choice([4, 8, 16], 300)
    count = rng.binomial(size, rng.beta(0.7, 1.6, 300))

    def loss(x):
        return -stats.betabinom.logpmf(count, size, *np.exp(x)).sum()

    law = fit_pass_rates(count, size)
    assert law is not None
    best = optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8})
    assert loss(np.log([law.a, law.b])) - best.fun < stated(0.01, "no evidence in log-likelihood")


def rollouts(reward, steps, prompt=None, text=None):
    """Equal groups: rewards by group, [G, K]."""
    reward = np.asarray(reward, float)
    codes = None if prompt is None else np.repeat(prompt, reward.shape[1])
    return RolloutTable(
        Groups.equal(*reward.shape),
        np.asarray(steps),
        reward.reshape(-1),
        prompt=None if prompt is None else np.asarray(prompt),
        input=codes,
        text=None if text is None else np.asarray(text).reshape(-1),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_correlation_within_prompts_is_that_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    steps = np.repeat([1, 2, 3], 4)
    reward = (rng.random((12, 3)) < rng.random((12, 1))).astype(float)
    found = intraclass_correlation(rollouts(reward, steps))
    assert found is not None
    parts = []
    for step in (1, 2, 3):
        rows = reward[steps == step]
        within = np.mean([a * b for row in rows for a, b in itertools.permutations(row, 2)])
        across = np.mean([a * b for r, q in itertools.permutations(rows, 2) for a in r for b in q])
        parts.append(within - across)
    exact = np.mean(parts) / reward.var()
    assert found.value == pytest.approx(exact, abs=double(200, 4))
    np.testing.assert_allclose(
        found.by_step, np.array(parts) / reward.var(), rtol=0, atol=double(200, 4)
    )
    assert found.pairs == 36


def test_the_error_of_the_correlation_is_its_spread_over_runs():
    rng = np.random.default_rng(0)
    steps = np.repeat(np.arange(4), 15)
    runs = []
    for _ in range(400):
        p = rng.beta(1.0, 0.5, (60, 1))
        found = intraclass_correlation(rollouts(rng.random((60, 8)) < p, steps))
        assert found is not None
        runs.append((found.value, found.error))
    values, errors = np.array(runs).T
    # a standard deviation of n draws errs by 1/√(2n); the rest of 15 % for the delta method
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=chance(0.71, 400) + METHOD)


@pytest.mark.parametrize("seed", SEEDS)
def test_contradictions_are_those_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    prompt, reward = rng.integers(0, 3, 10), rng.integers(0, 2, (10, 4))
    text = rng.integers(0, 4, (10, 4))
    pairs, unequal, share = contradictions(rollouts(reward, np.arange(10), prompt, text))
    rows = list(zip(np.repeat(prompt, 4), text.reshape(-1), reward.reshape(-1), strict=True))
    same = [(a, b) for a, b in itertools.combinations(rows, 2) if a[:2] == b[:2]]
    assert (pairs, unequal) == (len(same), sum(a[2] != b[2] for a, b in same))
    assert share == pytest.approx(reward.mean(), rel=double(200))


def test_difficulty_is_taken_out_as_least_squares_does():
    rng = np.random.default_rng(0)
    steps = np.repeat(np.arange(6), 5)
    prompt = np.concatenate([rng.permutation(9)[:5] for _ in range(6)])
    reward = rng.random((30, 3))
    series = without_difficulty(rollouts(reward, steps, prompt))
    assert series is not None
    often = np.array([len(set(steps[prompt == p])) >= 2 for p in range(9)])[prompt]
    design = np.zeros((30, 15))
    design[np.arange(30), prompt] = 1
    design[np.arange(30), 9 + steps] = 1
    effects = np.linalg.lstsq(design[often], reward.mean(axis=1)[often], rcond=None)[0]
    exact = effects[9:] + effects[prompt[often]].mean()
    # the turns stop where no effect moves by 1e-6; they close in by a factor each
    np.testing.assert_allclose(
        series.values, exact, rtol=0, atol=stated(1e-5, "ten times where the turns stop")
    )


@pytest.mark.parametrize(("k", "n"), [(3, 3), (9, 10), (95, 100), (0, 7)])
def test_limits_of_shares_are_those_of_wilson(k, n):
    exact = stats.binomtest(k, n).proportion_ci(0.95, method="wilson").low
    assert _lower(k, n) == pytest.approx(exact, abs=stated(1e-4, "1.96 for 1.959964"))


def test_the_error_of_a_jump_is_that_of_two_shares():
    count, total = np.array([2, 3, 8]), np.array([8, 8, 8])
    p, q = 3.5 / 9, 8.5 / 9
    exact = np.sqrt(p * (1 - p) / 8 + q * (1 - q) / 8)
    assert _difference_error(count, total, 2) == pytest.approx(exact, rel=double(200))
    assert _difference_error(count, total, 0) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slope_is_as_sure_as_linear_regression_says(seed):
    y = noisy(seed, 12)
    fit = stats.linregress(np.arange(12), y)
    assert _slope_errors(y) == pytest.approx(fit.slope / fit.stderr, rel=double(2000, 1e3))
    assert _slope_errors(y[:4]) == 0.0


def test_counts_contradict_a_bound_as_the_binomial_law_says():
    for runs, bound in itertools.product((4, 20, 50), (0.6, 0.95)):
        for count in range(runs + 1):
            chance_of = stats.binom.cdf(count, runs, bound)
            if abs(chance_of - 1e-3) > 1e-9:
                assert below(count, runs, bound) == (chance_of < 1e-3)
            more = stats.binom.sf(count - 1, runs, 1 - bound)
            if abs(more - 1e-3) > 1e-9:
                assert above(count, runs, 1 - bound) == (more < 1e-3)
    assert not below(0, 0, 0.95)
    assert not below(0, 9, 0.0)


def test_noise_with_memory_has_its_deviation_and_correlation():
    values = autoregressive(np.random.default_rng(0), 20_000, 2.0, 0.6)
    # Bartlett: the correlation has variance (1 − ρ²)/n, the mean square 2σ⁴(1 + ρ²)/(1 − ρ²)/n
    rho = np.corrcoef(values[1:], values[:-1])[0, 1]
    assert rho == pytest.approx(0.6, abs=chance(0.8, 20_000))
    spread = np.sqrt(2 * (1 + 0.36) / (1 - 0.36)) * 4
    assert values.var() == pytest.approx(4.0, abs=chance(spread, 20_000))


def test_pass_rates_of_prompts_of_normal_difficulty():
    skill, spread = np.array([-2.0, 0.0, 1.0]), 1.5
    rng = np.random.default_rng(0)
    drawn = 1 / (1 + np.exp(-(skill[:, None] - spread * rng.normal(size=(3, 100_000)))))
    # the logistic law is within 0.0095 of the normal one everywhere
    np.testing.assert_allclose(
        pass_rates(skill, spread), drawn.mean(axis=1), rtol=0, atol=LOGISTIC + chance(0.5, 100_000)
    )
