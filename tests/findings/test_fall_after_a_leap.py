"""The onset of a fall from the best level, where the series leapt up before it."""

import numpy as np
import pytest

from tod.findings import Series, TrainingRun, find


def fall(values):
    steps = np.arange(1, len(values) + 1)
    run = TrainingRun({"reward": Series("reward", steps, np.asarray(values, dtype=float))})
    (finding,) = [f for f in find(run).all if f.kind == "reward_fall"]
    return finding


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("up", [15, 25])
def test_a_larger_leap_up_before_it_is_not_its_onset(seed, up):
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.full(up, -10.0), np.full(20, 0.7), np.full(80, -5.0)])
    finding = fall(values + rng.normal(0, 0.1, len(values)))
    assert abs(finding.onset.step - (up + 21)) <= 1
    assert finding.onset.low <= up + 21 <= finding.onset.high
    assert up < finding.best_step <= up + 20


def test_levels_without_noise_are_dated_as_well():
    levels = [-10.0] * 8 + [0.1] * 8 + [0.7] * 8 + [-5.0] * 90
    assert fall(levels).onset.step == 25
