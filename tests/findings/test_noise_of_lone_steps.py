"""Coin flips are the same in every step: rewards that fall in one step are no coin."""

import numpy as np

from tod.base import Groups
from tod.findings import RolloutTable, find
from tod.findings.run import TrainingRun


def coin(p, prompts=16, k=8, seed=0):
    rng = np.random.default_rng(seed)
    reward = (rng.random((len(p), prompts, k)) < np.asarray(p)[:, None, None]).astype(float)
    rollouts = RolloutTable(
        Groups.equal(len(p) * prompts, k),
        np.repeat(np.arange(1, len(p) + 1), prompts),
        reward.reshape(-1),
    )
    return find(TrainingRun(rollouts=rollouts), only=["noise"])


def test_a_coin_is_named():
    named = [coin(np.full(12, 0.5), seed=seed).first is not None for seed in range(20)]
    assert sum(named) >= 18


def test_one_step_that_fails_is_no_coin():
    p = np.full(12, 0.5)
    p[5] = 0.05
    assert all(coin(p, seed=seed).first is None for seed in range(20))
