"""Bit flips, truncations and splices of valid files: an answer or a TodError, nothing else."""

import random
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tod.base import TodError
from tod.integrations import read

WRITERS = {
    "verl": ("write_verl", "*.jsonl"),
    "trl": ("write_trl", "*/*.parquet"),
    "nemo": ("write_nemo", "*/train*.jsonl"),
    "skyrl": ("write_skyrl", "*/*.pkl"),
    "slime": ("write_slime", "*/[0-9].pt"),
    "prime": ("write_prime", "**/*.jsonl"),
    "tinker": ("write_tinker", "**/*.*"),
    "swift": ("write_swift", "*.jsonl"),
    "open-instruct": ("write_open_instruct", "*rollouts*.jsonl"),
    "areal": ("write_areal", "*/*/*.jsonl"),
    "tod": ("write_tod", "*.parquet"),
}


@pytest.fixture(scope="module")
def dumps(writers: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Small valid files of every format."""
    world = writers.make_world(seed=1, steps=1, groups=2, k=2)
    found = {}
    for name, (writer, pattern) in WRITERS.items():
        root = getattr(writers, writer)(world, tmp_path_factory.mktemp(name))
        found[name] = sorted(path for path in root.glob(pattern) if path.is_file())
        assert read(found[name]).source.rows
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


def attempt(paths: list[Path], seed: int, folder: Path) -> float:
    """Read damaged copies; how long it took."""
    rng = random.Random(seed)
    victim = rng.randrange(len(paths))
    copies = []
    for place, path in enumerate(paths):
        copy = folder / path.parent.name / path.name
        copy.parent.mkdir(exist_ok=True)
        data = path.read_bytes()
        copy.write_bytes(damaged(data, rng) if place == victim else data)
        copies.append(copy)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read(copies, max_rejected=rng.choice((0.01, 1.0)))
        except TodError as error:
            told = str(error)
        else:
            told = "an answer"
    assert told
    return time.perf_counter() - begin


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**63))
@pytest.mark.parametrize("name", list(WRITERS))
def test_damage_is_an_answer_or_our_error(
    name: str, seed: int, dumps: dict[str, list[Path]], tmp_path: Path
) -> None:
    assert attempt(dumps[name], seed, tmp_path) < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WRITERS))
def test_a_hundred_thousand_damaged_files(
    name: str, dumps: dict[str, list[Path]], tmp_path: Path
) -> None:
    longest = max(
        attempt(dumps[name], seed, tmp_path) for seed in range(100_000 // len(WRITERS) + 1)
    )
    assert longest < 20
