from itertools import combinations

import numpy as np
import pytest

from tod.engine.forward.buckets import buckets


def cost(parts, lengths, overhead):
    return sum(overhead + len(p) * int(lengths[p].max()) for p in parts)


@pytest.mark.parametrize("overhead", [0.5, 7.0, 300.0])
@pytest.mark.parametrize("seed", range(5))
def test_cheapest_of_all_partitions(seed, overhead):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, 9) ** 2
    order = np.sort(lengths)
    best = min(
        sum(overhead + len(part) * part[-1] for part in np.split(order, cuts) if len(part))
        for n in range(len(lengths))
        for cuts in combinations(range(1, len(lengths)), n)
    )
    step = -(-int(lengths.max()) // 64)  # lengths are rounded up to 64 values
    found = cost(buckets(lengths, overhead=overhead), lengths, overhead)
    assert best <= found <= best + (step - 1) * len(lengths)


def test_every_row_once_short_to_long_and_empty_rows_never():
    lengths = np.array([3, 0, 9, 3, 1, 0, 700, 9])
    parts = buckets(lengths, overhead=2)
    assert sorted(np.concatenate(parts).tolist()) == [0, 2, 3, 4, 6, 7]
    longest = [int(lengths[p].max()) for p in parts]
    assert longest == sorted(longest)


def test_no_rows():
    assert buckets(np.zeros(3, dtype=np.int64), overhead=1) == []
