"""Bit flips, truncations and splices of valid files: an answer or a TodError, nothing else."""

import gzip
import random
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tod.base import TodError
from tod.formats import read


@dataclass(frozen=True)
class Case:
    """Files that one writer makes, packed or not, and what reading them takes."""

    writer: str
    pattern: str
    options: dict[str, Any] = field(default_factory=dict)
    mapping: dict[str, str] | None = None
    suffix: str = ""


ROLES = {"utility": "utility.reward", "context": "context", "step": "step", "log_mu": "log_mu"}
TEXT_ROLES = {"utility": "utility.reward", "prompt": "prompt", "log_old": "log_old"}
JSONL: dict[str, Any] = {"kind": "jsonl"}
CASES = {
    "verl": Case("write_verl", "*.jsonl"),
    "verl-gz": Case("write_verl", "*.jsonl", suffix=".gz"),
    "verl-zst": Case("write_verl", "*.jsonl", suffix=".zst"),
    "verl-queue": Case("write_verl_batch", "**/tq_batch.pt"),
    "trl": Case("write_trl", "*/*.parquet"),
    "nemo": Case("write_nemo", "*/train*.jsonl"),
    "skyrl": Case("write_skyrl", "*/*.pkl"),
    "skyrl-gz": Case("write_skyrl", "*/*.pkl", suffix=".gz"),
    "skyrl-evals": Case("write_skyrl_evals", "*/*/openai*.jsonl"),
    "slime": Case("write_slime", "*/[0-9].pt"),
    "slime-numpy": Case("write_slime", "*/[0-9].pt", {"numpy_rewards": True}),
    "slime-zst": Case("write_slime", "*/[0-9].pt", suffix=".zst"),
    "prime": Case("write_prime", "**/*.jsonl"),
    "tinker": Case("write_tinker", "**/*.*"),
    "swift": Case("write_swift", "*.jsonl"),
    "open-instruct": Case("write_open_instruct", "*rollouts*.jsonl"),
    "areal": Case("write_areal", "*/*/*.jsonl"),
    "tod": Case("write_tod", "*.parquet"),
    "tod-tokens": Case("write_tod", "*.parquet", {"tokens": True}),
    "tod-jsonl": Case("write_tod", "*.jsonl", JSONL),
    "tod-jsonl-tokens": Case("write_tod", "*.jsonl", {**JSONL, "tokens": True}),
    "tod-jsonl-zst": Case("write_tod", "*.jsonl", JSONL, suffix=".zst"),
    "mapping": Case("write_tod", "*.parquet", {}, ROLES),
    "mapping-jsonl": Case("write_tod", "*.jsonl", JSONL, TEXT_ROLES),
    "mapping-jsonl-gz": Case("write_tod", "*.jsonl", JSONL, ROLES, ".gz"),
}


def packed(data: bytes, suffix: str) -> bytes:
    """Compressed as the suffix says."""
    if suffix == ".gz":
        return gzip.compress(data, compresslevel=1, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if suffix == ".zst" else data


@pytest.fixture(scope="module")
def dumps(writers: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Small valid files of every case, plain."""
    world = writers.make_world(seed=1, steps=1, groups=2, k=2)
    found = {}
    for name, case in CASES.items():
        root = getattr(writers, case.writer)(world, tmp_path_factory.mktemp(name), **case.options)
        found[name] = sorted(path for path in root.glob(case.pattern) if path.is_file())
        assert read(found[name], mapping=case.mapping).source.rows
    return found


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One to eight small wounds."""
    body = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        kind = rng.random()
        at = rng.randrange(len(body)) if body else 0
        if kind < 0.6 and body:
            body[at] ^= 1 << rng.randrange(8)
        elif kind < 0.75:
            del body[at:]
        elif kind < 0.85:
            del body[at : at + rng.randrange(1, 40)]
        elif kind < 0.95:
            body[at:at] = rng.randbytes(rng.randrange(1, 12))
        else:
            body[at:at] = body[: rng.randrange(1, 200)]
    return bytes(body)


def attempt(name: str, paths: list[Path], seed: int, folder: Path) -> float:
    """Read damaged copies; how long it took. Packed ones are damaged inside, or in the packing."""
    rng, case = random.Random(seed), CASES[name]
    victim, inside = rng.randrange(len(paths)), rng.random() < 0.5
    copies = []
    for place, path in enumerate(paths):
        copy = folder / path.parent.name / (path.name + case.suffix)
        copy.parent.mkdir(exist_ok=True)
        data = path.read_bytes()
        if place == victim and inside:
            data = damaged(data, rng)
        data = packed(data, case.suffix)
        copy.write_bytes(damaged(data, rng) if place == victim and not inside else data)
        copies.append(copy)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read(copies, mapping=case.mapping, max_rejected=rng.choice((0.01, 1.0)))
        except TodError as error:
            told = str(error)
        else:
            told = "an answer"
    assert told
    return time.perf_counter() - begin


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**63))
@pytest.mark.parametrize("name", list(CASES))
def test_damage_is_an_answer_or_our_error(
    name: str, seed: int, dumps: dict[str, list[Path]], tmp_path: Path
) -> None:
    assert attempt(name, dumps[name], seed, tmp_path) < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_a_hundred_thousand_damaged_files(
    name: str, dumps: dict[str, list[Path]], tmp_path: Path
) -> None:
    longest = max(
        attempt(name, dumps[name], seed, tmp_path) for seed in range(100_000 // len(CASES) + 1)
    )
    assert longest < 20
