"""What every real writer is handed: two steps of three groups of four, skewed and ragged.

Some answers hold tokens of a tool (``on`` = 0), whose log-probs are 0. All numbers are exact in
32 bits, so that what a framework casts comes back as it was.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

STEPS, GROUPS, K = (7, 8), 3, 4
PAD, END = 0, 1
WORDS = 64


@dataclass(frozen=True)
class Rollout:
    """One candidate, and all that any framework records of it."""

    step: int
    group: int
    place: int
    prompt: list[int]
    ids: list[int]
    on: list[int]
    mu: list[float]
    old: list[float]
    ref: list[float]
    reward: float
    advantage: float = 0.0


def make() -> list[Rollout]:
    """The candidates, always the same."""
    rng = np.random.default_rng(20)
    return [
        rollout for step in STEPS for group in range(GROUPS) for rollout in _group(rng, step, group)
    ]


def _group(rng: np.random.Generator, step: int, group: int) -> Iterator[Rollout]:
    prompt = rng.integers(2, WORDS, size=int(rng.integers(2, 6))).tolist()
    rewards = np.round(rng.beta(0.6, 0.8, size=K) * 64) / 64
    rewards[rng.integers(K)] = 1.0
    spread = rewards.std(ddof=1) + 1e-6
    for place in range(K):
        length = int(rng.integers(1, 9))
        on = np.ones(length, dtype=np.int64)
        if length >= 6:
            on[2:4] = 0
        mu = -np.ceil(rng.gamma(0.7, 0.6, size=length) * 256) / 256 * on
        old = np.minimum(mu + np.round(25 * rng.normal(size=length)) / 256, 0.0) * on
        ref = np.minimum(old - np.abs(np.round(50 * rng.normal(size=length))) / 256, 0.0) * on
        yield Rollout(
            step,
            group,
            place,
            prompt,
            [*rng.integers(2, WORDS, size=length - 1).tolist(), END],
            on.tolist(),
            (mu + 0.0).tolist(),
            (old + 0.0).tolist(),
            (ref + 0.0).tolist(),
            float(rewards[place]),
            float((rewards[place] - rewards.mean()) / spread),
        )


def by_step(given: list[Rollout]) -> Iterator[tuple[int, list[Rollout]]]:
    """The candidates of every step."""
    for step in STEPS:
        yield step, [r for r in given if r.step == step]


def groups(given: list[Rollout]) -> list[list[Rollout]]:
    """The candidates of every group."""
    return [given[i : i + K] for i in range(0, len(given), K)]


def pad(rows: list[list[float]], fill: float = 0, *, left: bool = False) -> list[list[float]]:
    """Rows of one length, padded on the right or the left."""
    width = max(map(len, rows))
    spare = [[fill] * (width - len(row)) for row in rows]
    return [more + row if left else row + more for row, more in zip(rows, spare, strict=True)]


def tokenizer() -> PreTrainedTokenizerFast:
    """Word ``w17`` for token 17; ``<pad>`` and ``</s>`` are special."""
    words = {"<pad>": PAD, "</s>": END} | {f"w{i}": i for i in range(2, WORDS)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))  # noqa: S106 - no password
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")  # noqa: S106


def save(given: list[Rollout], path: Path) -> None:
    """Write the candidates as JSON lines, for whoever checks the files."""
    lines = [json.dumps(asdict(r)) for r in given]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
