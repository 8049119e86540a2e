"""Rollouts that no run should have, and many do: no detector falls over them."""

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import GapProfile
from tod.findings import RolloutTable, TrainingRun, find
from tod.findings.rollout_series import length_limit


def odd(rng, steps):
    """Groups of any sizes, and columns that are there or not, constant or not."""
    sizes = rng.integers(1, 6, int(rng.integers(1, 6)) * steps)
    if rng.random() < 0.3:
        sizes[:] = int(rng.integers(1, 9))
    groups, n = Groups(sizes), int(sizes.sum())

    def maybe(values):
        return values if rng.random() < 0.6 else None

    def flags(share):
        return rng.random(n) < share

    reward = [np.zeros(n), np.full(n, 1.0), rng.normal(0, 1, n), flags(0.5).astype(float)]
    parts = {
        "accuracy": flags(0.3).astype(float),
        "format": np.zeros(n),
        "style": rng.normal(0, 1e6, n),
    }
    codes = rng.integers(0, int(rng.integers(1, n + 2)), n)
    return RolloutTable(
        groups,
        np.sort(rng.integers(0, steps, len(sizes))),
        reward[int(rng.integers(0, 4))],
        parts if rng.random() < 0.5 else {},
        prompt=maybe(rng.integers(0, 5, len(sizes))),
        input=maybe(codes),
        text=maybe(rng.integers(0, 3 * n, n)),
        length=maybe(rng.integers(0, int(rng.integers(1, 900)), n)),
        truncated=maybe(flags(0.5)),
        advantage=maybe(np.where(flags(0.3), np.nan, rng.normal(0, 1, n))),
        lag=maybe(rng.integers(-2, 40, n)),
        error=maybe(flags(0.5)),
        evaluation=maybe(flags(0.1)),
        grouped=bool(rng.random() < 0.8),
    )


def gaps(rng, steps):
    found = {}
    for step in range(steps):
        profile = GapProfile()
        if rng.random() < 0.8:
            size = int(rng.integers(1, 50))
            a, b = -rng.exponential(1, size), -rng.exponential(1, size)
            profile.add(b if rng.random() < 0.5 else a, b, Groups.equal(size, 1))
        found[step] = profile
    return found


@pytest.mark.parametrize("steps", [1, 2, 4, 12, 40])
def test_every_detector_looks_at_odd_rollouts(steps):
    rng = np.random.default_rng(steps)
    for _ in range(60):
        found = find(TrainingRun(rollouts=odd(rng, steps), gaps=gaps(rng, steps)))
        found.to_dict()
        assert found.clear or found.unknown


def of_lengths(lengths):
    return RolloutTable(
        Groups.equal(len(lengths) // 8, 8),
        np.repeat(np.arange(6), len(lengths) // 48),
        np.zeros(len(lengths)),
        {},
        length=lengths,
    )


def test_answers_of_one_form_are_cut_nowhere(rng):
    """A word and a number of nine digits: most answers have the greatest length there is."""
    digits = rng.integers(1, 10**9, size=6 * 32 * 8)
    lengths = np.array([len(f"answer {number}") for number in digits])
    assert (lengths == lengths.max()).mean() > 0.8
    assert length_limit(of_lengths(lengths)) is None
    cut = np.minimum(rng.gamma(2.0, 100.0, size=len(lengths)).astype(int), 256)
    assert length_limit(of_lengths(cut)) == 256
