"""Laws over subsets against enumeration, and what is exact about the subsets themselves."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import chisquare

from tod.diagnostics.coverage import pass_at_k
from tod.reranking.curve import Table
from tod.reranking.order import best_of_k_law
from tolerance import double

MU = np.array([0.5, 0.3, 0.2])


def enumerated(values, k):
    """P(i is the best of k): every subset as likely, every tie split evenly."""
    law = np.zeros(len(values))
    every = list(combinations(range(len(values)), k))
    for chosen in every:
        top = max(values[i] for i in chosen)
        tied = [i for i in chosen if values[i] == top]
        law[tied] += 1 / len(tied) / len(every)
    return law


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_best_of_k_law_is_that_of_all_subsets(k):
    values = np.array([[0.0, 2.0, 1.0, 1.0, 0.0, 1.0, -3.0], [5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 9.0]])
    law = best_of_k_law(values, k)
    np.testing.assert_allclose(
        law, [enumerated(row, k) for row in values], rtol=0, atol=double(35 + 8)
    )


def test_best_of_four_from_sets_of_five_has_the_law_of_best_of_four():
    """Averaged over all sets of five draws from μ: pmf .0625, .3471, .5904 of levels 0, 1, 2."""
    sets = np.array(list(product(range(3), repeat=5)))
    weight = MU[sets].prod(axis=1)
    law = best_of_k_law(sets.astype(float), 4)
    pmf = [(weight[:, None] * law * (sets == level)).sum() for level in range(3)]
    np.testing.assert_allclose(pmf, [0.0625, 0.3471, 0.5904], rtol=0, atol=double(3**5))


def test_best_of_k_of_passes_is_pass_at_k(rng):
    passed = (rng.random((30, 10)) < rng.random((30, 1))).astype(float)
    for k in (1, 4, 10):
        ours = (best_of_k_law(passed, k) * passed).sum(axis=1)
        theirs = pass_at_k(np.full(30, 10), passed.sum(axis=1).astype(int), k)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=double(16 * 10))


def test_many_candidates_do_not_overflow():
    law = best_of_k_law(np.arange(2000.0)[None], 900)
    assert law.sum() == pytest.approx(1)
    assert law[0, -1] == pytest.approx(900 / 2000)


def of(contexts, size):
    """A table of some contexts, of which only the numbers count."""
    nothing = np.zeros((len(contexts), size))
    return Table(nothing, nothing, number=contexts)


def test_subsets_are_disjoint_blocks_and_uniform():
    rows = of(np.arange(200), 6).subsets(np.arange(200), 2, 30, seed=3)
    assert rows.shape == (200, 30, 2)
    blocks = rows.reshape(200, 10, 6)
    assert (np.sort(blocks, axis=2) == np.arange(6)).all()
    codes = rows[:, ::3, 0] * 6 + rows[:, ::3, 1]
    seen = np.unique(codes, return_counts=True)[1]
    assert len(seen) == 30
    assert chisquare(seen).pvalue > 1e-3


def test_subsets_of_a_context_depend_on_its_number_alone():
    every = of(np.arange(9), 5).subsets(np.arange(9), 2, 7, seed=0)
    some = of(np.array([7, 2]), 5).subsets(np.arange(2), 2, 7, seed=0)
    assert (some == every[[7, 2]]).all()
    assert every.shape == (9, 8, 2)
    assert not (of(np.arange(9), 5).subsets(np.arange(9), 2, 7, seed=1) == every).all()
