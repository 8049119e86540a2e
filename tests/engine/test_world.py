"""Processes and micro-batches change nothing but the order of additions."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tolerance import rounding

HERE = Path(__file__).parent
Result = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def gradient(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Runs the script in real processes under torchrun; results by their arguments."""
    seen: dict[tuple[object, ...], Result] = {}
    place = tmp_path_factory.mktemp("world")
    (place / "tests_engine_conftest.py").write_text((HERE / "conftest.py").read_text())

    def run(processes: int, dtype: str, micro_batch: int = 16384, contexts: int = 8) -> Result:
        key = (processes, dtype, micro_batch, contexts)
        if key not in seen:
            output = place / f"{'-'.join(map(str, key))}.npz"
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            command += ["--nproc_per_node", str(processes), str(HERE / "world_script.py")]
            command += [str(output), dtype, str(micro_batch), str(contexts)]
            environment = {**os.environ, "PYTHONPATH": str(place)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
            seen[key] = dict(np.load(output))
        return seen[key]

    return run


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


WIDTH, INNER, HEAD, POSITIONS, VOCABULARY, LAYERS = 96, 256, 32, 64, 21, 3
LAYER = 2 * WIDTH + HEAD + POSITIONS + 3 * WIDTH + INNER
"""Lengths of a layer's sums: norms, scores, attention, products into the layer and back."""
FORWARD = LAYERS * LAYER + 2 * WIDTH + VOCABULARY
ROWS, TOKENS = 32, 640
LOG_PROB = 10.0
"""Size of the logits that log π is the difference of."""


def apart(dtype: str) -> float:
    """How far two orders of the sums of one gradient may be apart, relative to its norm.

    Forward, back, then over the tokens. Rows of a group pull with opposite signs, so that their
    sum is as small as one of random directions: √rows smaller than the sum of their norms.
    """
    return 2 * rounding(dtype, 2 * FORWARD + TOKENS, ROWS**0.5, sigmas=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_processes_have_the_gradient_of_one(
    gradient: Callable[..., Result], dtype: str
) -> None:
    one, two = gradient(1, dtype), gradient(2, dtype)
    assert int(one["world_size"]) == 1
    assert int(two["world_size"]) == 2
    assert np.array_equal(one["ids"], two["ids"])
    log_bound = 2 * rounding(dtype, FORWARD, LOG_PROB)
    # the second update starts from parameters that differ by rounding, which Adam passes on
    assert relative(two["gradients"][0], one["gradients"][0]) <= apart(dtype)
    assert np.abs(two["log_policy"] - one["log_policy"]).max() <= log_bound
    assert np.allclose(two["activation"], one["activation"], atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tokens", [420, 210, 110])
def test_micro_batches_have_the_gradient_of_the_batch(
    gradient: Callable[..., Result], dtype: str, tokens: int
) -> None:
    whole, cut = gradient(1, dtype), gradient(1, dtype, tokens)
    assert relative(cut["gradients"][0], whole["gradients"][0]) <= apart(dtype)


def test_a_process_without_contexts(gradient: Callable[..., Result]) -> None:
    one, two = gradient(1, "float64", contexts=1), gradient(2, "float64", contexts=1)
    assert relative(two["gradients"][0], one["gradients"][0]) <= apart("float64")
