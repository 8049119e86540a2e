"""A KL that blows up or is too large, by token, by sequence and of unknown unit."""

import numpy as np
import pytest

from findings.healthy_series import ar, curves
from tod.base import Unknown
from tod.findings import Series, TrainingRun
from tod.findings.detectors.kl import KLDetector
from tod.findings.detectors.learning_rate import LearningRateDetector


def run(values, unit="nats per token", **others):
    steps = np.arange(1, len(values) + 1)
    series = {"kl": Series("kl", steps, np.asarray(values, float), unit=unit)}
    for name, more in others.items():
        series[name] = Series(name, steps, np.asarray(more, float))
    return TrainingRun(series)


def planted(factor, at=60, size=120, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(size)
    rise = 0.05 * (1 - np.exp(-t / 8)) + 0.002
    blow = np.exp(np.log(factor) * np.clip((t - at) / 12, 0, 1))
    return rise * blow * np.exp(ar(rng, size, 0.1, 0.3))


def test_a_blow_up_is_dated_and_critical_above_five_nats():
    for seed in range(20):
        (finding,) = KLDetector().look(run(planted(200, seed=seed)))
        assert (finding.kind, finding.severity) == ("kl_blowup", "critical")
        assert abs(finding.onset.step - 61) <= 3
    (finding,) = KLDetector().look(run(planted(20)))
    assert finding.severity == "warning"


def test_nats_of_a_sequence_are_counted_by_token():
    values = 100 * planted(20)
    (finding,) = KLDetector().look(run(values, "nats per sequence", length=np.full(120, 100.0)))
    assert finding.severity == "warning"
    (finding,) = KLDetector().look(run(values, "nats per token", length=np.full(120, 100.0)))
    assert finding.severity == "critical"


def test_a_large_kl_of_unknown_unit_is_a_note_that_says_so():
    slow = np.linspace(0, 12, 120)
    (finding,) = KLDetector().look(run(slow, ""))
    assert finding.severity == "note"
    assert "does not say" in finding.evidence[0][1]
    (finding,) = KLDetector().look(run(slow))
    assert finding.severity == "critical"
    assert KLDetector().look(run(slow, "nats per sequence")) == ()
    for either in (
        "nats, per token or per sequence unknown",
        "nats per token (per sequence where loss_agg_mode sums over tokens)",
    ):
        (finding,) = KLDetector().look(run(slow, either))
        assert finding.severity == "note"


@pytest.mark.parametrize(
    ("end", "unit", "severity"),
    [
        (4.0, "nats per token", "warning"),
        (400.0, "nats per sequence", "warning"),
        (6.0, "nats per token", "critical"),
        (600.0, "nats per sequence", "critical"),
        (1.5, "nats per token", None),
        (150.0, "nats per sequence", None),
        (4.0, "", None),
    ],
)
def test_a_large_kl_is_named_by_its_nats_a_token(end, unit, severity):
    findings = KLDetector().look(
        run(np.linspace(0, 1.1 * end, 200), unit, length=np.full(200, 100.0))
    )
    assert [f.severity for f in findings] == ([] if severity is None else [severity])
    assert all(f.kind == "kl_large" for f in findings)


def test_kl_of_healthy_runs_is_silent():
    for kind, rng, curve in curves():
        size = len(curve)
        noise = np.exp(rng.normal(0, 0.15, size))
        rising = 0.05 * (1 - np.exp(-np.arange(size) / (size / 10))) + 0.001
        for values in (rising * noise, 0.1 * np.maximum(curve, 0.01) * noise):
            assert KLDetector().look(run(values)) == (), kind
            assert LearningRateDetector().look(run(values)) == ()


@pytest.mark.parametrize(
    ("start", "unit", "kind"),
    [
        ((0.0, 3.0, 40.0, 60.0), "nats per token", "learning_rate"),
        ((0.0, 3.0, 40.0, 60.0), "nats per sequence", "learning_rate"),
        ((20.0, 21.0, 22.0, 20.0), "", "other_reference"),
    ],
)
def test_nats_in_the_first_steps_name_the_learning_rate_or_the_reference(start, unit, kind):
    values = np.array([*start, *np.full(16, start[-1])])
    (finding,) = LearningRateDetector().look(run(values, unit, learning_rate=np.full(20, 1e-4)))
    assert (finding.kind, finding.severity) == (kind, "critical")
    assert finding.onset.step == (None if start[0] > 5 else 3)
    if kind == "learning_rate":
        assert "1e−5" in finding.remedies[0].text


def test_a_kl_that_grows_later_is_no_matter_of_the_learning_rate():
    assert LearningRateDetector().look(run(np.linspace(0, 20, 200))) == ()


def test_what_is_missing_is_said():
    for detector in (KLDetector(), LearningRateDetector()):
        assert isinstance(detector.look(TrainingRun()), Unknown)
        few = detector.look(run([0.1, 0.2]))
        assert isinstance(few, Unknown)
        assert few.kind == "too_few"
