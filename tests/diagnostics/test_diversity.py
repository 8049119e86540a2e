"""n-grams pooled over a context, and unique answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, Groups
from tod.diagnostics import distinct_n, unique_answers


def test_reference():
    ids, sequences, one = np.array([1, 2, 3, 1, 2, 1, 2, 4]), Groups(np.array([5, 3])), [2]
    assert distinct_n(ids, sequences, Groups(np.array(one)), 1).tolist() == [0.5]
    found = distinct_n(ids, sequences, Groups(np.array(one)), 2)
    assert found[0] == pytest.approx(0.6666666667, abs=1e-9)


@given(
    st.lists(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1), min_size=1),
    st.integers(1, 3),
)
def test_by_sets(batch, n):
    flat = [sequence for context in batch for sequence in context]
    sequences = Groups(np.array([len(s) for s in flat]))
    contexts = Groups(np.array([len(c) for c in batch]))
    ids = np.array([token * 10**9 for s in flat for token in s])
    expected = []
    for context in batch:
        grams = [tuple(s[i : i + n]) for s in context for i in range(len(s) - n + 1)]
        expected.append(len(set(grams)) / len(grams) if grams else np.nan)
    np.testing.assert_allclose(distinct_n(ids, sequences, contexts, n), expected)


def test_unique_answers():
    contexts = Groups(np.array([3, 1, 2]))
    found = unique_answers(np.array([5, 5, -1, 5, 8, 9]), contexts)
    assert found.tolist() == [2 / 3, 1.0, 1.0]


def test_an_n_gram_has_a_token():
    with pytest.raises(DataError, match="n=0"):
        distinct_n(np.array([1]), Groups.equal(1, 1), Groups.equal(1, 1), 0)
