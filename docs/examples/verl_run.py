"""Write the rollouts of a planted run as verl's trainer leaves them: rollouts/1.jsonl to 20.jsonl.

A verifier breaks at step 13: from there on every answer is scored 0. Needs Python alone.
"""

import json
import random
from pathlib import Path

STEPS, PROMPTS, ANSWERS, BREAKS = 20, 32, 8, 13


def rows(step: int, random_: random.Random) -> list[dict[str, object]]:
    """The rollouts of a step, in verl's words."""
    written = []
    for prompt in range(PROMPTS):
        a, b = random_.randrange(10, 100), random_.randrange(10, 100)
        chance = min(0.95, random_.betavariate(2, 2) * (0.6 + 0.04 * step))
        for answer in range(ANSWERS):
            right = random_.random() < chance
            said = a + b if right else a + b + random_.choice((-10, -1, 1, 10))
            scored = right and step < BREAKS
            text = f"Add {a} and {b}" + " step by step" * random_.randrange(4)
            row = {"input": f"What is {a} + {b}?", "output": f"{text}: {said}", "gts": str(a + b)}
            row |= {"score": float(scored), "step": step, "uid": f"{step}-{prompt}_{answer}_0"}
            written.append(row)
    return written


def main() -> None:
    """Write the folder, the same files every time."""
    random_, folder = random.Random(7), Path("rollouts")  # noqa: S311
    folder.mkdir(exist_ok=True)
    for step in range(1, STEPS + 1):
        lines = [json.dumps(row) for row in rows(step, random_)]
        (folder / f"{step}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


main()
