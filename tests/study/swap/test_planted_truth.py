"""A whole study whose answers are planted: worlds, operators that part, diagnostics that tell."""

from collections.abc import Iterator

import numpy as np
import pytest

from planted_conditions import policies, variations
from tod.base import DataError
from tod.study.swap.checks import ArmFacts, check_arms
from tod.study.swap.condition import Condition
from tod.study.swap.excess import mean_excess
from tod.study.swap.held_out import held_out
from tod.study.swap.paired import against_others, pairs, parting
from tod.study.swap.predict import observed, predict
from tod.study.swap.verdict import verdict

WORLDS, SEEDS, PROMPTS = 8, 4, 32
OPERATORS = ("centred MLE", "log-ratio variance", "token clip", "DPO")
OVERLAPS = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
LIMIT = 0.1


def condition(
    rng: np.random.Generator,
    world: int,
    name: str,
    effects: tuple[float, ...],
    shift: float = 0.0,
    **facts: object,
) -> Condition:
    """Operator a has mean utility ``effects[a]``; policies of all differ by ``shift``."""
    count = len(effects)
    u = np.array(effects)[:, None, None] + 0.004 * rng.normal(size=(count, SEEDS, 1))
    u = u + 0.3 * rng.normal(size=(1, 1, PROMPTS)) + 0.1 * rng.normal(size=(1, SEEDS, PROMPTS))
    return Condition(
        name=name,
        cluster=f"world {world}",
        operators=OPERATORS[:count],
        seeds=tuple(range(SEEDS)),
        distance=variations(policies(rng, 1, count, SEEDS, shift, shared=0.8)[0]),
        utility=u,
        start=np.zeros(PROMPTS),
        travel=np.full((count, SEEDS), rng.uniform(0.1, 0.5)),
        diagnostics=dict.fromkeys(("ess_median",)),
        facts=facts,
    )


def study(seed: int = 0, known: float = 0.3) -> Iterator[Condition]:
    """E rises as ``ess_two`` falls; ``ess_median`` is a noisy view of it; ``k_hat`` is noise.

    In one condition a world the token clip loses .2 of utility, at whatever overlap.
    """
    rng = np.random.default_rng(seed)
    for world in range(WORLDS):
        for place, overlap in enumerate(OVERLAPS):
            lost = 0.2 if place == 2 else 0.0
            made = condition(
                rng, world, f"overlap {overlap:g}", (0.3, 0.3, 0.3 - lost, 0.3),
                shift=3.0 * (1 - overlap), eta=float(rng.uniform()),
            )  # fmt: skip
            told = {
                "ess_two": float(np.clip(overlap + 0.05 * rng.normal(), 0, 1)),
                "ess_median": float(np.clip(overlap + 1.5 * rng.normal(), 0, 1)),
                "k_hat": None if place == 5 and world < 3 else float(rng.uniform()),
            }
            yield Condition(**{**vars(made), "diagnostics": told})
        yield condition(rng, world, "η 0 and η 5", (0.0, known), role="positive")
        yield condition(rng, world, "ladder", (0.2, 0.23, 0.26), role="ladder")
        yield condition(rng, world, "two names", (0.3, 0.3), role="negative")


@pytest.fixture(scope="module")
def planted() -> list[Condition]:
    return list(study())


@pytest.fixture(scope="module")
def alone(planted: list[Condition]) -> list[Condition]:
    return [c for c in planted if c.name.startswith("overlap")]


def test_the_operator_that_parts_is_named_and_no_other(alone: list[Condition]) -> None:
    """8 of 8 by pairs, with 288 tests and 3 degrees of freedom; none of 40 without an effect."""
    effects = pairs(alone)
    assert {e.tests for e in effects} == {WORLDS * len(OVERLAPS) * 6}
    for setting in alone:
        own = [e for e in effects if (e.cluster, e.condition) == (setting.cluster, setting.name)]
        names = parting(own)
        assert names in (("token clip",), ()) if setting.name == "overlap 0.4" else names == ()
    named = {(e.cluster) for e in effects if e.adjusted <= 0.05}
    assert len(named) >= WORLDS / 2


def test_the_mean_over_pairs_hides_what_the_others_show(alone: list[Condition]) -> None:
    """An operator .2 below three others: −.2 against them, half of it in the mean of pairs."""
    setting = next(c for c in alone if c.name == "overlap 0.4")
    (clip,) = [e for e in against_others([setting]) if e.operator == "token clip"]
    low, high = clip.difference.interval()
    assert low < -0.2 < high
    mean = np.mean([abs(e.difference.value) for e in pairs([setting])])
    assert mean < abs(clip.difference.value) * 0.6


def test_the_planted_predictor_wins_and_noise_tells_nothing(alone: list[Condition]) -> None:
    seen = observed(alone)
    table = {p.name: p for p in predict(seen, limit=LIMIT)}
    two, median, noise = table["ess_two"], table["ess_median"], table["k_hat"]
    assert max(table.values(), key=lambda p: p.rho.value).name == "ess_two"
    assert two.rho.low > 0.85
    assert two.auroc.value > 0.95 > noise.auroc.high
    assert two.gain.low > 0.05
    assert two.given_travel.low > 0.8
    assert not two.rho.few
    assert median.gain is None
    assert noise.auroc.low < 0.5 < noise.auroc.high
    assert (noise.known, noise.unknown) == (45, 3)
    assert table["eta"].rho.low < 0 < table["eta"].rho.high


def test_thresholds_hold_on_other_worlds_and_violators_are_named(alone: list[Condition]) -> None:
    seen = observed(alone)
    two, noise = held_out(seen, "ess_two", limit=LIMIT), held_out(seen, "k_hat", limit=LIMIT)
    assert two.sensitivity > 0.8
    assert two.specificity > 0.8
    assert noise.sensitivity + noise.specificity < 1.4
    assert noise.unjudged == 3
    wrong = {*two.missed, *two.alarmed}
    assert len(wrong) == two.apart - two.told + two.together - two.spared
    assert wrong <= set(seen.names)


def test_a_planted_counter_example_is_a_violator(alone: list[Condition]) -> None:
    """High overlap, yet operators apart; low overlap, yet none."""
    high = next(c for c in alone if c.name == "overlap 0.05")
    low = next(c for c in alone if c.name == "overlap 0.95")
    swapped = [
        Condition(**{**vars(c), "name": f"tilt {i}", "diagnostics": {"ess_two": 1.0 - i}})
        for i, c in enumerate((high, low))
    ]
    told = held_out(observed([*alone, *swapped]), "ess_two", limit=LIMIT)
    assert told.missed[0] == "world 0, tilt 0"
    assert "world 0, tilt 1" in told.alarmed


def test_the_verdict_of_the_whole(planted: list[Condition]) -> None:
    said = verdict(planted, limit=LIMIT)
    assert said.controls.negative.share >= 7 / 8
    assert all(one.detected for one in said.controls.positive)
    words = {(one.cluster, one.condition): one.word for one in said.conditions}
    assert {w for (_, name), w in words.items() if name == "overlap 0.95"} <= {
        "interchangeable", "undecided",
    }  # fmt: skip
    assert "no power" not in words.values()
    assert said.answer.startswith("Not interchangeable: apart in")
    assert "token clip in" in said.answer


def test_a_study_without_power_says_so() -> None:
    """The positive control changes nothing: no condition is called interchangeable."""
    conditions = [
        c
        for c in study(1, known=0.0)
        if c.name in ("overlap 0.95", "η 0 and η 5", "ladder", "two names")
    ]
    said = verdict(conditions, limit=LIMIT)
    assert {one.word for one in said.conditions} == {"no power"}
    assert said.answer.startswith("No power")


def test_what_must_be_refused(alone: list[Condition]) -> None:
    first = alone[0]
    one_seed = Condition(
        **{
            **vars(first),
            "seeds": (0,),
            "distance": first.distance[:, :1, :, :1],
            "utility": first.utility[:, :1],
            "travel": None,
        }
    )
    with pytest.raises(DataError, match="fewer than two"):
        mean_excess(one_seed)
    unpaired = first.utility.copy()
    unpaired[1, 0, 5:] = np.nan
    with pytest.raises(DataError, match="not paired"):
        verdict([Condition(**{**vars(first), "utility": unpaired})])


def test_flags_of_arms_stop_the_verdict(alone: list[Condition]) -> None:
    arms = [
        ArmFacts(
            c.cluster, c.name, operator, seed,
            travel=0.0 if operator == "DPO" else 0.2,
            prompts="other" if (operator, seed) == ("token clip", 1) else "p",
            evaluation="e", end="x", repeated="y" if seed == 0 else None, shares_target=True,
            skipped=0, flops=1.0,
        )
        for c in alone[:1]
        for operator in c.operators
        for seed in c.seeds
    ]  # fmt: skip
    flags = check_arms(arms)
    assert {flag.kind for flag in flags} == {"dead_arm", "other_prompts", "differs_on_repeat"}
    assert verdict(alone[:1], flags).answer.startswith("No verdict: world 0, overlap 0.05, DPO")
