"""The five planted runs that every answer of 0.1 confused: healthy, dead, long, one text, coin."""

from collections import Counter

import numpy as np
import pytest

from tod.findings import Findings, TrainingRun, find
from tod.findings.planted.world import PlantedDraws, PlantedWorld

SEEDS = range(1000, 1010)


def planted(name: str, seed: int, steps: int = 20, prompts: int = 32, k: int = 8) -> Findings:
    rng = np.random.default_rng(seed)
    world = PlantedWorld(
        np.arange(1, steps + 1), prompts, k, rng, skill=np.linspace(-1, 1.5, steps)
    )
    if name == "long":
        world.length = 60 * np.exp(np.linspace(0, np.log(12), steps))
    drawn = world.draw()
    _break(drawn, name, rng)
    return find(TrainingRun(rollouts=drawn.rollouts()))


def _break(drawn: PlantedDraws, name: str, rng: np.random.Generator) -> None:
    if name == "dead":
        drawn.reward[8:] = 0
    if name == "one text":
        drawn.text[10:] = drawn.text.max() + 1
        drawn.reward[10:] = 0
    if name == "coin":
        drawn.reward = (rng.random(drawn.reward.shape) < 0.5).astype(float)
        drawn.text = np.arange(drawn.text.size).reshape(drawn.text.shape)


def test_a_healthy_run_has_no_fault():
    assert all(planted("healthy", seed).first is None for seed in SEEDS)


@pytest.mark.parametrize(
    ("name", "kind", "step"),
    [("dead", "all_fail", 9), ("one text", "one_text", 11), ("long", "length_growth", None)],
)
def test_each_fault_is_named_first_with_its_step(name, kind, step):
    seen = Counter()
    for seed in SEEDS:
        first = planted(name, seed).first
        assert first is not None
        seen[first.kind, None if first.onset is None else first.onset.step] += 1
    assert seen[kind, step] >= 9, seen


def test_coin_flips_are_named_where_there_are_pairs_enough():
    kinds = [getattr(planted("coin", seed).first, "kind", None) for seed in SEEDS]
    assert kinds.count("noise") >= 9


def test_few_pairs_are_said_to_be_few():
    unreadable = [planted("coin", seed, 12, 32, 2) for seed in SEEDS]
    silent = [found for found in unreadable if found.first is None]
    assert silent
    assert all("384 pairs" in found.unknown["noise"].why for found in silent)
