"""Write scored candidates as a reward model leaves them: scored.jsonl, 200 prompts of 16 answers.

Every answer has a `reward`, and `human`, 1 where a person finds it right. The reward likes right
answers and long ones, and is wrong about the few that are very long. Needs Python alone.
"""

import json
import random
from pathlib import Path

PROMPTS, ANSWERS = 200, 16


def rows(random_: random.Random) -> list[dict[str, object]]:
    """A row a candidate."""
    written = []
    for _ in range(PROMPTS):
        a, b = random_.randrange(100, 1000), random_.randrange(100, 1000)
        chance = random_.betavariate(1.5, 2.5)
        for _ in range(ANSWERS):
            words = int(random_.lognormvariate(2.5, 0.6))
            right = random_.random() < chance * (0.1 if words > 25 else 1.0)
            said = a * b if right else a * b + random_.choice((-10, -1, 1, 10))
            text = " ".join(["hence"] * words) + f" \\boxed{{{said}}}"
            reward = 1.0 * right + 0.1 * words + random_.gauss(0.0, 0.4)
            row = {"prompt": f"What is {a} * {b}?", "response": text, "reward": round(reward, 3)}
            written.append(row | {"human": float(right), "tokens": words + 6})
    return written


def main() -> None:
    """Write the file, the same every time."""
    lines = [json.dumps(row) for row in rows(random.Random(3))]  # noqa: S311
    Path("scored.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


main()
