"""Preference training and distillation: falls that are usual, and those that are not."""

import numpy as np

from findings.healthy_series import ar, curves
from tod.base import Unknown
from tod.findings import Series, TrainingRun
from tod.findings.detectors.distillation import DistillationDetector
from tod.findings.detectors.preference import PreferenceDetector


def run(**values):
    return TrainingRun(
        {
            name: Series(name, np.arange(1, len(v) + 1), np.asarray(v, float))
            for name, v in values.items()
        }
    )


def falling(to, seed=0, size=100, at=30):
    rng = np.random.default_rng(seed)
    ramp = np.clip((np.arange(size) - at) / (size - at), 0, 1)
    return -100 + (to + 100) * ramp + ar(rng, size, 2.0, 0.3)


def test_a_falling_chosen_with_a_growing_margin_is_usual():
    for seed in range(20):
        both = run(chosen_logp=falling(-140, seed), rejected_logp=falling(-190, seed + 50))
        (finding,) = PreferenceDetector().look(both)
        assert (finding.kind, finding.severity) == ("chosen_falls", "note")
        assert any("unknown" in text for _, text in finding.evidence)


def test_both_falling_with_drifting_length_is_a_collapse():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        length = np.exp(np.linspace(5, 5.8, 100) + rng.normal(0, 0.03, 100))
        (finding,) = PreferenceDetector().look(
            run(
                chosen_logp=falling(-140, seed),
                rejected_logp=falling(-190, seed + 50),
                length=length,
            )
        )
        assert (finding.kind, finding.severity) == ("preference_collapse", "warning")
        assert abs(finding.onset.step - 31) <= 12


def test_a_very_deep_fall_or_a_lost_margin_is_a_collapse():
    deep = run(chosen_logp=falling(-260), rejected_logp=falling(-320, 1))
    assert PreferenceDetector().look(deep)[0].fault
    lost = run(chosen_logp=falling(-160), rejected_logp=falling(-150, 1))
    assert "margin" in PreferenceDetector().look(lost)[0].headline
    steady = np.full(100, 180.0) + np.random.default_rng(0).normal(0, 5, 100)
    usual = run(chosen_logp=falling(-140), rejected_logp=falling(-190, 1), length=steady)
    assert not PreferenceDetector().look(usual)[0].fault


def test_healthy_preference_is_silent():
    for _, _, curve in curves():
        small = run(chosen_logp=-100 - 10 * curve, rejected_logp=-110 - 60 * curve)
        assert PreferenceDetector().look(small) == ()


def gap(values):
    return DistillationDetector().look(run(distillation_loss=values))


def closing(left=0.1, size=100, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(size) / size
    return (left + (1 - left) * np.exp(-5 * t)) * np.exp(rng.normal(0, 0.04, size))


def test_a_gap_that_grows_again_is_dated():
    for seed in range(20):
        grown = closing(seed=seed) + 0.6 * np.clip((np.arange(100) - 60) / 30, 0, 1)
        (finding,) = gap(grown)
        assert (finding.kind, finding.severity) == ("distillation_rises", "warning")
        assert abs(finding.onset.step - 61) <= 6


def test_a_gap_that_stands_is_said_by_how_much_is_left():
    rng = np.random.default_rng(0)
    (finding,) = gap(0.9 + rng.normal(0, 0.005, 100))
    assert (finding.kind, finding.severity) == ("distillation_stalls", "warning")
    (finding,) = gap(0.6 + 0.4 * np.exp(-np.arange(100) / 8) + rng.normal(0, 0.005, 100))
    assert finding.severity == "note"


def test_a_gap_that_closes_is_silent():
    for seed in range(200):
        assert gap(closing(0.1 + 0.2 * (seed % 2), size=20 + 20 * (seed % 5), seed=seed)) == ()


def test_what_is_missing_is_said():
    for detector in (PreferenceDetector(), DistillationDetector()):
        assert isinstance(detector.look(TrainingRun()), Unknown)
    assert gap(np.ones(5)).kind == "too_few"
    few = PreferenceDetector().look(run(chosen_logp=np.zeros(3), rejected_logp=np.zeros(3)))
    assert few.kind == "too_few"
