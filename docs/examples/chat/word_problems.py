"""Word problems of one step in the manner of GSM8K: a question, and its answer as a number.

Python docs/examples/chat/word_problems.py writes word_problems.jsonl next to it.
"""

import json
import random
from pathlib import Path

NAMES = ("Ada", "Ben", "Cem", "Dora", "Eli", "Fay", "Gus", "Ida")
THINGS = ("apples", "books", "coins", "eggs", "pens", "shells", "stamps", "tickets")
STORIES = (
    ("{n} has {a} {t} and gets {b} more. How many {t} does {n} have now?", "sum"),
    ("{n} had {sum} {t} and gave away {b}. How many {t} does {n} have left?", "a"),
    ("{n} has {b} boxes with {a} {t} each. How many {t} is that?", "product"),
    ("{n} shares {product} {t} equally among {b} friends. How many {t} does each get?", "a"),
)
ROWS = 160


def rows(seed: int = 11) -> list[dict[str, str]]:
    """The problems, each question once."""
    draw, found = random.Random(seed), {}  # noqa: S311
    while len(found) < ROWS:
        story, answer = draw.choice(STORIES)
        a, b = draw.randint(3, 20), draw.randint(2, 9)
        numbers = {"a": a, "b": b, "sum": a + b, "product": a * b}
        question = story.format(n=draw.choice(NAMES), t=draw.choice(THINGS), **numbers)
        found[question] = {"prompt": f"{question} Be brief.", "answer": str(numbers[answer])}
    return list(found.values())


if __name__ == "__main__":
    text = "".join(json.dumps(row) + "\n" for row in rows())
    Path(__file__).with_suffix(".jsonl").write_text(text, encoding="utf-8")
