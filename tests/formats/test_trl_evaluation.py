"""Evaluations in TRL's files: told by their traces, counted, and never dropped in silence."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tod.base import SpecError
from tod.formats import read


class Queue:
    """TRL's logging: one queue of a generation batch for both modes, a file at every log."""

    def __init__(self, root: Path, size: int, seed: int = 0) -> None:
        self.root = root / "completions"
        self.root.mkdir(parents=True)
        self.queue: deque[tuple[str, str, float, float, bool]] = deque(maxlen=size)
        self.rng = np.random.default_rng(seed)
        self.answers = 0
        self.on_disk: dict[int, list[bool]] = {}

    def generate(self, prompts: list[str], k: int, *, training: bool) -> None:
        for prompt in prompts:
            reward = self.rng.integers(0, 2, k).astype(float)
            for r, a in zip(reward, reward - reward.mean(), strict=True):
                self.answers += 1
                self.queue.append((prompt, f"answer {self.answers}", r, a, training))

    def log(self, step: int) -> None:
        columns = list(zip(*self.queue, strict=True))
        table = pd.DataFrame(columns[:4], index=["prompt", "completion", "right", "advantage"]).T
        table = table.astype({"right": float, "advantage": float})
        table.insert(0, "step", step)
        table.to_parquet(self.root / f"completions_{step:05d}.parquet")
        self.on_disk[step] = list(columns[4])


def run(root: Path, evaluation: list[str], every: int = 3, steps: int = 10, **given: Any) -> Queue:
    """A run over twelve questions, shuffled every epoch, with an evaluation now and then."""
    queue = Queue(root, 16, **given)
    rng = np.random.default_rng(1)
    stream: list[str] = []
    for step in range(1, steps + 1):
        if len(stream) < 4:
            stream += [f"question {i}" for i in rng.permutation(12)]
        queue.generate([stream.pop() for _ in range(4)], 4, training=True)
        queue.log(step)
        if step % every == 0:
            queue.generate(evaluation, 4, training=False)
            queue.log(step)
    return queue


def held_out(count: int) -> list[str]:
    return [f"held out {i}" for i in range(count)]


def wanted(queue: Queue) -> int:
    return sum(sum(flags) for flags in queue.on_disk.values())


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_evaluations_over_held_out_prompts_are_left_out(tmp_path: Path, count: int) -> None:
    """Also where they fill only the end of a file: two prompts leave half of the training rows."""
    queue = run(tmp_path, held_out(count))
    reading = read(tmp_path)
    assert reading.source.rows == wanted(queue)
    assert set(reading.contexts.sizes.tolist()) == {4}
    (note,) = [n for n in reading.source.notes if "evaluations by their traces" in n]
    gone = sum(len(flags) - sum(flags) for flags in queue.on_disk.values())
    assert note.startswith(f"{gone} rows of 3 files")
    assert "completions_00009" in note


def test_evaluations_over_training_prompts_are_told_by_their_order(tmp_path: Path) -> None:
    queue = run(tmp_path, [f"question {i}" for i in range(12)])
    assert read(tmp_path).source.rows == wanted(queue)


def test_kept_where_the_person_says_so(tmp_path: Path) -> None:
    queue = run(tmp_path, held_out(4))
    reading = read(tmp_path, mapping={"evaluation": "keep"})
    assert reading.source.rows == sum(map(len, queue.on_disk.values()))
    assert any("kept, as told" in note for note in reading.source.notes)
    with pytest.raises(SpecError, match="keep"):
        read(tmp_path, mapping={"evaluation": "drop"})


def test_step_zero_is_no_training(tmp_path: Path) -> None:
    queue = Queue(tmp_path, 16)
    queue.generate(held_out(4), 4, training=False)
    queue.log(0)
    queue.generate(["a", "b", "c", "d"], 4, training=True)
    queue.log(1)
    reading = read(tmp_path)
    assert reading.source.steps == (1, 1)
    assert any("16 rows of 1 file " in note for note in reading.source.notes)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_training_in_a_fixed_order_is_not_taken_for_evaluations(
    tmp_path: Path, batches: int
) -> None:
    queue = Queue(tmp_path, 16)
    for step in range(1, 7):
        start = 4 * (step % batches)
        queue.generate([f"q{start + i}" for i in range(4)], 4, training=True)
        queue.log(step)
    reading = read(tmp_path)
    assert reading.source.rows == 96
    assert any("6 of 6 files hold prompts of another" in note for note in reading.source.notes)


def test_an_epoch_and_a_half_in_a_fixed_order_is_training(tmp_path: Path) -> None:
    """Two orders come again: there is but one evaluation set."""
    queue = Queue(tmp_path, 16)
    for step in range(1, 6):
        queue.generate([f"q{4 * (step % 3) + i}" for i in range(4)], 4, training=True)
        queue.log(step)
    reading = read(tmp_path)
    assert reading.source.rows == 80
    assert any("4 of 5 files hold prompts of another" in note for note in reading.source.notes)


def test_one_pair_that_meets_again_is_training(tmp_path: Path) -> None:
    """Its questions are asked elsewhere too, and two come in one order half of the time."""
    queue = Queue(tmp_path, 8)
    for step, pair in enumerate(("ab", "ca", "ab", "bc"), start=1):
        queue.generate(list(pair), 4, training=True)
        queue.log(step)
    assert read(tmp_path).source.rows == 32


def test_evaluations_may_be_more_files_than_training(tmp_path: Path) -> None:
    queue = run(tmp_path, held_out(4), every=2, steps=3)
    queue.generate(held_out(4), 4, training=False)
    queue.log(0)
    queue.generate(held_out(4), 4, training=False)
    queue.log(3)
    reading = read(tmp_path)
    assert (reading.source.rows, reading.source.steps) == (16, (1, 1))


def test_where_no_prompt_comes_twice_an_evaluation_cannot_be_excluded(tmp_path: Path) -> None:
    queue = Queue(tmp_path, 16)
    for step in range(1, 7):
        queue.generate([f"{step} {i}" for i in range(4)], 4, training=True)
        queue.log(step)
    reading = read(tmp_path)
    assert reading.source.rows == 96
    (note,) = reading.source.notes
    assert note.startswith("6 files of 6: no prompt")
    assert read(tmp_path, mapping={"evaluation": "keep"}).source.notes == ()


def test_an_evaluation_that_came_once_is_the_odd_file(tmp_path: Path) -> None:
    """Of equal group size, at one step only: the training prompts come again, its own do not."""
    queue = run(tmp_path, held_out(4), every=7, steps=10)
    assert sum(not all(flags) for flags in queue.on_disk.values()) == 1
    (note,) = read(tmp_path).source.notes
    assert note.startswith("completions_00007.parquet: no prompt")
    assert read(tmp_path, steps="8:").source.notes == ()


def test_where_every_prompt_comes_again_nothing_is_said(tmp_path: Path) -> None:
    run(tmp_path, [], every=99, steps=9)
    assert read(tmp_path).source.notes == ()


def test_evaluations_of_other_steps_are_told_by_all_files(tmp_path: Path) -> None:
    """One step alone holds no prompt twice; the evaluation at another step gives it away."""
    run(tmp_path, held_out(4), every=3, steps=7)
    reading = read(tmp_path, steps="3:4")
    assert reading.source.steps == (4, 4)
    (note,) = reading.source.notes
    assert note.startswith("16 rows of 1 file (completions_00003")


def test_two_questions_that_meet_again_are_training(tmp_path: Path) -> None:
    """A tiny data set: pairs come again in the same order by chance, and elsewhere too."""
    queue = Queue(tmp_path, 8)
    rng = np.random.default_rng(0)
    for step in range(1, 13):
        queue.generate([f"q{i}" for i in rng.permutation(3)[:2]], 4, training=True)
        queue.log(step)
    assert read(tmp_path).source.rows == 96


def test_a_step_in_two_files_is_said(tmp_path: Path) -> None:
    queue = Queue(tmp_path, 16)
    queue.generate(["a", "b", "c", "d"], 4, training=True)
    queue.log(1)
    queue.generate(["e", "f", "g", "h"], 4, training=True)
    queue.log(2)
    second = tmp_path / "completions/completions_00002.parquet"
    pd.read_parquet(second).assign(step=1).to_parquet(second)
    notes = read(tmp_path).source.notes
    assert any("rows are of step 1" in note for note in notes)
    assert any("step 1 is in" in note for note in notes)
