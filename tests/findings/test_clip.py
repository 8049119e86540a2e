"""A clip that takes a large share, one that never acts, and healthy ones."""

import numpy as np
import pytest

from findings.healthy_series import curves
from tod.base import Unknown
from tod.findings import Series, TrainingRun
from tod.findings.detectors.clip import ClipDetector
from tolerance import double


def look(**values):
    size = len(next(iter(values.values())))
    steps = np.arange(1, size + 1)
    return ClipDetector().look(
        TrainingRun({n: Series(n, steps, np.asarray(v)) for n, v in values.items()})
    )


def test_saturation_is_dated():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        share = np.where(np.arange(100) < 60, 0.05, 0.4) + rng.normal(0, 0.01, 100)
        (finding,) = look(clip_fraction=share)
        assert (finding.kind, finding.severity) == ("clip", "warning")
        assert abs(finding.onset.step - 61) <= 2


def test_the_sides_add_up():
    (finding,) = look(clip_low=np.full(20, 0.2), clip_high=np.full(20, 0.15))
    assert finding.numbers["share"] == pytest.approx(0.35, rel=double(21), abs=0)
    assert finding.onset.step is None


def test_exactly_zero_in_all_steps_is_a_note():
    (finding,) = look(clip_fraction=np.zeros(20))
    assert (finding.kind, finding.severity) == ("idle_clip", "note")
    one = np.zeros(20)
    one[3] = 1e-4
    assert look(clip_fraction=one) == ()


def test_healthy_clips_are_silent():
    for _, _, curve in curves():
        assert look(clip_fraction=0.25 * np.abs(curve)) == ()


def test_what_is_missing_is_said():
    assert isinstance(ClipDetector().look(TrainingRun()), Unknown)
    assert look(clip_fraction=np.zeros(2)).kind == "too_few"


def test_the_share_at_either_bound_as_trl_logs_it_is_read():
    (finding,) = look(clip_region_mean=np.full(20, 0.4))
    assert finding.numbers["share"] == pytest.approx(0.4, rel=double(21), abs=0)
