"""Five planted runs as files of verl and of TRL, read back and diagnosed: one first line each.

Usage: python scripts/five_planted_runs.py [--seeds 50] [--first-seed 700000]

Healthy; every prompt fails from step 9; answers grow twelve-fold; every answer is one text from
step 11; rewards are coin flips. Rewards and texts only, 20 steps of 32 prompts of 8 answers; then
12 x 8 x 8 and 12 x 32 x 2, where a run is named or said not to be readable.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tod.findings import Findings, find, run_of
from tod.formats import read

NAMES = ("healthy", "all fail", "length", "one text", "coin")
SHAPES = ((20, 32, 8), (12, 8, 8), (12, 32, 2))
EXPECTED = {
    "healthy": (None, None),
    "all fail": ("all_fail", 9),
    "length": ("length_growth", None),
    "one text": ("one_text", 11),
    "coin": ("noise", None),
}


@dataclass
class Planted:
    """Columns of a run, [T, C, K]."""

    reward: np.ndarray
    words: np.ndarray
    same: np.ndarray


def plant(name: str, seed: int, shape: tuple[int, int, int]) -> Planted:
    """Rewards, lengths in words, and whether an answer is the one text."""
    rng = np.random.default_rng(seed)
    steps, prompts, _ = shape
    difficulty = rng.normal(0, 1.5, (steps, prompts, 1))
    skill = np.linspace(-1, 1.5, steps)[:, None, None]
    p = 1 / (1 + np.exp(difficulty - skill)) + np.zeros(shape)
    growth = np.exp(np.linspace(0, np.log(12), steps)) if name == "length" else np.ones(steps)
    words = 20 * growth[:, None, None] * np.exp(rng.normal(0, 0.3, shape))
    same = np.zeros(shape, dtype=bool)
    if name == "coin":
        p[:] = 0.5
    if name == "all fail":
        p[8:] = 0
    if name == "one text":
        same[10:], p[10:] = True, 0
    return Planted((rng.random(shape) < p).astype(float), np.maximum(words, 1).astype(int), same)


def rows(planted: Planted) -> Iterator[tuple[int, int, int, str, str, float]]:
    """Step, prompt, rollout, prompt's text, answer, reward."""
    for t, c, i in np.ndindex(planted.reward.shape):
        answer = "the same words each time" if planted.same[t, c, i] else f"{t} {c} {i}"
        if not planted.same[t, c, i]:
            answer += " word" * int(planted.words[t, c, i])
        yield t + 1, c, i, f"task {t + 1} {c}", answer, float(planted.reward[t, c, i])


def write_verl(folder: Path, planted: Planted) -> None:
    """One JSONL a step, as verl's trainer writes with rollout_data_dir."""
    lines: dict[int, list[str]] = {}
    for step, c, i, prompt, answer, reward in rows(planted):
        row = {"input": prompt, "output": answer, "gts": "1", "score": reward, "step": step}
        row["uid"] = f"{step}-{c}_{i}_0"
        lines.setdefault(step, []).append(json.dumps(row))
    for step, text in lines.items():
        (folder / f"{step}.jsonl").write_text("\n".join(text) + "\n")


def write_trl(folder: Path, planted: Planted) -> None:
    """One Parquet a step, as TRL's GRPO writes with log_completions."""
    columns = ["step", "group", "i", "prompt", "completion", "accuracy_reward"]
    frame = pl.DataFrame(list(rows(planted)), schema=columns, orient="row")
    reward = pl.col("accuracy_reward")
    spread = reward.std().over("step", "group") + 1e-4
    advantage = (reward - reward.mean().over("step", "group")) / spread
    frame = frame.with_columns(advantage=advantage).drop("group", "i")
    place = folder / "completions"
    place.mkdir()
    for (step,), part in frame.group_by("step"):
        part.write_parquet(place / f"completions_{step:05d}.parquet")


WRITERS = {"verl": write_verl, "trl": write_trl}


def diagnosed(writer: str, planted: Planted) -> Findings:
    """The findings of the run's files."""
    with tempfile.TemporaryDirectory() as place:
        WRITERS[writer](Path(place), planted)
        return find(run_of(read([place])))


def answer_of(findings: Findings, name: str) -> str:
    """``named``, ``silent``, ``not readable`` or what else was said first."""
    kind, step = EXPECTED[name]
    first = findings.first
    if first is None and kind is None:
        return "silent"
    dated = (note for note in findings.notes if note.onset is not None)
    noted = first if first is not None else next(dated, None)
    if noted is not None and noted.kind == kind:
        at = None if noted.onset is None else noted.onset.step
        near = at == step or (at is not None and step is not None and abs(at - step) <= 1)
        return "named" if near else f"named at {at}"
    detector = "noise" if kind == "noise" else "length"
    if first is None and detector in findings.unknown:
        return "not readable"
    return "silent" if first is None else first.kind


def main() -> int:
    """Print a table; exit 1 if a run of the usual size is answered wrongly too often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=700_000)
    options = parser.parse_args()
    bad = 0
    for shape in SHAPES:
        for writer in WRITERS:
            for name in NAMES:
                said = Counter(
                    answer_of(diagnosed(writer, plant(name, seed, shape)), name)
                    for seed in range(options.first_seed, options.first_seed + options.seeds)
                )
                right = said["silent" if name == "healthy" else "named"]
                allowed = 0.96 if name == "coin" else 1.0
                bad += shape == SHAPES[0] and right < allowed * options.seeds
                told = ", ".join(f"{word} {count}" for word, count in said.most_common())
                print(f"{' x '.join(map(str, shape)):>12}  {writer:5} {name:9} {told}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
