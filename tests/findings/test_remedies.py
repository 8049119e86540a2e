"""What a remedy promises is what it brings: it is applied to fresh draws of the same world."""

import pytest

from tod.findings.planted.applied import APPLIED

SEEDS = 12


@pytest.fixture(scope="module")
def results():
    found = {kind: [apply(seed) for seed in range(SEEDS)] for kind, apply in APPLIED.items()}
    return {kind: [one for one in all_ if one is not None] for kind, all_ in found.items()}


@pytest.mark.parametrize("kind", sorted(APPLIED))
def test_a_promise_is_kept_on_fresh_draws(kind, results):
    """In nine runs of ten: four misses of twelve have a chance of 3 % then, five of 0.4 %."""
    assert len(results[kind]) >= 4
    assert sum(not one.kept for one in results[kind]) <= 4
    assert all(0 < one.error < 0.3 * max(abs(one.promised), 0.2) for one in results[kind])


@pytest.mark.parametrize("kind", sorted(APPLIED))
def test_the_promise_tells_more_than_that_nothing_changes(kind, results):
    off = [abs(one.before - one.after) > 2 * one.error for one in results[kind]]
    assert sum(off) > len(off) / 2
