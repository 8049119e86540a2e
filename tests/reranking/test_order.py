"""Order statistics without replacement, against exact fractions and all subsets."""

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest

from tod.reranking.order import in_order, rank_chances
from tod.reranking.verdict import kl_of_best
from tolerance import double


@pytest.mark.parametrize(("n", "k"), [(1, 1), (6, 1), (6, 4), (6, 6), (300, 7), (300, 150)])
def test_chances_of_ranks_are_ratios_of_binomials(n, k):
    exact = [float(Fraction(comb(i, k - 1), comb(n, k))) for i in range(n)]
    np.testing.assert_allclose(rank_chances(n, k), exact, rtol=double(2 * n))


@pytest.mark.parametrize("k", [1, 2, 16])
def test_the_kl_of_the_best_reaches_its_bound_without_ties(k):
    """U uniform: the best has density k·u^{k−1}; with ties, as of 0/1 rewards, it is below."""
    n = 200_000
    u = (np.arange(n) + 0.5) / n
    density = k * u ** (k - 1)
    exact = float(np.mean(density * np.log(density)))
    # the midpoint rule errs by h²/24·∫f″, and f″ is largest at the ends: below k³·log k there
    assert kl_of_best(k) == pytest.approx(exact, abs=k**3 / n)
    p = 0.3
    best = 1 - (1 - p) ** k
    tied = best * np.log(best / p) + (1 - best) * np.log((1 - best) / (1 - p))
    assert tied <= kl_of_best(k) + double(8)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_what_is_read_off_the_best_is_the_mean_over_subsets_and_ties(k, rng):
    value = np.array([[0.0, 1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0, 3.0]])
    other = rng.normal(size=value.shape)
    found = in_order(value, other) @ rank_chances(5, k)
    for row in range(2):
        means = []
        for chosen in combinations(range(5), k):
            top = max(value[row, list(chosen)])
            means.append(np.mean([other[row, i] for i in chosen if value[row, i] == top]))
        assert found[row] == pytest.approx(np.mean(means), abs=double(50, 5))
    same = in_order(value, value) @ rank_chances(5, k)
    best = np.mean([max(value[0, list(c)]) for c in combinations(range(5), k)])
    assert same[0] == pytest.approx(best, abs=double(20, 2))
