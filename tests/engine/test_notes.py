"""What a dry run says of the target: what of it the action reads."""

from pathlib import Path

import pytest

from tod.engine.forecast import aim
from tod.engine.settings import RunSettings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reps", "q* ∝ π_mu·exp(η·correct), η from the KL budget ε = 0.5"),
        ("mpo", "q* ∝ π_old·exp(η·correct), η from the KL budget ε = 0.1"),
        ("gspo", "q* ∝ π_old·exp(5·correct)"),
    ],
)
def test_the_target_has_the_sharpness_that_the_run_has(name: str, expected: str) -> None:
    assert aim(RunSettings.load(CONFIGS / f"{name}.yaml")) == expected


@pytest.mark.parametrize("name", ["gkd", "opd_full"])
def test_a_target_that_is_not_read_is_said_so(name: str) -> None:
    assert "(not read: action 'auxiliary'" in aim(RunSettings.load(CONFIGS / f"{name}.yaml"))


def test_utilities_under_a_budget_keep_their_proportions() -> None:
    settings = RunSettings.load(
        CONFIGS / "reps.yaml",
        (
            "target={kind: multi_objective, etas: {correct: 3.0, short: 1.0}, anchor: {mu: 1.0}}",
            "utilities=[{name: correct, kind: countdown}, {name: short, kind: countdown}]",
        ),
    )
    assert "exp(η·(0.75·correct + 0.25·short))" in aim(settings)
