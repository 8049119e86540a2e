"""n-grams pooled over a context, and unique answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, Groups
from tod.diagnostics import distinct_n, self_bleu, unique_answers
from tolerance import SMALLEST, double


def test_reference():
    ids, sequences, one = np.array([1, 2, 3, 1, 2, 1, 2, 4]), Groups(np.array([5, 3])), [2]
    assert distinct_n(ids, sequences, Groups(np.array(one)), 1).tolist() == [0.5]
    found = distinct_n(ids, sequences, Groups(np.array(one)), 2)
    assert found[0] == pytest.approx(2 / 3, rel=double(3))


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


def _bleu(candidate, references, n=4):
    """Papineni et al., written out: clipped precisions, nearest reference length."""
    logs = []
    for j in range(1, min(n, len(candidate)) + 1):
        grams = [tuple(candidate[i : i + j]) for i in range(len(candidate) - j + 1)]
        hits = 0
        for gram in set(grams):
            most = max(
                sum(tuple(r[i : i + j]) == gram for i in range(len(r) - j + 1)) for r in references
            )
            hits += min(grams.count(gram), most)
        logs.append(np.log(hits / len(grams)) if hits else -np.inf)
    sizes = sorted(len(r) for r in references)
    nearest = min(sizes, key=lambda size: abs(size - len(candidate)))
    penalty = 1.0 if len(candidate) > nearest else np.exp(1 - nearest / len(candidate))
    return penalty * np.exp(np.mean(logs))


def _self_bleu(batch, n=4):
    flat = [sequence for context in batch for sequence in context]
    sequences = Groups(np.array([len(s) for s in flat]))
    contexts = Groups(np.array([len(c) for c in batch]))
    ids = np.array([token for s in flat for token in s], dtype=np.int64)
    return self_bleu(ids, sequences, contexts, n)


@given(
    st.lists(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1), min_size=1),
    st.integers(1, 4),
)
def test_self_bleu_is_bleu_against_the_others(batch, n):
    found = _self_bleu(batch, n)
    for value, group in zip(found, batch, strict=True):
        if len(group) == 1:
            assert np.isnan(value)
            continue
        each = [_bleu(y, group[:i] + group[i + 1 :], n) for i, y in enumerate(group)]
        assert value == pytest.approx(np.mean(each), rel=double(len(group) + 8 * n), abs=SMALLEST)


def test_self_bleu_by_hand():
    assert _self_bleu([[[1, 2, 3, 4, 5]] * 3]).tolist() == [1.0]
    assert _self_bleu([[[1, 2], [3, 4]]]).tolist() == [0.0]
    # 1 2 3 against 1 2 4: p1 = 2/3, p2 = 1/2, equal lengths
    assert _self_bleu([[[1, 2, 3], [1, 2, 4]]], 2)[0] == pytest.approx((1 / 3) ** 0.5)
    # 1 2 against 1 2 3 4: precisions 1, penalty exp(1 - 2); and 2/4, 1/3 the other way
    both = (np.exp(-1) + (1 / 6) ** 0.5) / 2
    assert _self_bleu([[[1, 2], [1, 2, 3, 4]]], 2)[0] == pytest.approx(both)
    with pytest.raises(DataError):
        _self_bleu([[[1], [2]]], 0)
