"""What a mean ratio below 1 is taken for: a missed part of the policy, or uneven weights."""

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import Coverage, Summary, mean_rho
from tod.regimes import classify
from tod.regimes.reasons import EVEN
from tolerance import chance, double

K, PROMPTS = 8, 64


def reason(log_rho: np.ndarray) -> str | None:
    """What is said of these ratios; None where nothing is."""
    read = mean_rho(log_rho, Groups.equal(len(log_rho) // K, K))
    seen = Coverage(mean_rho=read.value, mean_rho_z=read.z, mean_rho_share=read.share)
    found = classify(Summary(coverage=seen)).reasons
    return next((reason.why for reason in found if reason.kind == "missed_policy"), None)


def normal(rng: np.random.Generator, variance: float, count: int = K * PROMPTS) -> np.ndarray:
    """Log ratios of two policies that share their support: mean ρ is 1."""
    return rng.normal(-variance / 2, np.sqrt(variance), size=count)


def test_share_is_that_of_normal_ratios(rng: np.random.Generator) -> None:
    """(E ρ)²/E ρ² = exp(−variance); its logarithm has the variance of 2ρ − ρ²/E ρ² over n draws."""
    variance, draws = 0.3, 200_000
    read = mean_rho(normal(rng, variance, draws), Groups.equal(draws // K, K))
    once, twice, fourth = (np.expm1(times * variance) for times in (1, 2, 4))
    spread = np.sqrt(4 * once - 4 * twice + fourth)
    assert read.share == pytest.approx(np.exp(-variance), rel=chance(spread, draws))
    same = mean_rho(np.full(64, -0.4), Groups.equal(8, K))
    assert same.share == pytest.approx(1.0, rel=double(64, 4))


def test_what_is_missed_is_told_and_not_why(rng: np.random.Generator) -> None:
    """μ leaves out 20 % of π, or π moved 12 % of its mass to answers that μ does not draw."""
    for log_rho, missed in (
        (np.log(0.8) + normal(rng, 0.01), "about 20%"),
        (np.where(np.arange(K * PROMPTS) % K, 0.0, -3.0) + normal(rng, 0.01), "about 12%"),
    ):
        said = reason(log_rho)
        assert said is not None
        assert f"the rollouts miss {missed} of what the policy answers" in said


@pytest.mark.parametrize("variance", [0.1, 0.5, 1.0, 2.0, 4.0])
def test_two_policies_far_apart_are_not_said_to_miss_anything(
    rng: np.random.Generator, variance: float
) -> None:
    """Nothing is missed, and mean ρ reads low in many samples: the sentence leaves both open."""
    said = [reason(normal(rng, variance, 8 * K * PROMPTS)) for _ in range(400)]
    named = sum(text is not None and "the rollouts miss about" in text for text in said)
    assert named <= 8  # 2 %: .7 % at most, measured over many more


def test_uneven_ratios_leave_both_open(rng: np.random.Generator) -> None:
    log_rho = np.where(np.arange(K * PROMPTS) % 2, 0.0, -4.0) + normal(rng, 0.01)
    read = mean_rho(log_rho, Groups.equal(PROMPTS, K))
    assert read.share < EVEN
    said = reason(log_rho)
    assert said is not None
    assert "miss part of the policy, or so wide a gap" in said
