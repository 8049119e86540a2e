"""Sums: every problem has an answer, splits do not meet, and only right answers pass."""

from itertools import combinations

import pytest

from tod.engine.data.load import load_task
from tod.engine.data.task_specs import SumsTask
from tod.engine.tasks import sums


def test_a_problem_is_a_function_of_its_number() -> None:
    assert sums.problem("train", 7, 3) == sums.problem("train", 7, 3)
    assert sums.problem("train", 7, 3) != sums.problem("train", 8, 3)


def test_the_own_answer_of_every_problem_passes_and_the_splits_do_not_meet() -> None:
    drawn = {split: [sums.problem(split, i) for i in range(400)] for split in ("train", "held_out")}
    for problem in (*drawn["train"], *drawn["held_out"]):
        assert sums.check(problem.solution, problem.first, problem.total) == 1.0
    train, held_out = ({p.prompt for p in drawn[split]} for split in ("train", "held_out"))
    assert not train & held_out


def test_just_the_answers_that_add_up_pass() -> None:
    """Every three rising numbers to 50 that begin with 5, against their sum."""
    passing = 0
    for second, third in combinations(range(6, 51), 2):
        right = 5 + second + third == 41
        assert sums.check(f"5+{second}+{third}", 5, 41) == float(right)
        passing += right
    assert passing == 12


@pytest.mark.parametrize(
    "text",
    [
        *("5+22+14", "5+18+18", "05+14+22", "5+14+22+", "5+14", "5 14 22", "6+13+22", "5+-14+50"),
        *("", "5+14+²²", "5+14+22+0", "4+15+22", "5+" + "9" * 5000 + "+1"),
    ],
)
def test_anything_else_fails(text: str) -> None:
    assert sums.check(text, 5, 41) == 0.0


def test_blanks_around_an_answer_do_not_matter() -> None:
    assert sums.check(" 5+14+22\n", 5, 41) == 1.0


def test_the_task_holds_prompts_out() -> None:
    task = load_task(SumsTask(), 0)
    held_out = {example.prompt for example in task.held_out(50)}
    assert len(held_out) == 50
    assert not held_out & {example.prompt for example in task.batch(0, 200)}
    example = task.batch(0, 1)[0]
    assert sums.check(example.columns["answer"], example.columns["first"], example.columns["total"])
