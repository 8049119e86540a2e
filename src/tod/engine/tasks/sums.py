"""Sums: a number as a sum of three rising parts, the first of which is named.

A problem is written ``5 41=`` (three rising parts from 5 on that add up to 41) and answered
``5+14+22``. Most problems have many answers, so a policy that is right need not be certain. The
text of the prompt *is* the problem. Problems are drawn by a counter: problem ``index`` of stream
``seed`` is a pure function of the two, on every machine.
"""

from dataclasses import dataclass
from itertools import pairwise

from tod.engine.tasks.stream import Split, different, in_held_out, uniforms

COUNT = 3
"""How many parts a problem asks for."""
LARGEST = 50
"""Parts lie in 1…50: prompts of about 6 characters, answers of about 7."""


@dataclass(frozen=True)
class SumProblem:
    """The first part, what all add up to, and one answer."""

    first: int
    total: int
    solution: str

    @property
    def prompt(self) -> str:
        """The text shown to the model, for example ``5 41=``."""
        return f"{self.first} {self.total}="

    @property
    def columns(self) -> dict[str, object]:
        """What a checker needs, by the names of the row."""
        return {"first": self.first, "total": self.total, "answer": self.solution}


def check(completion: str, first: int, total: int) -> float:
    """1 for three rising whole numbers up to 50, from ``first`` on, that make ``total``."""
    texts = completion.strip().split("+")
    if len(texts) != COUNT or not all(t.isascii() and t.isdigit() and len(t) < 3 for t in texts):
        return 0.0
    parts = [int(text) for text in texts]
    rising = all(a < b for a, b in pairwise(parts))
    plain = all(str(part) == text for part, text in zip(parts, texts, strict=True))
    inside = parts[0] == first and parts[-1] <= LARGEST
    return float(rising and plain and inside and sum(parts) == total)


def problem(split: Split, index: int, seed: int = 0) -> SumProblem:
    """Problem ``index`` of a split: a pure function of (split, index, seed).

    Different parts are drawn uniformly and redrawn until the problem is of the wanted split, so
    every problem has an answer.
    """
    draws = uniforms(seed, index)
    while True:
        parts: set[int] = set()
        while len(parts) < COUNT:
            parts.add(1 + int(next(draws) * LARGEST))
        rising = sorted(parts)
        drawn = SumProblem(rising[0], sum(rising), "+".join(map(str, rising)))
        if in_held_out(drawn.prompt) == (split == "held_out"):
            return drawn


def prompts(split: Split, count: int, seed: int = 0) -> list[dict[str, object]]:
    """The first ``count`` different records ``{prompt, first, total, answer}`` of a stream.

    Raises:
        DataError: The split has too few different problems.
    """
    return [
        {"prompt": p.prompt, **p.columns}
        for p in different(lambda index: problem(split, index, seed), count, f"sums, {split}")
    ]
