"""Countdown: reach a target with ``+ - *`` from 3 or 4 numbers, each used exactly once.

A problem is written ``3 8 12=28:`` and answered by an expression, ``12*3-8``; the text of
the prompt *is* the problem, so a checker needs nothing else. Problems are drawn by a counter:
problem ``index`` of stream ``seed`` is a pure function of the two, on every machine.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tod.engine.tasks.stream import Split, different, in_held_out, uniforms
from tod.reranking.answers import tagged_answer

COUNTS = (3, 4)
"""How many numbers a problem may have; drawn uniformly."""
LARGEST_NUMBER = 15
LARGEST_TARGET = 99
"""Numbers lie in 1…15, targets in 1…99: prompts of about 13 characters, answers of about 9."""

_SYMBOLS = re.compile(r"[0-9]+|\S")


@dataclass(frozen=True)
class CountdownProblem:
    """Numbers to combine and the value to reach, with one known solution."""

    numbers: tuple[int, ...]
    target: int
    solution: str

    @property
    def prompt(self) -> str:
        """The text shown to the model, for example ``3 8 12=28:``."""
        return f"{' '.join(map(str, self.numbers))}={self.target}:"

    @property
    def columns(self) -> dict[str, object]:
        """What a checker needs, by the names of the row."""
        return {"numbers": list(self.numbers), "target": self.target, "answer": self.solution}


def evaluate(expression: str, numbers: Sequence[int]) -> int | None:
    """Value of an expression that uses every number exactly once, else None.

    Grammar: integers as written in the problem (no leading zero, no sign of their own),
    binary ``+ - *`` with the usual precedence, parentheses, blanks anywhere between symbols.
    Anything else, an unused, foreign or repeated number included, is None. One pass, no
    recursion, and a number is refused before it is converted: hostile text costs linear time.
    """
    remaining = [str(number) for number in numbers]
    stack: list[tuple[int, int, str]] = []
    total, term, operation, operand_next = 0, 0, "+", True
    for symbol in _SYMBOLS.findall(expression):
        if symbol in "+-*":
            if operand_next:
                return None
            operation, operand_next = symbol, True
            continue
        if symbol == "(":
            if not operand_next:
                return None
            stack.append((total, term, operation))
            total, term, operation = 0, 0, "+"
            continue
        if symbol == ")":
            if operand_next or not stack:
                return None
            value = total + term
            total, term, operation = stack.pop()
        else:
            if not operand_next or symbol not in remaining:
                return None
            remaining.remove(symbol)
            value = int(symbol)
        if operation == "*":
            term *= value
        else:
            total += term
            term = value if operation == "+" else -value
        operand_next = False
    return None if operand_next or stack or remaining else total + term


def check(
    completion: str,
    numbers: Sequence[int],
    target: int,
    partial: float = 0.0,
    distance: float | None = None,
) -> float:
    """1 when the completion reaches the target; for one that only uses all numbers less, else 0.

    The expression is the whole completion, or what stands in its last ``<answer>…</answer>``.

    Args:
        completion: What was written.
        numbers: Each is to be used once.
        target: What is to be reached.
        partial: Utility of an expression that uses all numbers and misses the target.
        distance: Grades it: it gets ``distance / (distance + |value − target|)`` instead.
    """
    tagged = tagged_answer(completion)
    value = evaluate(completion if tagged is None else tagged, numbers)
    if value is None:
        return 0.0
    if distance is not None:
        return distance / (distance + abs(value - target))
    return 1.0 if value == target else partial


def split_of(numbers: Sequence[int], target: int) -> Split:
    """The split of a problem, by a hash of its prompt with the numbers sorted.

    Sorting keeps every reordering of a held-out problem out of training. The hash is
    BLAKE2b, equal on every machine and in every process.
    """
    text = f"{' '.join(map(str, sorted(numbers)))}={target}:"
    return "held_out" if in_held_out(text) else "train"


def problem(split: Split, index: int, seed: int = 0) -> CountdownProblem:
    """Problem ``index`` of a split: a pure function of (split, index, seed).

    Numbers and operations are drawn uniformly and redrawn until the value is a legal target of
    the wanted split, so every problem has a solution. Numbers are shown in ascending order.
    """
    draws = uniforms(seed, index)
    while True:
        count = COUNTS[int(next(draws) * len(COUNTS))]
        used = [1 + int(next(draws) * LARGEST_NUMBER) for _ in range(count)]
        solution, target = _expression(used, draws)
        if 1 <= target <= LARGEST_TARGET and split_of(used, target) == split:
            return CountdownProblem(tuple(sorted(used)), target, solution)


def prompts(split: Split, count: int, seed: int = 0) -> list[dict[str, object]]:
    """The first ``count`` different records ``{prompt, numbers, target, answer}`` of a stream.

    A shorter list is the beginning of a longer one. ``answer`` is one solution, not the only
    one: score with `check`, not by comparison.

    Raises:
        DataError: The split has too few different problems.
    """
    return [
        {"prompt": p.prompt, **p.columns}
        for p in different(lambda index: problem(split, index, seed), count, f"countdown, {split}")
    ]


def _expression(numbers: Sequence[int], draws: Iterator[float]) -> tuple[str, int]:
    """A random sum of products over the numbers: its text and its value.

    Written in one normal form (larger factors first; larger terms first, subtracted ones last),
    because a small model learns one spelling of a solution much faster than twenty.
    """
    terms: list[tuple[str, list[int]]] = [("+", [numbers[0]])]
    for number in numbers[1:]:
        operation = "+-*"[int(next(draws) * 3)]
        if operation == "*":
            terms[-1][1].append(number)
        else:
            terms.append((operation, [number]))
    spelled = [
        (sign == "-", -math.prod(factors), "*".join(map(str, sorted(factors, reverse=True))))
        for sign, factors in terms
    ]
    text = "".join(f"{'-' if negative else '+'}{term}" for negative, _, term in sorted(spelled))
    return text[1:], sum(value if negative else -value for negative, value, _ in spelled)
