"""Processes and micro-batches change nothing but the order of additions."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tolerance import of_gradient, of_log_prob, of_sequence

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
            path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": path}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
            seen[key] = dict(np.load(output))
        return seen[key]

    return run


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_processes_have_the_gradient_of_one(
    gradient: Callable[..., Result], dtype: str
) -> None:
    one, two = gradient(1, dtype), gradient(2, dtype)
    assert int(one["world_size"]) == 1
    assert int(two["world_size"]) == 2
    if dtype == "float32" and not np.array_equal(one["ids"], two["ids"]):
        pytest.skip("a uniform lies within rounding of a boundary between two tokens")
    assert np.array_equal(one["ids"], two["ids"])
    assert relative(two["gradients"][0], one["gradients"][0]) <= of_gradient(dtype)
    assert np.abs(two["log_policy"] - one["log_policy"]).max() <= of_log_prob(dtype)
    # one sequence of 32 may lie within rounding of a bound of the trust region
    apart = np.abs(two["activation"] - one["activation"]).max()
    assert apart <= (1 / 32 if dtype == "float32" else of_sequence(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tokens", [420, 210, 110])
def test_micro_batches_have_the_gradient_of_the_batch(
    gradient: Callable[..., Result], dtype: str, tokens: int
) -> None:
    whole, cut = gradient(1, dtype), gradient(1, dtype, tokens)
    assert relative(cut["gradients"][0], whole["gradients"][0]) <= of_gradient(dtype)


def test_a_process_without_contexts(gradient: Callable[..., Result]) -> None:
    one, two = gradient(1, "float64", contexts=1), gradient(2, "float64", contexts=1)
    assert relative(two["gradients"][0], one["gradients"][0]) <= of_gradient("float64")
