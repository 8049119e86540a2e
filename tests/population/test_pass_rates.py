"""0/1 rewards: the reference histogram, an oracle without a grid, sums, labels and time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from tod.base import DataError, Groups
from tod.population import (
    PassCounts,
    pass_rate_ess,
    pass_rate_ess_many,
    pass_rate_posterior,
    pass_rates,
)
from tod.population.beta_family import STEP, family
from tod.population.pass_rates import trust
from tolerance import double, printed

HISTOGRAM = PassCounts({8: np.array([20, 12, 8, 7, 6, 5, 4, 3, 5])})
REFERENCE = {
    (1.5, 0.5): (0.641, 0.677, 0.714),
    (2.0, 0.5): (0.503, 0.549, 0.609),
    (4.0, 0.5): (0.285, 0.359, 0.466),
    (2.0, 0.1): (0.423, 0.426, 0.432),
}
"""η and φ → 5, 50, 95 % of a prototype that read quantiles of e at points of the grid."""


def ess_of(x, eta):
    """e at logit x, as 1/(1 + χ²) of two outcomes."""
    p, q = special.expit(x), special.expit(-x)
    return (q + p * np.exp(eta)) ** 2 / (q + p * np.exp(2 * eta))


def half_a_step(e, eta):
    """How far e moves, at most, when logit p moves by half a step of the grid."""
    grid = ess_of(np.arange(-9, 9, STEP), eta)
    near = int(np.argmin(abs(grid - e)))
    return np.abs(np.diff(grid[near - 1 : near + 2])).max() / 2


@pytest.mark.parametrize(("eta", "quantile"), REFERENCE)
def test_reference_histogram(eta, quantile):
    """To half a step of the grid: those values are points of it, or between two."""
    got = pass_rate_posterior(HISTOGRAM).ess(eta, quantile)
    pairs = zip((got.low, got.value, got.high), REFERENCE[eta, quantile], strict=True)
    for ours, theirs in pairs:
        assert abs(ours - theirs) <= half_a_step(theirs, eta) + printed(3)


class Betas:
    """The same laws without a grid: beta functions, incomplete and binomial, of scipy."""

    def __init__(self, k):
        self.k = k
        means, sums = np.meshgrid(np.linspace(-4.5, 4.5, 121), np.geomspace(0.15, 3000, 26))
        one = [(m, s, m, s, 1.0) for m, s in zip(means.ravel(), sums.ravel(), strict=True)]
        places = np.linspace(-4, 4, 17)
        two = [
            (places[i], s, places[j], s, w)
            for s in (0.6, 2, 6, 20, 80, 400)
            for i in range(17)
            for j in range(i + 1, 17)
            for w in (0.15, 0.3, 0.5, 0.7, 0.85)
        ]
        m1, s1, m2, s2, self.w = np.array(one + two).T
        self.laws = [(special.expit(m) * s, special.expit(-m) * s) for m, s in ((m1, s1), (m2, s2))]
        self.log_prior = np.log(
            0.5 / np.r_[np.full(len(one), len(one)), np.full(len(two), len(two))]
        )

    def mixed(self, values):
        """Of both betas of every law."""
        first, second = (values(a, b) for a, b in self.laws)
        return self.w * first + (1 - self.w) * second

    def chance(self, m):
        """Beta-binomial."""
        k = self.k
        return self.mixed(
            lambda a, b: (
                special.binom(k, m)
                * np.exp(special.betaln(a + m, b + k - m) - special.betaln(a, b))
            )
        )

    def seen_below(self, p):
        """Mass of prompts below p whose group shows a signal."""

        def values(a, b):
            k = self.k
            all_pass = np.exp(special.betaln(a + k, b) - special.betaln(a, b))
            none = np.exp(special.betaln(a, b + k) - special.betaln(a, b))
            return (
                special.betainc(a, b, p)
                - all_pass * special.betainc(a + k, b, p)
                - none * special.betainc(a, b + k, p)
            )

        return self.mixed(values)

    def interval(self, counts, eta, quantile):
        """5, 50 and 95 % of the quantile of e."""
        seen = 1 - self.chance(0) - self.chance(self.k)
        log = self.log_prior + sum(
            n * np.log(self.chance(m) / seen) for m, n in enumerate(counts) if 0 < m < self.k
        )
        left = log > log.max() - 10
        log, seen, self.w = log[left], seen[left], self.w[left]
        self.laws = [(a[left], b[left]) for a, b in self.laws]
        low, high = np.full(log.size, 1 / np.cosh(eta / 2) ** 2), np.ones(log.size)
        for _ in range(24):
            t = (low + high) / 2
            width = np.arccosh((t * np.cosh(eta) - 1) / (1 - t))
            ends = [special.expit(-eta + side * width) for side in (1, -1)]
            reached = (self.seen_below(ends[0]) - self.seen_below(ends[1])) / seen >= quantile
            low, high = np.where(reached, low, t), np.where(reached, t, high)
        order = np.argsort(high)
        total = np.cumsum(np.exp(log - log.max())[order])
        return high[order][np.searchsorted(total, np.array([0.05, 0.5, 0.95]) * total[-1])]


@pytest.mark.parametrize(
    ("k", "counts"), [(8, [20, 12, 8, 7, 6, 5, 4, 3, 5]), (4, [9, 30, 14, 6, 2])]
)
@pytest.mark.parametrize(("eta", "quantile"), [(1.5, 0.5), (4.0, 0.5), (2.0, 0.1)])
def test_an_oracle_without_a_grid(k, counts, eta, quantile):
    got = pass_rate_posterior(PassCounts({k: np.array(counts)})).ess(eta, quantile)
    want = Betas(k).interval(counts, eta, quantile)
    for ours, theirs in zip((got.low, got.value, got.high), want, strict=True):
        assert abs(ours - theirs) <= half_a_step(theirs, eta)


def table(rng, prompts, k, a=1.0, b=1.0):
    passes = rng.binomial(k, rng.beta(a, b, prompts))
    return PassCounts({k: np.bincount(passes, minlength=k + 1)})


def test_many_tables_are_read_as_one_is(rng):
    tables = [table(rng, 64, 8) for _ in range(5)] + [table(rng, 64, 4), table(rng, 4, 8)]
    tables.append(tables[0] + tables[5])
    for together, alone in zip(pass_rate_ess_many(tables, 2.0), tables, strict=True):
        assert together == pass_rate_ess(alone, 2.0)


def test_laws_of_little_weight_are_left_out_of_many_tables_as_of_one(rng, monkeypatch):
    tables = [table(rng, 61, 8) for _ in range(3)]
    whole = pass_rate_ess_many(tables, 2.0)
    monkeypatch.setattr(pass_rates, "NEGLIGIBLE", 0.5)
    pass_rate_posterior.cache_clear()
    pruned = [pass_rate_ess(one, 2.0) for one in tables]
    pass_rate_posterior.cache_clear()
    assert pass_rate_ess_many(tables, 2.0) == pruned
    assert pruned != whole


def test_the_likelihood_of_many_rollouts_is_coarsened(rng):
    """ℓ/(1 + (N − 500)/7000): a table of c times the counts weighs as one of λ·c times them."""
    row = np.array([9, 20, 12, 8, 7, 6, 5, 4, 3])
    signal = 8 * int(row[1:-1].sum())
    times = 40
    power = times / (1 + (times * signal - 500) / 7000)
    got = pass_rate_posterior(PassCounts({8: times * row}))
    x = np.arange(-9, 9 + STEP / 2, STEP)
    p = special.expit(x)
    mass, log_prior = family()
    chance = [mass @ (special.binom(8, m) * p**m * (1 - p) ** (8 - m)) for m in range(1, 8)]
    log = sum(n * np.log(c / sum(chance)) for n, c in zip(row[1:-1], chance, strict=True))
    log = power * log + log_prior
    weight = np.exp(log - log.max())[got.rows]
    near = double(1e6, abs(log).max())
    np.testing.assert_allclose(got.weight, weight / weight.sum(), rtol=near)
    small = PassCounts({8: row})
    assert trust(small) == 1.0


def test_labels_of_steps_do_not_matter(rng):
    steps = [table(rng, 16, 8), table(rng, 16, 4), table(rng, 32, 8)]
    want = pass_rate_ess(PassCounts.total(steps), 1.7)
    assert pass_rate_ess(PassCounts.total(steps[::-1]), 1.7) == want
    assert pass_rate_ess(steps[1] + (steps[2] + steps[0]), 1.7) == want


@given(st.lists(st.tuples(st.integers(1, 6), st.data()), min_size=1, max_size=8), st.data())
@settings(max_examples=50, deadline=None)
def test_counts_of_parts_add_up_to_the_whole(groups, data):
    rewards = [
        each.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size))
        for size, each in groups
    ]
    order = data.draw(st.permutations(range(len(rewards))))

    def counts(places):
        several = [rewards[place] for place in places]
        sizes = Groups(np.array([len(x) for x in several], dtype=np.int64))
        return PassCounts.of(np.concatenate(several), sizes)

    whole = counts(range(len(rewards)))
    assert PassCounts.total(counts([place]) for place in order) == whole
    assert PassCounts.from_dict(whole.to_dict()) == whole
    assert whole.prompts == len(rewards)
    assert whole.with_signal == sum(len(set(x)) > 1 for x in rewards)
    assert whole.without_signal == whole.prompts - whole.with_signal


def test_groups_without_a_signal_do_not_move_it():
    more = HISTOGRAM + PassCounts({8: np.array([500, 0, 0, 0, 0, 0, 0, 0, 300])})
    assert pass_rate_ess(more, 2.0) == pass_rate_ess(HISTOGRAM, 2.0)


def test_a_penalty_swaps_passes_and_failures():
    swapped = PassCounts({8: HISTOGRAM.by_size[8][::-1]})
    got, want = pass_rate_ess(swapped, -2.0), pass_rate_ess(HISTOGRAM, 2.0)
    for one, other in ((got.median, want.median), (got.q10, want.q10)):
        assert one.value == pytest.approx(other.value, abs=half_a_step(other.value, 2.0))


def test_a_large_eta_gives_the_pass_rate():
    posterior = pass_rate_posterior(HISTOGRAM)
    at_limit, rate = posterior.ess(30.0), posterior.pass_rate()
    for e, p in ((at_limit.low, rate.low), (at_limit.value, rate.value)):
        assert e == pytest.approx(p, abs=half_a_step(p, 30.0))


def test_unequal_sizes_against_an_enumeration(rng):
    """The chance of every table of one group of 2, 3 or 5 under each law, summed by hand."""
    counts = PassCounts({3: [1, 4, 3, 0], 5: [2, 3, 1, 0, 2, 1], 1: [5, 4], 2: [1, 2, 1]})
    got = pass_rate_posterior(counts)
    x = np.arange(-9, 9 + STEP / 2, STEP)
    p = special.expit(x)
    mass, log_prior = family()
    log = log_prior.copy()
    for k, row in ((2, [2]), (3, [4, 3]), (5, [3, 1, 0, 2])):
        chance = [special.binom(k, m) * p**m * (1 - p) ** (k - m) for m in range(1, k)]
        signal = mass @ sum(chance)
        log += sum(n * np.log(mass @ c / signal) for n, c in zip(row, chance, strict=True))
    weight = np.exp(log - log.max())[got.rows]
    np.testing.assert_allclose(got.weight, weight / weight.sum(), rtol=double(1e6))
    shares = {3: 8, 5: 9, 1: 9, 2: 4}
    seen = sum(n * (1 - p**k - (1 - p) ** k) for k, n in shares.items()) * mass[got.rows]
    below = np.cumsum(seen, axis=1) / seen.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got.below[:, 1:], below, rtol=0, atol=double(1e6))


@pytest.mark.parametrize("seen", [0, 1, 7])
def test_too_few_groups_with_a_signal_are_not_read(seen):
    said = pass_rate_ess(PassCounts({4: [90, seen, 0, 0, 3]}), 2.0)
    assert (said.median, said.q10, said.method, said.prompts) == (None, None, None, seen)
    assert "8" in said.unreadable


@pytest.mark.parametrize(
    ("by_size", "word"), [({4: [1, 2, 3]}, "5 whole"), ({0: [1]}, "K"), ({1: [1, -1]}, "0")]
)
def test_counts_that_cannot_be_are_refused(by_size, word):
    with pytest.raises(DataError, match=word):
        PassCounts(by_size)


def test_other_rewards_are_refused():
    groups = Groups.equal(1, 3)
    with pytest.raises(DataError, match=r"0\.5"):
        PassCounts.of(np.array([0.0, 0.5, 1.0]), groups)
    assert PassCounts.of(np.array([-1.0, 2.0, 2.0]), groups, levels=(-1.0, 2.0)).to_dict() == {
        "3": [0, 0, 1, 0]
    }


def test_an_unknown_size_in_a_file_is_refused():
    with pytest.raises(DataError, match="text"):
        PassCounts.from_dict({"many": [1, 2]})
