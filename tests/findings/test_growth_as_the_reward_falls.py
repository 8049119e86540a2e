"""Answers that grow while the reward falls: no grader that pays for length explains that."""

import numpy as np
import pytest

from tod.findings.detectors.length import LengthDetector
from tod.findings.run import Series, TrainingRun


@pytest.mark.parametrize(
    ("later", "kinds"),
    [
        (0.0, {"no_price_of_length", "policy_broken"}),
        (0.5, {"no_price_of_length", "length_is_paid"}),
    ],
)
def test_a_grader_that_pays_for_length_is_no_cause_of_a_fall(later: float, kinds: set[str]) -> None:
    steps = np.arange(24)
    early = steps < 10
    grown = 60 * 6 ** np.clip((steps - 10) / 13, 0, 1)
    jitter = 0.01 * (-1.0) ** steps
    series = {
        "length": Series("length", steps, grown * (1 + jitter)),
        "reward": Series("reward", steps, np.where(early, 0.5, later) + jitter),
    }
    (named,) = LengthDetector().look(TrainingRun(series))
    assert {cause.kind for cause in named.causes} == kinds
