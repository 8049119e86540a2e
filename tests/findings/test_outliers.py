"""One outlying step is no level to fall from, and noise is left as it is."""

import numpy as np
import pytest

from tod.findings import Series, TrainingRun, find
from tod.findings.change import without_outliers


@pytest.mark.parametrize("size", [5.0, 20.0, 100.0, 1e6, 1e20])
def test_one_outlying_step_is_no_fall(size: float) -> None:
    kinds = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = np.linspace(0.2, 0.5, 60) + 0.02 * rng.normal(size=60)
        values[rng.integers(3, 57)] = size
        run = TrainingRun(series={"reward": Series("reward", np.arange(1, 61), values)})
        kinds += [finding.kind for finding in find(run, ["reward_fall"]).faults]
    assert kinds == []


def test_noise_and_levels_of_two_steps_stay() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=2000)
    assert (without_outliers(noise) != noise).mean() < 1e-3  # beyond 8 deviations of a median
    level = noise.copy()
    level[1000:1002] += 100
    assert np.array_equal(without_outliers(level)[1000:1002], level[1000:1002])
