"""A planted run written as each framework writes it is found the same again."""

import numpy as np
import pytest

import tod
from formats import writers
from tod.findings import TrainingRun, find, rollouts_of
from tod.findings.detector import detectors
from tod.findings.planted.world import PlantedDraws, PlantedWorld

FORMATS = {
    "verl": (writers.write_verl, {}),
    "trl": (writers.write_trl, {}),
    "nemo-rl": (writers.write_nemo, {}),
    "skyrl": (writers.write_skyrl_evals, {}),
    "slime": (writers.write_slime, {"train": False}),
    "prime-rl": (writers.write_prime, {"exports": False}),
    "tinker": (writers.write_tinker, {}),
    "ms-swift": (writers.write_swift, {}),
    "open-instruct": (writers.write_open_instruct, {}),
    "areal": (writers.write_areal, {}),
    "own-parquet": (writers.write_tod, {}),
    "own-jsonl": (writers.write_tod, {"kind": "jsonl"}),
}
TEXTLESS = {"tinker"}
"""Formats whose files hold no texts of prompts and answers."""


def drawn(seed, steps=20, prompts=16, k=4):
    world = PlantedWorld(
        np.arange(1, steps + 1),
        prompts,
        k,
        np.random.default_rng(seed),
        skill=np.linspace(-0.5, 1.0, steps),
        spread=1.0,
    )
    return world.draw()


def written(columns: PlantedDraws) -> writers.World:
    """The rows of a run as the writers take them; a text's tokens are its code's digits."""
    _, prompts, k = columns.world.shape
    world = writers.World(k)
    for i, step in enumerate(columns.world.steps.tolist()):
        for group in range(prompts):
            mean = columns.reward[i, group].mean()
            for place in range(k):
                code = int(columns.text[i, group, place])
                ids = [100 + int(digit) for digit in f"{code:05d}"]
                reward = float(columns.reward[i, group, place])
                question = int(columns.prompt[i, group])
                zeros = [-1.0] * len(ids)
                world.rollouts.append(
                    writers.Rollout(
                        step,
                        group,
                        place,
                        [10 + int(digit) for digit in f"{question:04d}"],
                        ids,
                        reward,
                        zeros,
                        zeros,
                        zeros,
                        f"question {question}?",
                        f"answer {code}",
                        reward - float(mean),
                    )
                )
    return world


def findings(name, columns, path):
    write, options = FORMATS[name]
    rollouts = rollouts_of(tod.read(write(written(columns), path, **options)))
    assert rollouts is not None
    # prime-rl's writer lets every step be sampled by the first version, which is stale indeed
    only = {d.kind for d in detectors()} - ({"staleness"} if name == "prime-rl" else set())
    return find(TrainingRun(rollouts=rollouts), only)


@pytest.mark.parametrize("name", FORMATS)
def test_a_healthy_run_has_no_fault_in_any_format(name, tmp_path):
    said = findings(name, drawn(0), tmp_path)
    assert [fault.kind for fault in said.faults] == []


@pytest.mark.parametrize("name", FORMATS)
def test_the_end_of_learning_is_dated_in_every_format(name, tmp_path):
    columns = drawn(1)
    columns.reward[8:] = 0
    first = findings(name, columns, tmp_path).first
    assert first is not None
    assert first.kind == "all_fail"
    assert first.onset is not None
    # a format may count its steps from 0
    assert first.onset.step in (8, 9)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - TEXTLESS))
def test_one_text_is_named_where_files_hold_texts(name, tmp_path):
    columns = drawn(2)
    columns.text[10:] = columns.text.max() + 1
    columns.reward[10:] = 0
    first = findings(name, columns, tmp_path).first
    assert first is not None
    assert first.kind == "one_text"
    assert first.onset is not None
    assert first.onset.step in (10, 11)


def test_rows_of_files_are_those_that_were_drawn(tmp_path):
    columns = drawn(3)
    read = rollouts_of(tod.read(writers.write_verl(written(columns), tmp_path)))
    exact = columns.rollouts()
    assert read is not None
    np.testing.assert_array_equal(read.step, exact.step)
    mean = np.sort(read.groups.mean(read.reward))
    np.testing.assert_array_equal(mean, np.sort(exact.groups.mean(exact.reward)))
