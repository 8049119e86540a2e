"""Leaps of the gradient norm, against heavy noise, trends and jumps that are none."""

import numpy as np

from findings.healthy_series import curves
from tod.base import Unknown
from tod.findings import Series, TrainingRun
from tod.findings.detectors.gradient_spikes import GradientSpikesDetector


def look(values):
    steps = np.arange(1, len(values) + 1)
    return GradientSpikesDetector().look(
        TrainingRun({"grad_norm": Series("grad_norm", steps, values)})
    )


def test_spikes_are_counted_and_dated():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        norm = np.exp(rng.normal(0, 0.2, 100))
        norm[[40, 55, 70, 88]] *= 30
        (finding,) = look(norm)
        assert finding.severity == "warning"
        assert finding.onset.step == 41
        assert finding.numbers["spikes"] == 4
        assert finding.evidence[0][1] == "41, 56, 71, 89"


def test_two_spikes_are_too_few():
    norm = np.ones(100)
    norm[[40, 55]] = 30
    assert look(norm) == ()


def test_healthy_gradients_are_silent():
    for i, (_, rng, curve) in enumerate(curves()):
        noise = rng.normal(0, (0.1, 0.3, 0.5)[i % 3], len(curve))
        assert look(np.exp(3 * curve + noise)) == ()


def test_a_new_level_is_no_spike():
    assert look(np.where(np.arange(100) < 50, 1.0, 20.0)) == ()


def test_steps_without_a_gradient_are_no_usual_ones():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        norm = np.exp(rng.normal(0, 0.3, 300)) * (rng.random(300) < 0.3)
        assert look(norm) == ()
        norm[[90, 140, 220]] = 60.0
        (finding,) = look(norm)
        assert finding.evidence[0][1] == "91, 141, 221"
        usual = np.median([x for x in norm if 0 < x < 60])
        assert finding.numbers["usual"] == usual


def test_a_run_that_hardly_ever_moved_is_not_read():
    norm = np.zeros(200)
    norm[::20] = 1.0
    assert look(norm).kind == "too_few"
    assert look(np.zeros(200)).why == "0 steps with a gradient"


def test_what_is_missing_is_said():
    assert isinstance(GradientSpikesDetector().look(TrainingRun()), Unknown)
    assert look(np.ones(5)).kind == "too_few"
