"""Groups without a gradient in a metric log: their price, and prompts that are too hard."""

import numpy as np
import pytest

from tod.findings import Series, TrainingRun
from tod.findings.detectors.shrinking_signal import ShrinkingSignalDetector, more_samples
from tod.findings.pass_rates import PassRates
from tolerance import double


def look(share, reward, size=60):
    steps = np.arange(1, size + 1)
    named = {"zero_variance": np.broadcast_to(share, size), "reward": np.broadcast_to(reward, size)}
    return ShrinkingSignalDetector().look(
        TrainingRun({n: Series(n, steps, x) for n, x in named.items()})
    )


@pytest.mark.parametrize(
    ("share", "reward", "severity"),
    [
        (0.8, 0.04, "warning"),
        (0.8, 0.5, "note"),
        (0.8, np.linspace(0.5, 0.04, 60), "note"),
        (0.6, 0.04, "note"),
        (0.8, -0.5, "note"),
        (0.4, 0.04, None),
    ],
)
def test_a_log_warns_of_prompts_that_were_too_hard_from_the_start(share, reward, severity):
    findings = look(share, reward)
    assert [f.severity for f in findings] == ([] if severity is None else [severity])


def test_the_price_is_one_over_what_is_left():
    (finding,) = look(0.8, 0.5)
    assert finding.numbers["cost"] == pytest.approx(1 / 0.2, rel=double(10, condition=5), abs=0)


def test_groups_of_one_have_no_share_to_be_so_many_times_larger_than():
    run = TrainingRun({})
    (remedy,) = more_samples(run, PassRates(1.0, 1.0), 1)
    assert "instead of 100 %" in remedy.effect
    assert "times" not in remedy.effect
    (remedy,) = more_samples(run, PassRates(1.0, 1.0), 64)
    assert "times the useful prompts" in remedy.effect
