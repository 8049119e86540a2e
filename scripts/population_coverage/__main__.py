"""Count how often population intervals cover the truth, and how often a word of theirs is wrong.

Usage: python scripts/population_coverage run OUTCOMES.jsonl [--seeds reporting] [--rows 0/1 legs …]
       python scripts/population_coverage run NEAR.jsonl --near --draws 4 --worlds 500
       python scripts/population_coverage table OUTCOMES.jsonl NEAR.jsonl … [--page regimes.md]

A second `run` goes on where the first one stopped. ``--near`` passes over worlds whose truth is not
within 0.05 of a bound: one in five is, and only they can tell how often a word flips. Methods are
compared with ``--seeds choosing``; the page is made with ``--seeds reporting``, or ``--seeds
fresh``, which no choice has looked at.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from population_coverage.reading import read
from population_coverage.rows import HARD_ROWS, ROWS, world_of
from population_coverage.tables import near_a_bound, page
from population_coverage.world import World

SEEDS = {"choosing": 1_000_000, "reporting": 2_000_000, "fresh": 3_000_000}
SIZES, PROMPTS = (4, 8, 16, 32, 64), (64, 128)
QUANTILES = {"median": 0.5, "q10": 0.1}
SOONEST = 10.0
"""Seconds between lines of progress."""


def outcome(world: World, k: int, prompts: int, rng: np.random.Generator) -> dict[str, Any]:
    """Truth and reading of one draw."""
    sample = world.draw(rng, prompts, k)
    start = time.process_time()
    said = read(sample, legs=world.family == "legs").to_dict()
    seconds = time.process_time() - start
    truth = {name: world.truth(k, share) for name, share in QUANTILES.items()}
    return {"name": world.name, "truth": truth, "said": said, "seconds": round(seconds, 4)}


Cell = tuple[str, int, int, int, int, int]
"""Row, K, prompts, number of the world, draw, seed."""


@dataclass(frozen=True)
class Plan:
    """What is drawn.

    Attributes:
        rows: Families and hard worlds.
        sizes: Rollouts of a group.
        prompts: Groups of a draw.
        worlds: Worlds of a row.
        draws: Of a world, for every K and number of prompts.
        seed: Of all worlds.
        near: Whether worlds away from the bounds are passed over.
    """

    rows: list[str]
    sizes: list[int]
    prompts: list[int]
    worlds: int
    draws: int
    seed: int
    near: bool = False

    def cells(self, number: int, row: str) -> Iterator[Cell]:
        """The draws of a world of a row."""
        every = product(self.sizes, self.prompts, range(self.draws))
        return ((row, k, prompts, number, draw, self.seed) for k, prompts, draw in every)


def run(path: Path, plan: Plan) -> None:
    """Append the outcomes that the file does not hold yet, one world after the other."""
    cut_off(path)
    done = {tuple(line["cell"]) for line in recorded(path)}
    started = shown = time.monotonic()
    with path.open("a", encoding="utf-8") as file:
        for number in range(plan.worlds):
            for row in plan.rows:
                missing = [cell for cell in plan.cells(number, row) if cell not in done]
                world = world_of(row, number, plan.seed) if missing else None
                for cell in missing:
                    _, k, prompts, _, draw, seed = cell
                    assert world is not None
                    if plan.near and not near_a_bound(world.truth(k, QUANTILES["median"])):
                        continue
                    rng = np.random.default_rng([seed, number, k, prompts, draw])
                    line = {"cell": cell, **outcome(world, k, prompts, rng)}
                    line |= {"near": True} if plan.near else {}
                    file.write(json.dumps(line) + "\n")
            file.flush()
            if time.monotonic() - shown > SOONEST:
                shown = time.monotonic()
                print(f"world {number + 1}/{plan.worlds}, {shown - started:.0f} s", flush=True)


def cut_off(path: Path) -> None:
    """Remove a last line that was not written to its end."""
    if path.exists():
        text = path.read_bytes()
        path.write_bytes(text[: text.rfind(b"\n") + 1])


def recorded(path: Path) -> list[dict[str, Any]]:
    """Outcomes of a file; a last line that is being written is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def main() -> None:
    """Run, or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("outcomes", type=Path, nargs="+")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--seeds", choices=list(SEEDS), default="choosing")
    parser.add_argument("--rows", nargs="+", default=[*ROWS, *HARD_ROWS])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--prompts", nargs="+", type=int, default=list(PROMPTS))
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--near", action="store_true")
    told = parser.parse_args()
    if told.what == "run":
        draws, seed = told.draws, SEEDS[told.seeds]
        plan = Plan(told.rows, told.sizes, told.prompts, told.worlds, draws, seed, told.near)
        run(told.outcomes[0], plan)
        return
    outcomes = [line for path in told.outcomes for line in recorded(path)]
    text = page(outcomes, list(HARD_ROWS))
    if told.page is None:
        sys.stdout.write(text)
    else:
        told.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
