"""Fixtures every room uses: the three backends, and seeded ragged data."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
from hypothesis import settings

from tod.base import Groups
from tolerance import of_weights, rounding

try:
    import torch
except ModuleNotFoundError:  # the light tests on another Python: scripts/test_pythons.py
    torch = None

THREADS = int(os.environ["OMP_NUM_THREADS"])
if torch is not None:
    torch.set_num_threads(THREADS)
settings.register_profile("tod", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tod")


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """The threads of the suite again after a test: `tod run` chooses its own by the load.

    A run in this process is compared bit for bit with one in another.
    """
    yield
    if torch is not None and torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)


@dataclass(frozen=True)
class Backend:
    """One library and precision: how to make its arrays, and how exact it is."""

    name: str
    make: Callable[[Any], Any]
    dtype: str

    def rounding(self, n: float, condition: float = 1.0) -> float:
        """How far a result of ``n`` operations and its oracle are apart, relative to it."""
        return 2 * rounding(self.dtype, n, condition)

    def of_weights(self, k: float, spread: float) -> float:
        """How far a statistic of ``k`` weights and its oracle are apart."""
        return of_weights(self.dtype, k, spread)


BACKENDS = [
    Backend("numpy_f64", lambda x: np.asarray(x, dtype=np.float64), "float64"),
    Backend("torch_f64", lambda x: torch.tensor(np.asarray(x), dtype=torch.float64), "float64"),
    Backend("torch_f32", lambda x: torch.tensor(np.asarray(x), dtype=torch.float32), "float32"),
][: 1 if torch is None else None]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Runs the test over numpy f64, torch f64 and torch f32."""
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(20251218)


@pytest.fixture
def ragged() -> Groups:
    """Unequal groups, singletons among them."""
    return Groups(np.array([4, 1, 7, 2, 16, 3, 1, 5]))


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"dump_{name}", Path(__file__).parent / "formats" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"dump_{name}"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def writers() -> Any:
    """Functions that write one small world in every format."""
    module: Any = _load("writers")
    module.write_verl_batch = _load("queue_writer").write_verl_batch
    return module


@pytest.fixture(scope="session")
def world(writers: Any) -> Any:
    """Three steps of six groups of four."""
    return writers.make_world()
