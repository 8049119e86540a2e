import numpy as np
import pytest
from scipy import stats

from tod.base.uniforms import _stream, row_keys, uniforms


def test_stream_is_splitmix64():
    # first outputs for seed 1234567, as published with the reference implementation
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    seed = np.array([1234567], dtype=np.uint64)
    assert [int(_stream(seed, np.array([i], dtype=np.uint64))[0]) for i in range(3)] == expected


def test_rows_do_not_depend_on_their_neighbours():
    contexts, candidates = np.repeat(np.arange(5), 7), np.tile(np.arange(7), 5)
    keys = row_keys(3, 9, contexts, candidates)
    alone = [row_keys(3, 9, contexts[i : i + 1], candidates[i : i + 1])[0] for i in range(35)]
    np.testing.assert_array_equal(keys, alone)
    np.testing.assert_array_equal(uniforms(keys, 4)[10:12], uniforms(keys[10:12], 4))


@pytest.mark.parametrize("part", ["seed", "step", "context", "candidate", "position"])
def test_every_part_of_the_address_counts(part):
    def value(seed=1, step=2, context=3, candidate=4, position=5):
        key = row_keys(seed, step, np.array([context]), np.array([candidate]))
        return float(uniforms(key, position)[0])

    values = {value(**{part: i}) for i in range(50)}
    assert len(values) == 50
    assert value(seed=-1) == value(seed=2**64 - 1)


def test_numbers_are_uniform_and_unrelated():
    contexts, candidates = np.repeat(np.arange(64), 32), np.tile(np.arange(32), 64)
    keys = row_keys(0, 0, contexts, candidates)
    u = np.stack([uniforms(keys, t) for t in range(12)], axis=1)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    neighbours = [
        (u[:, :-1].ravel(), u[:, 1:].ravel()),  # positions
        (u[:-1].ravel(), u[1:].ravel()),  # candidates
        (u[:-32].ravel(), u[32:].ravel()),  # contexts
    ]
    for a, b in neighbours:
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(a.size)
    for t in range(12):  # keys of one family must not share a stream
        assert len(np.unique(u[:, t])) == len(keys)
