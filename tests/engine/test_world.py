"""Processes and micro-batches change nothing but the order of additions."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import warm
from tolerance import of_gradient, of_log_prob, of_sequence

HERE = Path(__file__).parent
Result = dict[str, np.ndarray]
WHOLE, TOKENS = 16384, (420, 210, 110)
ALONE = [f"{t}-{m}-8" for t in ("float32", "float64") for m in (WHOLE, *TOKENS)]
SETTINGS = {
    (1, 8): ALONE,
    (1, 1): [f"float64-{WHOLE}-1"],
    (2, 8): [f"float32-{WHOLE}-8", f"float64-{WHOLE}-8"],
    (2, 1): [f"float64-{WHOLE}-1"],
}
"""What is asked of so many processes on so many prompts: starting takes longer than the work."""


@pytest.fixture(scope="module")
def gradient(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Runs the script in real processes; results by their arguments."""
    folders: dict[tuple[int, int], Path] = {}

    def run(processes: int, dtype: str, micro_batch: int = WHOLE, contexts: int = 8) -> Result:
        asked = (processes, contexts)
        if asked not in folders:
            place = folders[asked] = tmp_path_factory.mktemp(f"world-{processes}-{contexts}")
            (place / "tests_engine_conftest.py").write_text((HERE / "conftest.py").read_text())
            path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": path}
            script, words = HERE / "world_script.py", [str(place), *SETTINGS[asked]]
            if processes == 1:
                done = warm.training().run(*words, script=script, env=environment)
            else:
                command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
                command += ["--nproc_per_node=2", str(script), *words]
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
        return dict(np.load(folders[asked] / f"{dtype}-{micro_batch}-{contexts}.npz"))

    return run


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.slow  # test_world_cases asks two processes for the same in double precision
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
@pytest.mark.parametrize("tokens", TOKENS)
def test_micro_batches_have_the_gradient_of_the_batch(
    gradient: Callable[..., Result], dtype: str, tokens: int
) -> None:
    whole, cut = gradient(1, dtype), gradient(1, dtype, tokens)
    assert relative(cut["gradients"][0], whole["gradients"][0]) <= of_gradient(dtype)


@pytest.mark.slow
def test_a_process_without_contexts(gradient: Callable[..., Result]) -> None:
    one, two = gradient(1, "float64", contexts=1), gradient(2, "float64", contexts=1)
    assert relative(two["gradients"][0], one["gradients"][0]) <= of_gradient("float64")
