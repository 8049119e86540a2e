"""Every fault of an arm is told by its name, and a sound study has none."""

from dataclasses import replace

import numpy as np
import pytest

from planted_conditions import condition
from tod.study.swap.checks import ArmFacts, check_arms, check_equal


def sound(operators: str = "abc", seeds: int = 3) -> list[ArmFacts]:
    return [
        ArmFacts(
            cluster="sums",
            condition="η 5",
            operator=name,
            seed=seed,
            travel=0.2,
            prompts=f"p{seed}",
            evaluation="e",
            end=f"{name}{seed}",
            repeated=f"{name}{seed}" if (name, seed) == ("a", 0) else None,
            shares_target=True,
            updates=100,
            skipped=0,
            flops=1e9 * (1 + 0.01 * seed),
            stale=True,
            staleness=3.0,
            gated=name == "b",
            activation=0.1 if name == "b" else None,
        )
        for name in operators
        for seed in range(seeds)
    ]


def kinds(arms: list[ArmFacts]) -> list[tuple[str, str, bool]]:
    return [(flag.kind, flag.name, flag.stops) for flag in check_arms(arms)]


def test_a_sound_study_has_no_flag() -> None:
    assert kinds(sound()) == []
    assert kinds([]) == []


FIRST = "sums, η 5, a, seed 0"


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"travel": 0.0}, ("dead_arm", FIRST, True)),
        ({"prompts": "q"}, ("other_prompts", FIRST, True)),
        ({"evaluation": "f"}, ("other_evaluation", FIRST, True)),
        ({"repeated": "elsewhere"}, ("differs_on_repeat", FIRST, True)),
        ({"skipped": 2}, ("skipped_updates", FIRST, True)),
        ({"staleness": 0.0}, ("no_staleness", FIRST, True)),
        ({"flops": 1.03e9}, ("unequal_compute", FIRST, True)),
        ({"shares_target": False}, ("other_target", "η 5, a", True)),
        ({"shares_target": None}, ("not_audited", "η 5, a", False)),
        ({"travel": None}, ("unknown", "travel", False)),
        ({"flops": None}, ("unknown", "FLOPs", False)),
        ({"repeated": None}, ("unknown", "repeat", False)),
    ],
)
def test_a_fault_is_named(change: dict, flag: tuple[str, str, bool]) -> None:
    first, *rest = sound()
    assert kinds([replace(first, **change), *rest]) == [flag]


def test_a_z_scored_advantage_with_its_kl_apart_is_another_target() -> None:
    arms = [
        replace(arm, shares_target=False, audit="z-scored advantage, KL apart: sharpness η/σ")
        if arm.operator == "c"
        else arm
        for arm in sound()
    ]
    (flag,) = check_arms(arms)
    assert flag.kind == "other_target"
    assert "z-scored advantage, KL apart" in flag.said


def test_compute_within_two_percent_is_matched() -> None:
    first, *rest = sound()
    assert kinds([replace(first, flops=1.019e9), *rest]) == []


def test_shorter_answers_at_equal_rollouts_are_told_and_stop_nothing() -> None:
    arms = [replace(arm, rollouts=512, updates=10, skipped=0) for arm in sound()]
    first, *rest = [replace(arms[0], flops=0.75e9), *arms[1:]]
    (flag,) = check_arms([first, *rest])
    assert (flag.kind, flag.stops) == ("unequal_compute", False)
    assert "-25.0%" in flag.said
    assert "answers became shorter" in flag.said
    (other,) = check_arms([replace(first, rollouts=384), *rest])
    assert (other.kind, other.stops) == ("unequal_compute", True)


def test_a_gate_that_acts_at_one_seed_is_not_idle() -> None:
    arms = sound()
    idle = [replace(arm, activation=0.0) if arm.gated else arm for arm in arms]
    assert kinds(idle) == [("idle_gate", "sums, η 5, b", True)]
    once = [replace(arm, activation=0.1) if arm.gated and arm.seed == 1 else arm for arm in idle]
    assert kinds(once) == []


def test_too_few_seeds_and_missing_arms() -> None:
    assert kinds(sound(seeds=1)) == [("few_seeds", "sums, η 5", True)]
    without = [arm for arm in sound() if (arm.operator, arm.seed) != ("c", 2)]
    assert kinds(without) == [("missing_arm", "sums, η 5, c", True)]


def test_seeds_may_have_prompts_of_their_own_but_not_arms() -> None:
    arms = [replace(arm, prompts="q") if arm.operator == "b" else arm for arm in sound()]
    assert [kind for kind, *_ in kinds(arms)] == ["other_prompts"] * 3
    assert {name.split(", ")[2] for _, name, _ in kinds(arms)} == {"b"}


def test_equal_by_algebra() -> None:
    ends = np.array([[0.1, 0.5], [0.1, 0.5 + 5e-6], [0.1, 0.6]])
    apart = np.abs(ends[:, :, None, None] - ends[None, None])
    assert check_equal(condition(apart), "ab") == []
    flags = check_equal(condition(apart), "abc")
    assert [flag.name for flag in flags] == ["world 0, η 1: a and c", "world 0, η 1: b and c"]
    assert len(check_equal(condition(apart), "ab", tolerance=1e-6)) == 1
