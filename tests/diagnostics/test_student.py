"""Student's t against scipy, which the package does not need."""

import math

import numpy as np
import pytest
from scipy import stats

from tod.base import SpecError
from tod.diagnostics.student import critical_t, effect_for_power, power_of_t, two_sided_p
from tolerance import chance, stated

BETA = stated(1e-11, "incomplete_beta promises it, absolute")
RULE = stated(1e-4, "power_of_t promises it, absolute")


@pytest.mark.parametrize("df", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("t", [-0.0, 0.3, -2.5, 8.0, 40.0])
def test_tails(df: int, t: float) -> None:
    assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=0, abs=BETA)


def test_an_infinite_t_leaves_nothing() -> None:
    assert two_sided_p(math.inf, 3) == two_sided_p(-math.inf, 3) == 0


@pytest.mark.parametrize("df", [1, 3, 7])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.05 / 150, 1e-6])
def test_quantiles(df: int, alpha: float) -> None:
    got = critical_t(alpha, df)
    assert 2 * stats.t.sf(got, df) == pytest.approx(alpha, rel=0, abs=BETA)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2e-10])
def test_what_has_no_quantile(alpha: float) -> None:
    with pytest.raises(SpecError, match="two seeds"):
        critical_t(alpha, 3)
    with pytest.raises(SpecError, match="0 degrees"):
        critical_t(0.05, 0)


@pytest.mark.parametrize("df", [1, 3, 7])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 60])
@pytest.mark.parametrize("effect", [0.0, 1.0, 4.0, 20.0])
def test_power_against_the_noncentral_law(df: int, alpha: float, effect: float) -> None:
    bound = stats.t.isf(alpha / 2, df)
    other = 0 if effect > 10 else stats.nct.cdf(-bound, df, effect)  # scipy: NaN, below Φ(−20)
    want = stats.nct.sf(bound, df, effect) + other
    assert power_of_t(effect, df, alpha) == pytest.approx(want, rel=0, abs=RULE)


def test_power_by_drawing() -> None:
    draws = 4000
    x = np.random.default_rng(0).normal(2.0, 1.0, size=(draws, 4))
    rejected = np.mean(stats.ttest_1samp(x, 0.0, axis=1).pvalue < 0.05)
    assert abs(rejected - power_of_t(4.0, 3)) < chance(0.5, draws)


@pytest.mark.parametrize(
    ("df", "alpha", "power"), [(3, 0.05, 0.8), (5, 0.001, 0.9), (1, 0.05, 0.5)]
)
def test_the_effect_that_is_seen(df: int, alpha: float, power: float) -> None:
    effect = effect_for_power(df, alpha, power)
    bound = stats.t.isf(alpha / 2, df)
    assert stats.nct.sf(bound, df, effect) == pytest.approx(power, rel=0, abs=RULE)
