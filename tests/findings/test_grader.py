"""Rewards with heavy tails are no coin flips; a grader that breaks is dated."""

import numpy as np
import pytest

from tod.base import Groups
from tod.findings import Finding, RolloutTable, Series, TrainingRun, find

STEPS, PROMPTS, K = 40, 12, 8
SHAPE = (STEPS, PROMPTS, K)


def table(reward: np.ndarray, text: np.ndarray | None = None) -> TrainingRun:
    prompt = np.arange(STEPS * PROMPTS)
    codes = np.arange(reward.size) if text is None else text.ravel()
    rollouts = RolloutTable(
        groups=Groups.equal(STEPS * PROMPTS, K),
        step=np.repeat(np.arange(1, STEPS + 1), PROMPTS),
        reward=reward.ravel().astype(float),
        prompt=prompt,
        input=np.repeat(prompt, K),
        text=codes,
    )
    return TrainingRun(rollouts=rollouts)


def named(run: TrainingRun, kind: str) -> Finding | None:
    return next((f for f in find(run).all if f.kind == kind), None)


@pytest.mark.parametrize("seed", range(8))
def test_heavy_tails_around_what_prompts_are_worth_are_no_coin(seed: int) -> None:
    """Prompts explain the middle of the rewards; one in two hundred is a thousand times larger."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(0, 1, (STEPS, PROMPTS, 1))
    huge = rng.random(SHAPE) < 0.005
    reward = worth + rng.normal(0, 1, SHAPE) + 1000 * huge * rng.choice([-1, 1], SHAPE)
    assert named(table(reward), "noise") is None


@pytest.mark.parametrize("seed", range(4))
def test_tails_without_any_worth_stay_a_coin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reward = rng.integers(0, 5, SHAPE)
    assert named(table(reward), "noise") is not None


@pytest.mark.parametrize("at", [1, 15])
def test_a_grader_that_contradicts_itself_is_dated(at: int) -> None:
    rng = np.random.default_rng(at)
    text = rng.integers(0, 3, SHAPE)
    reward = (text == 0).astype(float)
    reward[at - 1 :] = rng.integers(0, 2, reward[at - 1 :].shape)
    seen = named(table(reward, text), "verifier")
    assert seen is not None
    assert seen.onset is not None
    assert seen.onset.step == (None if at == 1 else at)
    assert seen.best_step == (None if at == 1 else at - 1)


def falling(noise: float, seed: int = 3) -> TrainingRun:
    """A reward that falls from 0.5 to 0.29 in the middle of 60 steps."""
    steps = np.arange(1, 61)
    rng = np.random.default_rng(seed)
    values = np.where(steps < 30, 0.5, 0.29) + rng.normal(0, noise, 60)
    return TrainingRun(series={"reward": Series("reward", steps, values)})


def test_a_fall_short_of_the_bound_is_not_decided() -> None:
    sure, unsure = find(falling(0.02)), find(falling(0.13))
    assert sure.first is not None
    assert sure.first.kind == "reward_fall"
    assert unsure.first is None
    assert "fall of the reward" not in unsure.clear
    assert "standard errors" in unsure.unknown["reward_fall"].why


def test_entropy_that_collapses_in_the_first_steps_is_seen() -> None:
    steps = np.arange(1, 101)
    values = np.where(steps <= 4, 1.5, 0.1) * np.exp(np.random.default_rng(0).normal(0, 0.05, 100))
    seen = named(
        TrainingRun(series={"entropy": Series("entropy", steps, values)}), "entropy_collapse"
    )
    assert seen is not None
    assert seen.onset is not None
    assert seen.onset.low <= 5 <= seen.onset.high
