"""Groups without a signal: both ends of what they leave open, and their share at another K."""

import numpy as np
import pytest
from scipy import stats

from tod.population import (
    PassCounts,
    all_prompts_range,
    pass_rate_posterior,
    range_bound,
    signal_share,
)
from tod.population.zero_variance import CELLS, share_points


def counts_of(rng, prompts, k, never=0.0, a=1.0, b=2.0):
    rate = np.where(rng.random(prompts) < never, 0.0, rng.beta(a, b, prompts))
    return PassCounts({k: np.bincount(rng.binomial(k, rate), minlength=k + 1)})


@pytest.mark.parametrize(("yes", "no"), [(0, 5), (12, 3), (200, 300)])
def test_points_of_a_share_are_quantiles_of_its_beta(yes, no):
    want = stats.beta.ppf((np.arange(9) + 0.5) / 9, yes + 0.5, no + 0.5)
    got = np.arcsin(np.sqrt(share_points(yes, no)))
    np.testing.assert_allclose(got, np.arcsin(np.sqrt(want)), rtol=0, atol=np.pi / 2 / CELLS)


def test_ends_hold_those_of_prompts_with_a_signal(rng):
    counts = counts_of(rng, 256, 8, never=0.3)
    seen = pass_rate_posterior(counts).ess(2.0)
    lowest, highest = all_prompts_range(counts, 2.0)
    assert lowest.low < seen.low
    assert highest.high > seen.high
    assert range_bound(2.0) <= lowest.low <= lowest.high <= highest.high <= 1


def test_mostly_without_a_signal_leaves_everything_open(rng):
    counts = counts_of(rng, 256, 8, never=0.7)
    lowest, highest = all_prompts_range(counts, 2.0)
    assert lowest.low == pytest.approx(range_bound(2.0))
    assert highest.low == highest.high == 1


def test_few_without_a_signal_leave_little_open(rng):
    counts = PassCounts({8: np.array([1, 30, 40, 30, 20, 10, 10, 5, 0])})
    seen = pass_rate_posterior(counts).ess(2.0)
    lowest, highest = all_prompts_range(counts, 2.0)
    assert seen.low - lowest.low < seen.high - seen.low
    assert highest.high - seen.high < seen.high - seen.low


@pytest.mark.parametrize("never", [0.0, 0.4])
def test_share_with_a_signal_at_another_k(never, rng):
    """Beta(1, 2): 1 − E p⁸ − E(1−p)⁸ and the same at 4, 32, times the share that can pass."""
    a, b = 1.0, 2.0
    posterior = pass_rate_posterior(counts_of(rng, 2000, 8, never, a, b))
    for k in (2, 4, 8, 32):
        law = stats.betabinom(k, a, b)
        truth = (1 - never) * (1 - law.pmf(0) - law.pmf(k))
        said = signal_share(posterior, k)
        assert said.low <= truth <= said.high
        assert said.high - said.low < 0.15
    assert signal_share(posterior, 1).high == 0
