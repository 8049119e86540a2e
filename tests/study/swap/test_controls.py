"""Controls and power against their definitions, and their error rates on planted conditions."""

import numpy as np
import pytest
from scipy import stats

from planted_conditions import condition, of_utility, policies, variations
from tod.base import DataError
from tod.study.swap.controls import (
    Negative,
    controls_of,
    ladder,
    negative_control,
    positive_control,
    role_of,
)
from tod.study.swap.excess import mean_excess
from tod.study.swap.power import power_of, seeds_for
from tolerance import chance, double


def stepped(
    rng: np.random.Generator, effects: list[float], seeds: int = 4, sd: float = 0.1
) -> np.ndarray:
    """Utilities whose paired differences have standard deviation ``sd``·√2 over seeds."""
    noise = sd * rng.normal(size=(len(effects), seeds, 1))
    return np.array(effects)[:, None, None] + noise + rng.normal(size=(1, seeds, 10))


def test_the_last_operator_is_compared_with_the_first() -> None:
    u = stepped(np.random.default_rng(0), [0.0, 0.1, 2.0])
    (got,) = positive_control([of_utility(u)], ["w"])
    d = (u[2] - u[0]).mean(axis=1)
    assert (got.step.operator, got.step.against) == ("c", "a")
    assert got.step.difference.value == pytest.approx(d.mean(), rel=double(90, 10))
    assert got.step.difference.error == pytest.approx(d.std(ddof=1) / 2, rel=double(90, 100))
    assert got.detected
    assert got.step.excess.value == 0


def test_a_task_without_a_positive_control_has_none_detected() -> None:
    u = stepped(np.random.default_rng(1), [0.0, 2.0])
    got = positive_control([of_utility(u, cluster="sums")], ["sums", "countdown"])
    assert [(one.cluster, one.detected) for one in got] == [("sums", True), ("countdown", False)]
    flat = of_utility(stepped(np.random.default_rng(2), [0.0, 0.0]), cluster="sums")
    assert not positive_control([of_utility(u, cluster="sums"), flat], ["sums"])[0].detected


def test_one_seed_detects_nothing() -> None:
    u = stepped(np.random.default_rng(3), [0.0, 5.0], seeds=1)
    (got,) = positive_control([of_utility(u)], ["w"])
    assert got.step.detected is None
    assert not got.detected
    with pytest.raises(DataError, match="two operators"):
        positive_control([of_utility(u[:1])], ["w"])


def test_beyond_three_errors_a_zero_is_seldom() -> None:
    rng = np.random.default_rng(4)
    tables = [of_utility(stepped(rng, [0.0, 0.0])) for _ in range(600)]
    rate = np.mean([positive_control([c], ["w"])[0].detected for c in tables])
    true = 2 * stats.t.sf(3.0, 3)
    assert abs(rate - true) < chance(np.sqrt(true), 600, 4)
    assert (round(true, 3), round(2 * stats.t.sf(3.0, 7), 3)) == (0.058, 0.02)


def test_the_smallest_step_is_the_first_that_stays_detected() -> None:
    names = ("η 0.5", "η 1", "η 2", "η 4")
    rng = np.random.default_rng(5)

    def made(effects: list[float]):
        return of_utility(stepped(rng, effects, sd=1e-3))

    assert ladder(made([0.0, 0.0, 0.5, 0.9])).smallest.operator == "c"
    assert ladder(made([0.0, 0.5, 0.6, 0.9])).smallest.operator == "b"
    assert ladder(made([0.0, 0.5, 0.0, 0.9])).smallest.operator == "d"
    assert ladder(made([0.0, 0.5, 0.6, 0.0])).smallest is None
    assert len(ladder(made([0.0] * 4)).steps) == len(names) - 1


def test_one_operator_under_two_names_is_inside() -> None:
    """.95 of 400 conditions at 4 seeds, up to chance; another operator is not."""
    rng = np.random.default_rng(6)
    same = [condition(d) for d in variations(policies(rng, 400, 2, 4, 0.0))]
    got = negative_control(same)
    assert got.share > 0.95 - chance(0.22, 400, 3)
    assert got.inside + len(got.outside) == 400
    sizes = np.array([abs(mean_excess(c).t) for c in same])
    assert got.inside == (sizes <= 2).sum()
    assert negative_control(same, errors=1.0).inside == (sizes <= 1).sum()
    other = [condition(d) for d in variations(policies(rng, 40, 2, 4, 3.0))]
    failed = negative_control(other)
    assert failed.holds is False
    assert failed.chance < 1e-6
    assert len(failed.outside) > 20


def test_how_few_inside_are_chance() -> None:
    got = Negative(inside=9, outside=("x",), unknown=())
    assert got.holds is False
    assert got.chance == pytest.approx(stats.binom.cdf(9, 10, 0.95), rel=double(400))
    assert Negative(inside=0, outside=("x",) * 3, unknown=()).chance == pytest.approx(
        0.05**3, rel=double(400, 10)
    )
    assert Negative(inside=12, outside=(), unknown=()).chance == pytest.approx(1, rel=double(400))


def test_what_has_no_error_is_unknown() -> None:
    two_seeds = condition(variations(policies(np.random.default_rng(7), 1, 2, 2, 0.0)[0]))
    got = negative_control([two_seeds])
    assert (got.inside, got.outside, got.unknown) == (0, (), ("world 0, η 1",))
    assert (got.share, got.holds, got.chance) == (None, None, None)


def test_roles_and_what_a_task_would_have_shown() -> None:
    rng = np.random.default_rng(8)
    u = {role: stepped(rng, e, sd=1e-3) for role, e in ROLES.items()}
    every = [of_utility(u["study"], "η 1", "sums")]
    every += [of_utility(u["ladder"], "up", "sums", facts={"control": "ladder"})]
    got = controls_of(every)
    assert [role_of(c) for c in every] == ["study", "ladder"]
    assert got.detectable("sums") == pytest.approx(0.5, abs=chance(2e-3, 4))
    assert got.known_effect("sums") == pytest.approx(0.9, abs=chance(2e-3, 4))
    assert got.detectable("countdown") is None
    assert got.known_effect("countdown") is None
    flat = of_utility(u["study"], "flat", "sums", facts={"role": "positive"})
    assert controls_of([*every, flat]).known_effect("sums") is None


ROLES = {"study": [0.0, 0.0], "ladder": [0.0, 0.0, 0.5, 0.9]}


def test_power_is_what_is_seen_in_repeats() -> None:
    """The effect that is told, with the true error, is seen in 80 of 100 repeats."""
    rng = np.random.default_rng(9)
    effect = 0.1 * np.sqrt(2 / 4) * _in_errors(3, 0.05)
    count, seen = 500, 0
    for _ in range(count):
        d = np.diff(stepped(rng, [0.0, effect]).mean(axis=2), axis=0)[0]
        seen += stats.ttest_1samp(d, 0).pvalue < 0.05
    assert abs(seen / count - 0.8) < chance(0.4, count, 4)
    setting = of_utility(stepped(rng, [0.0, 0.0]))
    told, own = power_of(setting), ladder(setting).steps[0].difference.error
    assert told.utility == pytest.approx(own * _in_errors(3, 0.05), rel=double(90, 100))


def _in_errors(df: int, alpha: float) -> float:
    from tod.diagnostics.student import effect_for_power

    return effect_for_power(df, alpha)


def test_more_tests_take_larger_effects() -> None:
    setting = condition(
        variations(policies(np.random.default_rng(10), 1, 3, 4, 0.0)[0]),
        stepped(np.random.default_rng(11), [0.0] * 3),
    )
    one, many = power_of(setting), power_of(setting, tests=60)
    assert many.utility / one.utility == pytest.approx(
        _in_errors(3, 0.05 / 60) / _in_errors(3, 0.05)
    )
    assert many.excess > one.excess > 0
    two = power_of(condition(setting.distance[:, :2, :, :2], setting.utility[:, :2]))
    assert two.excess is None
    assert two.utility is not None
    single = power_of(of_utility(stepped(np.random.default_rng(12), [0.0, 0.0], seeds=1)))
    assert single.utility is None


def test_seeds_that_see_an_effect() -> None:
    """The fewest whose power is 80 of 100, by scipy's non-central t."""
    for effect, spread, tests in ((0.1, 0.05, 1), (0.1, 0.05, 300), (-0.02, 0.02, 6)):
        got = seeds_for(effect, spread, tests=tests)
        powers = []
        for seeds in (got - 1, got):
            bound = stats.t.isf(0.025 / tests, seeds - 1)
            powers.append(stats.nct.sf(bound, seeds - 1, abs(effect) / spread * seeds**0.5))
        assert powers[0] < 0.8 <= powers[1] + 1 / 10_000 / seeds
    assert seeds_for(1e-3, 1.0, most=8) is None
