"""Advantages: baselines, degenerate contexts, and what scale does to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import Groups, to_numpy
from tod.operators import GroupMean, GroupZScore, LeaveOneOut, LengthWeightedMean, Raw
from tolerance import assert_credit, double

ALL = [Raw(), GroupMean(), LeaveOneOut(), GroupZScore(), GroupZScore(epsilon=0.0)]
BASELINED = ALL[1:]
contexts_and_values = st.lists(
    st.lists(st.floats(-50, 50), min_size=1, max_size=9), min_size=1, max_size=5
)


@given(contexts_and_values)
def test_leave_one_out_is_the_mean_of_the_others(lists):
    contexts = Groups(np.array([len(x) for x in lists]))
    got = LeaveOneOut()(np.concatenate(lists), contexts)
    want = [
        v - (sum(x) - v) / (len(x) - 1) if len(x) > 1 else 0.0 for x in map(list, lists) for v in x
    ]
    np.testing.assert_allclose(got, want, rtol=0, atol=double(9 + 4, 2 * 9 * 50))


@given(contexts_and_values)
def test_rloo_is_the_centred_value_stretched(lists):
    """L10: RLOO = K/(K − 1) of the group mean's advantage."""
    contexts, value = Groups(np.array([len(x) for x in lists])), np.concatenate(lists)
    k = contexts.spread(contexts.sizes.astype(float))
    stretch = np.where(k > 1, k / np.maximum(k - 1, 1), 0.0)
    np.testing.assert_allclose(
        LeaveOneOut()(value, contexts),
        stretch * GroupMean()(value, contexts),
        rtol=0,
        atol=double(9 + 4, 2 * 9 * 50),
    )


@pytest.mark.parametrize("advantage", BASELINED, ids=repr)
def test_baselines_add_up_to_zero(backend, ragged, rng, advantage):
    value = backend.make(rng.exponential(2.0, ragged.total))
    size = to_numpy(ragged.sum(abs(advantage(value, ragged)))).max()
    total = to_numpy(ragged.sum(advantage(value, ragged)))
    near = backend.rounding(2 * 16, size + float(value.max()))
    np.testing.assert_allclose(total, 0, rtol=0, atol=near)


@pytest.mark.parametrize("advantage", BASELINED, ids=repr)
def test_singleton_context(backend, advantage):
    got = advantage(backend.make([5.0, 1.0, 2.0]), Groups(np.array([1, 2])))
    assert float(got[0]) == 0.0
    assert float(got[2]) > 0.0


@pytest.mark.parametrize("advantage", BASELINED, ids=repr)
@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e9 + 0.1, -7.3])
@pytest.mark.parametrize("size", [3, 7, 11])
def test_constant_utility(backend, advantage, constant, size):
    """Equal values carry no information, however their mean rounds."""
    got = to_numpy(advantage(backend.make([constant] * size), Groups.equal(1, size)))
    limit = 0.0 if isinstance(advantage, GroupZScore) else backend.rounding(size + 2, abs(constant))
    assert np.abs(got).max() <= limit


def test_a_zscore_divides_sharpness_out(ragged, rng):
    value = rng.exponential(2.0, ragged.total)
    exact = GroupZScore(epsilon=0.0)
    assert_credit(exact(9.0 * value, ragged), exact(value, ragged))
    assert exact.scale_free
    for advantage in (Raw(), GroupMean(), LeaveOneOut()):
        assert_credit(advantage(9.0 * value, ragged), 9.0 * advantage(value, ragged))
        assert not advantage.scale_free


def test_a_zscore_has_unit_variance(ragged, rng):
    value = rng.exponential(2.0, ragged.total)
    for ddof in (0, 1):
        got = GroupZScore(epsilon=0.0, ddof=ddof)(value, ragged)
        freedom = ragged.sizes - ddof
        variance = ragged.sum(got * got)[freedom > 0] / freedom[freedom > 0]
        np.testing.assert_allclose(
            variance[ragged.sizes[freedom > 0] > 1], 1.0, rtol=double(3 * 16, 8)
        )


def test_opo_compares_with_the_mean_of_tokens(make_batch):
    """Every token carries its candidate's value: the baseline is the mean over all tokens."""
    batch = make_batch()
    got = LengthWeightedMean().of_batch(None, batch)[0]
    sizes, value = batch.sequences.sizes, np.asarray(batch.tilt)
    for a, b in zip(batch.contexts.offsets[:-1], batch.contexts.offsets[1:], strict=True):
        tokens = np.repeat(value[a:b], sizes[a:b])
        near = double(64, 4 * abs(value).max())
        np.testing.assert_allclose(got[a:b], value[a:b] - tokens.mean(), rtol=0, atol=near)
    assert abs(got - GroupMean()(value, batch.contexts)).max() > 1e-2


def test_opo_at_equal_lengths_is_the_group_mean(rng):
    contexts, value = Groups(np.array([3, 1, 4])), rng.normal(size=8)
    want = GroupMean()(value, contexts)
    for length in (None, np.full(8, 5.0)):
        got = LengthWeightedMean()(value, contexts, length)
        np.testing.assert_allclose(got, want, rtol=0, atol=double(32, 8.0))
