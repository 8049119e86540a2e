"""Countdown: the checker against two oracles, the generator against its promises."""

import ast
import operator
import os
import re
import subprocess
import sys
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, SpecError
from tod.engine.tasks import countdown
from tod.engine.utilities.utility_specs import CountdownUtility
from tolerance import chance

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def oracle(expression: str, numbers: list[int]) -> int | None:
    """Value by Python's own grammar, binary + - * over plain integers only."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        raise ValueError(node)

    try:
        result = value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, KeyError):
        return None
    used = sorted(int(digits) for digits in re.findall("[0-9]+", expression))
    return result if used == sorted(numbers) else None


@st.composite
def expressions(draw):
    """A legal expression with redundant parentheses and blanks, and its numbers."""
    numbers = draw(st.lists(st.integers(0, 30), min_size=1, max_size=5))

    def build(part):
        if len(part) == 1:
            text = str(part[0])
        else:
            cut = draw(st.integers(1, len(part) - 1))
            blank = draw(st.sampled_from(["", " "]))
            sign = draw(st.sampled_from("+-*"))
            text = f"{build(part[:cut])}{blank}{sign}{build(part[cut:])}"
        return f"({text})" if draw(st.booleans()) else text

    return build(numbers), numbers


@given(expressions())
def test_legal_expressions_have_the_value_python_gives_them(case):
    text, numbers = case
    assert countdown.evaluate(text, numbers) == oracle(text, numbers)
    assert countdown.evaluate(text, numbers) is not None


@given(st.text("12305+-*() ", max_size=9), st.permutations([1, 2, 3, 10]))
def test_any_text_is_judged_as_the_oracle_judges_it(text, numbers):
    numbers = numbers[:2]
    assert countdown.evaluate(text, numbers) == oracle(text, numbers)


@given(expressions(), st.data())
def test_damaged_expressions_are_judged_as_the_oracle_judges_them(case, data):
    text, numbers = case
    at = data.draw(st.integers(0, len(text)))
    text = text[:at] + data.draw(st.sampled_from([*"()+-*37 ", ""])) + text[at + 1 :]
    assert countdown.evaluate(text, numbers) == oracle(text, numbers)


def test_reasoning_gym_accepts_the_same_answers():
    from reasoning_gym import get_score_answer_fn

    score = get_score_answer_fn("countdown")
    verdicts = []
    for index in range(150):
        p = countdown.problem("train", index)
        other = countdown.problem("train", index + 1)
        entry = {"metadata": {"numbers": list(p.numbers), "target": p.target}}
        for text in (p.solution, other.solution, p.solution.replace("+", "-", 1), f"({p.solution}"):
            ours = countdown.check(text, p.numbers, p.target)
            assert ours == float(score(text, entry) == 1.0), (text, p)
            verdicts.append(ours)
    assert 150 <= sum(verdicts) < 0.5 * len(verdicts)


@pytest.mark.parametrize(
    "text",
    ["", " ", "3+5", "3+5+7+7", "3+5+8", "-3+5+7", "3+(-5)+7", "3++5+7", "3+5+7=15", "3 5+7",
     "03+5+7", "3+5+7)", "(3+5+7", "()3+5+7", "(3+5+7*)", "3+(5+7-)", "3+5+7()", "3(5+7)",
     "3+5**7", "3+5/7",
     "3.0+5+7", "3+5+7;", "３+5+7",
     "__import__('os')", "+".join("357") + "\x00"],
)  # fmt: skip
def test_refused_expressions(text):
    assert countdown.evaluate(text, [3, 5, 7]) is None
    assert countdown.check(text, [3, 5, 7], 15, partial=0.5) == 0.0


def test_precedence_subtraction_and_repeated_numbers():
    assert countdown.evaluate("7-3-2", [2, 3, 7]) == 2
    assert countdown.evaluate("7-(3-2)", [2, 3, 7]) == 6
    assert countdown.evaluate("7-3*2", [2, 3, 7]) == 1
    assert countdown.evaluate("(7-3)*2", [2, 3, 7]) == 8
    assert countdown.evaluate("5*5-5", [5, 5, 5]) == 20
    assert countdown.evaluate("5*5", [5, 5, 5]) is None
    assert countdown.evaluate("5-0*7", [0, 5, 7]) == 5


@pytest.mark.parametrize(
    "text", ["(" * 10**6, "9" * 10**6, "(" * 10**5 + "3" + ")" * 10**5, "3+" * 10**5]
)
def test_hostile_text_is_cheap(text):
    assert countdown.evaluate(text, [9, 7]) is None


def test_partial_credit_and_answer_tags():
    assert countdown.check("3+5*7", [3, 5, 7], 38, partial=0.1) == 1.0
    assert countdown.check("3*5+7", [3, 5, 7], 38, partial=0.1) == 0.1
    assert countdown.check("3*5+7", [3, 5, 7], 38) == 0.0
    tagged = "<answer>1</answer> no, <answer> 3+5*7 </answer>."
    assert countdown.check(tagged, [3, 5, 7], 38) == 1.0
    assert countdown.check("so <answer>3+5*7", [3, 5, 7], 38) == 1.0


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_problems_are_solvable_within_bounds_and_of_their_split(split):
    problems = [countdown.problem(split, i, seed=3) for i in range(1000)]
    for p in problems:
        assert oracle(p.solution, list(p.numbers)) == p.target
        assert 1 <= p.target <= countdown.LARGEST_TARGET
        assert all(1 <= n <= countdown.LARGEST_NUMBER for n in p.numbers)
        assert len(p.solution) <= 20
        assert countdown.split_of(p.numbers, p.target) == split
    counts = [sum(len(p.numbers) == k for p in problems) for k in countdown.COUNTS]
    assert min(counts) > 300
    assert len({p.prompt for p in problems}) > 700


def test_every_reordering_of_a_problem_is_in_its_split():
    for i in range(50):
        p = countdown.problem("held_out", i)
        assert {countdown.split_of(n, p.target) for n in permutations(p.numbers)} == {"held_out"}


def test_a_tenth_of_the_problems_is_held_out():
    splits = [
        countdown.split_of((a, b, c), a + b * c)
        for a in range(1, 16)
        for b in range(1, a)
        for c in range(1, b)
    ]
    assert splits.count("held_out") / len(splits) == pytest.approx(
        0.1, abs=chance(0.3, len(splits))
    )


def test_a_problem_depends_on_seed_and_index_alone():
    a = [countdown.problem("train", i, seed=5) for i in range(20)]
    b = [countdown.problem("train", i, seed=5) for i in reversed(range(20))][::-1]
    assert a == b
    assert a != [countdown.problem("train", i, seed=6) for i in range(20)]


def test_prompts_are_different_problems_of_one_stream():
    records = countdown.prompts("held_out", 400, seed=5)
    assert len({record["prompt"] for record in records}) == 400
    assert records[:150] == countdown.prompts("held_out", 150, seed=5)
    first = countdown.problem("held_out", 0, seed=5)
    assert records[0] == {
        "prompt": first.prompt, "numbers": list(first.numbers),
        "target": first.target, "answer": first.solution,
    }  # fmt: skip
    assert countdown.prompts("held_out", 0) == []


def test_too_many_prompts_are_refused(monkeypatch):
    monkeypatch.setattr(countdown, "LARGEST_NUMBER", 2)
    with pytest.raises(DataError, match="found only"):
        countdown.prompts("train", 400)


def test_problems_never_change_between_machines_or_processes():
    """Recorded once: runs, and the models trained on these problems, rely on them."""
    code = (
        "from tod.engine.tasks.countdown import problem;"
        "print([problem(s, i, seed=-1).prompt for s in ('train', 'held_out') for i in range(3)])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert out.stdout.strip() == str(GOLDEN), out.stderr


GOLDEN = ["2 6 7 13=16:", "4 5 10 13=48:", "5 8 9=22:", "7 8 9=8:", "2 3 3 5=3:", "6 7 9 10=16:"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12*3-8", 1.0), ("12+3+8", 3 / (3 + 5)), ("12+3", 0.0), ("12*8-3", 3 / (3 + 65)), ("x", 0.0)],
)
def test_distance_grades_what_uses_every_number(text: str, expected: float) -> None:
    """d/(d + |value − 28|) with d = 3."""
    assert countdown.check(text, [3, 8, 12], 28, distance=3.0) == expected


def test_distance_and_partial_exclude_each_other() -> None:
    with pytest.raises(SpecError, match="set one"):
        CountdownUtility.parse({"name": "correct", "partial": 0.1, "distance": 3.0})
