"""Parts of a reward: weights, shares, one that decides alone, and a proxy that selects badly."""

import numpy as np
import pytest

from tod.base import Groups, Unknown
from tod.findings import RolloutTable, Series, TrainingRun
from tod.findings.detectors.one_reward import OneRewardDetector
from tod.findings.detectors.selection import SHARPNESS, SelectionDetector, tilted
from tod.findings.reward_parts import shares, shares_of_steps, task_like

K, PROMPTS = 8, 16


def rollouts(parts, weights):
    rewards = {name: np.asarray(x, float).reshape(-1) for name, x in parts.items()}
    total = sum(weights[name] * x for name, x in rewards.items())
    steps = len(total) // (PROMPTS * K)
    count = steps * PROMPTS
    return RolloutTable(
        Groups.equal(count, K), np.repeat(np.arange(1, steps + 1), PROMPTS), total, rewards
    )


def drawn(seed=0, steps=20, task=0.4, style=0.5):
    rng = np.random.default_rng(seed)
    size = (steps, PROMPTS, K)
    return {
        "correct": rng.random(size) < task,
        "format": rng.random(size) < style,
    }


def test_shares_are_those_of_independent_parts():
    table = rollouts(drawn(steps=100), {"correct": 1.0, "format": 0.5})
    got = shares(table)
    assert got.weight == pytest.approx({"correct": 1.0, "format": 0.5})
    share, error = got.of("correct", np.ones(len(table.step), bool))
    exact = 0.24 / (0.24 + 0.25 * 0.25)
    assert abs(share - exact) < 5 * error
    other, _ = got.of("format", np.ones(len(table.step), bool))
    assert share + other == pytest.approx(1)


def test_a_reward_that_decides_alone_is_named_with_the_weight_that_balances_it():
    for seed in range(20):
        table = rollouts(drawn(seed), {"correct": 0.1, "format": 1.0})
        (finding,) = OneRewardDetector().look(TrainingRun(rollouts=table))
        assert (finding.kind, finding.severity) == ("reward_dominated", "warning")
        assert finding.onset.step is None
        (remedy,) = finding.remedies
        again = rollouts(drawn(seed), {"correct": 0.1 * remedy.promise["factor"], "format": 1.0})
        late = again.step > 10
        share, error = shares(again).of("correct", late)
        assert abs(share - 0.5) < 5 * error


def test_it_is_dated_where_it_begins():
    parts = drawn(3)
    parts["format"] = parts["format"].astype(float)
    parts["format"][:12] *= 0.05
    table = rollouts(parts, {"correct": 0.2, "format": 1.0})
    (finding,) = OneRewardDetector().look(TrainingRun(rollouts=table))
    assert abs(finding.onset.step - 13) <= 1


@pytest.mark.parametrize("weight", [0.05, 0.2, 0.5, 1.0])
def test_rewards_in_balance_are_silent(weight):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        parts = drawn(seed, task=rng.uniform(0.2, 0.8), style=rng.uniform(0.3, 0.95))
        table = rollouts(parts, {"correct": 1.0, "format": weight})
        assert OneRewardDetector().look(TrainingRun(rollouts=table)) == ()
        assert SelectionDetector().look(TrainingRun(rollouts=table)) == ()


def test_a_learned_task_is_not_drowned_and_a_saturated_part_is_a_note():
    table = rollouts(drawn(task=0.97), {"correct": 0.1, "format": 1.0})
    assert OneRewardDetector().look(TrainingRun(rollouts=table)) == ()
    table = rollouts(drawn(style=1.0), {"correct": 1.0, "format": 1.0})
    (finding,) = OneRewardDetector().look(TrainingRun(rollouts=table))
    assert (finding.kind, finding.severity) == ("saturated_reward", "note")


def proxy(seed, harm):
    rng = np.random.default_rng(seed)
    size = (20, PROMPTS, K)
    exploit = rng.normal(0, 1, size)
    gold = (rng.normal(0, 1, size) - harm * np.maximum(exploit - 0.5, 0) > 0).astype(float)
    return RolloutTable(
        Groups.equal(20 * PROMPTS, K),
        np.repeat(np.arange(1, 21), PROMPTS),
        (exploit + 0.5 * gold).reshape(-1),
        {"accuracy": gold.reshape(-1)},
    )


def test_a_proxy_whose_best_answers_are_worse_is_named():
    for seed in range(20):
        (finding,) = SelectionDetector().look(TrainingRun(rollouts=proxy(seed, 3.0)))
        assert (finding.kind, finding.severity) == ("selection_overoptimised", "warning")
        assert SelectionDetector().look(TrainingRun(rollouts=proxy(seed, 0.0))) == ()


def test_the_tilt_is_the_weighted_mean_of_every_group():
    table = proxy(0, 1.0)
    got = tilted(table, table.rewards["accuracy"])
    reward, gold = table.reward.reshape(-1, K), table.rewards["accuracy"].reshape(-1, K)
    scale = np.sqrt(reward.var(axis=1).mean())
    for eta, mean in zip(SHARPNESS, got.mean, strict=True):
        weight = np.exp(eta / scale * (reward - reward.max(axis=1, keepdims=True)))
        expected = ((weight * gold).sum(axis=1) / weight.sum(axis=1)).mean()
        assert mean == pytest.approx(expected)


def test_names_of_tasks():
    assert all(map(task_like, ("accuracy", "correct", "math_verify", "acc", "reward.answer")))
    assert not any(map(task_like, ("format", "length_penalty", "think", "system", "embedding")))


def test_what_is_missing_is_said():
    one = RolloutTable(Groups.equal(4, 2), np.ones(4, int), np.zeros(8))
    for detector in (OneRewardDetector(), SelectionDetector()):
        assert isinstance(detector.look(TrainingRun()), Unknown)
        assert isinstance(detector.look(TrainingRun(rollouts=one)), Unknown)


def log(seed=0, steps=100, task=1.0, style=0.2, **others):
    """Means by step of a task that is learned and of a format that soon is; equal batches of 64."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, steps)
    parts = {
        "correct": rng.binomial(64, 0.3 + 0.4 * t) / 64,
        "format": rng.binomial(64, 0.3 + 0.4 * t) / 64,
    } | others
    total = task * parts["correct"] + style * parts["format"]
    at = np.arange(1, steps + 1)
    named = {"reward": total} | {f"reward.{name}": x for name, x in parts.items()}
    return TrainingRun({name: Series(name, at, x) for name, x in named.items()})


def test_shares_of_steps_are_those_of_independent_parts():
    """Var(Δ) = 2p(1 − p)w²/n of each: at equal p the shares are as the squares of the weights."""
    run = log(steps=4000, task=1.0, style=0.5)
    parts = {name: run.series[f"reward.{name}"].values for name in ("correct", "format")}
    got = shares_of_steps(run.series["reward"].values, parts)
    share, error = got["correct"]
    assert abs(share - 0.8) < 5 * error < 0.1
    assert sum(share for share, _ in got.values()) == pytest.approx(1)
    assert shares_of_steps(np.ones(50), {name: x[:50] for name, x in parts.items()}) is None
    noise = np.random.default_rng(1).normal(size=4000)
    assert shares_of_steps(noise, parts) is None


def test_a_log_whose_format_moves_the_total_alone_is_a_note():
    for seed in range(20):
        (finding,) = OneRewardDetector().look(log(seed, task=0.1, style=1.0))
        assert (finding.kind, finding.severity) == ("reward_dominated", "note")
        assert finding.series == ("reward.correct", "reward.format")
        assert OneRewardDetector().look(log(seed)) == ()
        assert OneRewardDetector().look(log(seed, task=1.0, style=1.0)) == ()


def test_a_learned_task_beside_a_format_is_silent():
    for seed in range(20):
        solved = np.random.default_rng(seed).binomial(64, 0.99, 100) / 64
        assert OneRewardDetector().look(log(seed, task=0.1, style=1.0, correct=solved)) == ()


def test_what_a_log_of_rewards_lacks_is_said():
    assert OneRewardDetector().look(log(steps=20)).kind == "too_few"
    assert OneRewardDetector().look(TrainingRun()).kind == "not_applicable"
    run = log()
    strange = Series("reward", run.steps, np.random.default_rng(2).normal(size=100))
    assert (
        OneRewardDetector().look(TrainingRun({**run.series, "reward": strange})).kind
        == "not_recorded"
    )
