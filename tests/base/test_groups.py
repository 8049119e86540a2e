"""Segment algebra: every reduction is a plain loop over groups, on every backend."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, Groups, to_numpy
from tolerance import double, of_weights

SHAPES = {
    "ragged": [4, 1, 7, 2, 16, 3, 1, 5],
    "equal": [5, 5, 5, 5],
    "equal_long": [12, 12, 12],
    "equal_many": [3] * 20,
    "singletons": [1, 1, 1],
    "one": [9],
}
LOOPS = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "logsumexp": lambda v: np.log(np.sum(np.exp(v))),
}


@pytest.fixture(params=SHAPES, ids=str)
def groups(request):
    return Groups(np.array(SHAPES[request.param]))


def parts(groups, x):
    return np.split(to_numpy(x), groups.offsets[1:-1])


@pytest.mark.parametrize("name", LOOPS)
def test_reductions_are_loops_over_groups(name, groups, backend, rng):
    x = backend.make(rng.gamma(2.0, 3.0, size=groups.total) - 4)
    got = getattr(groups, name)(x)
    assert got.dtype == x.dtype
    expected = [LOOPS[name](part.astype(np.float64)) for part in parts(groups, x)]
    near = backend.rounding(groups.sizes.max() + 8)
    size = max(np.abs(part).sum() for part in parts(groups, x))  # what a sum may cancel
    np.testing.assert_allclose(to_numpy(got), expected, rtol=near, atol=near * size)


def test_softmax_is_exp_over_sum_in_every_group(groups, backend, rng):
    x = backend.make(rng.normal(size=groups.total) * 3)
    expected = [np.exp(p) / np.exp(p).sum() for p in parts(groups, to_numpy(x).astype(float))]
    got = to_numpy(groups.softmax(x))
    near = backend.of_weights(groups.sizes.max(), 2 * np.abs(to_numpy(x)).max())
    np.testing.assert_allclose(got, np.concatenate(expected), rtol=near)


@pytest.mark.parametrize("ddof", [0, 1])
def test_variance_with_divisor_size_minus_ddof(ddof, groups, backend, rng):
    x = backend.make(rng.normal(size=groups.total) * 3 + 1)
    expected = [
        part.astype(float).var(ddof=ddof) if len(part) > ddof else np.nan
        for part in parts(groups, x)
    ]
    near = backend.rounding(2 * groups.sizes.max() + 4)
    squares = (to_numpy(x).astype(float) ** 2).max()  # a mean is off by its own rounding
    np.testing.assert_allclose(
        to_numpy(groups.variance(x, ddof)), expected, rtol=near, atol=near**2 * squares
    )


def test_spread_repeats_and_is_undone_by_mean(groups, backend, rng):
    y = backend.make(rng.normal(size=len(groups)))
    spread = groups.spread(y)
    assert to_numpy(spread).tolist() == np.repeat(to_numpy(y), groups.sizes).tolist()
    np.testing.assert_allclose(
        to_numpy(groups.mean(spread)), to_numpy(y), rtol=backend.rounding(groups.sizes.max())
    )


@pytest.mark.parametrize("sizes", [[2, 3], [3, 3], [3] * 9])
def test_nan_stays_in_its_group(sizes, backend):
    groups = Groups(np.array(sizes))
    values = np.arange(groups.total, dtype=float)
    values[-1] = np.nan
    x = backend.make(values)
    for name in [*LOOPS, "variance"]:
        got = to_numpy(getattr(groups, name)(x))
        assert np.isfinite(got[0]), name
        assert np.isnan(got[-1]), name


@pytest.mark.parametrize("sizes", [[2, 1, 2, 2], [2, 2, 2, 2]])
def test_logsumexp_of_infinities_and_huge_spreads(sizes, backend):
    groups = Groups(np.array(sizes))
    big = 1e38 if backend.name == "torch_f32" else 1.7e308
    pairs = [[-np.inf, -np.inf], [0.5, 0.5], [np.inf, 3.0], [big, -big]]
    flat = np.concatenate([pair[:size] for pair, size in zip(pairs, sizes, strict=True)])
    expected = [-np.inf, 0.5 + (np.log(2) if sizes[1] == 2 else 0), np.inf, big]
    got = to_numpy(groups.logsumexp(backend.make(flat)))
    np.testing.assert_allclose(got, expected, rtol=backend.rounding(8))


@pytest.mark.parametrize("sizes", [[2, 3], [2] * 9, [300, 300]])
def test_booleans_are_counted(sizes, backend):
    groups = Groups(np.array(sizes))
    got = groups.sum(backend.make(np.ones(groups.total)) > 0)
    assert to_numpy(got).tolist() == sizes


def test_softmax_of_nothing_is_undefined(backend):
    x = backend.make([-np.inf, -np.inf, 0.0, -np.inf])
    got = to_numpy(Groups.equal(2, 2).softmax(x))
    assert np.isnan(got[:2]).all()
    assert got[2:].tolist() == [1.0, 0.0]


def test_logsumexp_has_the_softmax_as_gradient(rng):
    groups = Groups(np.array([3, 1, 4]))
    x = torch.tensor(rng.normal(size=8) * 5, requires_grad=True)
    groups.logsumexp(x).sum().backward()
    np.testing.assert_allclose(
        x.grad, groups.softmax(x.detach()), rtol=of_weights("float64", 4, 30)
    )


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_equal_and_ragged_paths_agree_and_groups_do_not_mix(sizes, seed):
    rng = np.random.default_rng(seed)
    groups = Groups(np.array(sizes))
    x = rng.normal(size=groups.total)
    alone = [Groups(np.array([n])) for n in sizes]
    for name in LOOPS:
        whole = getattr(groups, name)(x)
        single = [
            getattr(g, name)(part)[0] for g, part in zip(alone, parts(groups, x), strict=True)
        ]
        near = double(max(sizes) + 8)
        np.testing.assert_allclose(whole, single, rtol=near, atol=near * np.abs(x).sum())


def test_from_keys_is_stable_and_in_order_of_appearance():
    groups, order = Groups.from_keys(["b", "a", "b", "c", "a", "b"])
    assert groups.sizes.tolist() == [3, 2, 1]
    assert order.tolist() == [0, 2, 5, 1, 4, 3]


def test_from_no_keys():
    groups, order = Groups.from_keys([])
    assert (len(groups), groups.total, order.tolist()) == (0, 0, [])


def test_no_groups(backend):
    groups, empty = Groups(np.zeros(0, np.int64)), backend.make(np.zeros(0))
    assert groups.uniform is None
    for name in [*LOOPS, "softmax", "variance", "spread"]:
        assert getattr(groups, name)(empty).shape == (0,)


def test_take_moves_whole_groups(ragged, rng):
    x = rng.normal(size=ragged.total)
    chosen = np.array([4, 0, 4])
    taken, rows = ragged.take(chosen)
    assert taken.sizes.tolist() == [16, 4, 16]
    expected = np.concatenate([parts(ragged, x)[c] for c in chosen])
    assert x[rows].tolist() == expected.tolist()


def test_split_lists_every_group():
    assert Groups(np.array([2, 1])).split(np.array([3, 4, 5])) == [[3, 4], [5]]


def test_within_counts_inner_elements():
    tokens, contexts = Groups(np.array([3, 1, 2, 5])), Groups(np.array([1, 3]))
    assert tokens.within(contexts).sizes.tolist() == [3, 8]
    with pytest.raises(DataError, match="hold 4 elements"):
        tokens.within(Groups(np.array([1, 2, 1]))).within(contexts)


def test_owner_position_offsets(ragged):
    assert ragged.offsets[-1] == ragged.total
    back = ragged.offsets[:-1][ragged.owner] + ragged.position
    assert back.tolist() == list(range(ragged.total))


def test_sizes_are_copied_frozen_and_compared():
    sizes = np.array([2, 3])
    groups = Groups(sizes)
    sizes[0] = 9
    assert groups.sizes.tolist() == [2, 3]
    with pytest.raises(ValueError, match="read-only"):
        groups.sizes[0] = 1
    assert groups == Groups(np.array([2, 3]))
    assert groups != Groups(np.array([3, 2]))
    assert len({groups, Groups(np.array([2, 3]))}) == 1


@pytest.mark.parametrize("sizes", [[2, 0, 1], [-1], [1.5, 2.0], [np.nan]])
def test_sizes_that_are_not_counts_are_refused(sizes):
    with pytest.raises(DataError):
        Groups(np.array(sizes))


def test_arrays_of_another_length_are_refused(ragged, backend):
    with pytest.raises(DataError, match="expected 39 elements in 8 groups"):
        ragged.sum(backend.make(np.zeros(38)))
    with pytest.raises(DataError, match="one value per group"):
        ragged.spread(backend.make(np.zeros(7)))
