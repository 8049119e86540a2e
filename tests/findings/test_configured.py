"""A configuration against its run: agreement is silent, disagreement is a figure."""

from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest

from tod.base import Groups, Unknown
from tod.findings import RolloutTable, TrainingRun
from tod.findings.detectors.advantages import AdvantagesDetector
from tod.findings.detectors.configured import ConfiguredDetector
from tod.findings.expected import expected_of
from tod.findings.findings import find
from tod.findings.run import Series
from tod.show.terminal.findings_screen import lines, show_details

SEEDS = range(200)
CAP = 128
STEPS = {"reward": Series("reward", np.arange(3), np.zeros(3))}


def drawn(seed: int) -> RolloutTable:
    """A run of random sizes: some prompts lost rollouts, some lengths reach the cap."""
    rng = np.random.default_rng(seed)
    k, steps, prompts = int(rng.integers(2, 17)), int(rng.integers(2, 6)), int(rng.integers(8, 30))
    sizes = np.full(steps * prompts, k)
    lost = rng.random(len(sizes)) < rng.choice([0.0, 0.02, 0.3])
    sizes[lost] = rng.integers(1, k + 1, lost.sum())
    count = int(sizes.sum())
    parts = {name: rng.choice([0.0, 1.0], count) for name in ("accuracy", "format")}
    return RolloutTable(
        Groups(sizes),
        np.repeat(np.arange(steps), prompts),
        parts["accuracy"] + parts["format"],
        parts,
        length=np.minimum(rng.lognormal(4, 0.8, count).astype(int) + 1, CAP + int(rng.integers(2))),
    )


def stated(table: RolloutTable) -> dict[str, Any]:
    """What the configuration of such a run says of it."""
    return {
        "samples_per_prompt": int(table.groups.sizes.max()),
        "longest_answer": CAP,
        "reward_names": ("accuracy", "format"),
        "reward_range": (0.0, 2.0),
        "length_penalty": False,
    }


def kinds(table: RolloutTable, expected: dict[str, Any], framework: str = "trl") -> list[str]:
    run = TrainingRun(rollouts=table, expected=expected, framework=framework)
    found = ConfiguredDetector().look(run)
    assert not isinstance(found, Unknown)
    for finding in found:
        assert finding.severity == "warning"
        names = [name for name, _ in finding.evidence]
        assert "configured" in names, "both figures are shown"
        assert len(names) == 2
    return [finding.kind for finding in found]


def test_a_run_that_is_as_configured_is_left_alone() -> None:
    for seed in SEEDS:
        table = drawn(seed)
        for framework in ("trl", "nemo-rl", "verl"):
            assert kinds(table, stated(table), framework) == [], seed


def longer(table: RolloutTable) -> RolloutTable:
    assert table.length is not None
    return replace(table, length=np.where(table.length > CAP - 20, 3 * table.length, table.length))


def paying(table: RolloutTable) -> RolloutTable:
    late = -0.5 * (np.arange(len(table.reward)) % 7 == 0)
    return replace(table, rewards={**table.rewards, "overlong_reward": late})


def test_every_planted_disagreement_is_named_alone() -> None:
    for seed in SEEDS:
        _named_alone(drawn(seed))


def _named_alone(table: RolloutTable) -> None:
    usual = np.bincount(table.groups.sizes).max() / len(table.groups)
    says = stated(table)
    k = says["samples_per_prompt"]
    other = {**says, "samples_per_prompt": k + 1}
    assert kinds(table, other) == (["configured_samples"] if usual >= 0.95 else [])
    if (longer(table).length > CAP + 1).any():  # type: ignore[operator]
        assert kinds(longer(table), says) == ["configured_length"]
    three = {**says, "reward_names": ("accuracy", "format", "style")}
    assert kinds(table, three) == ["configured_rewards"]
    assert kinds(table, {**says, "reward_range": (0.0, 1.0)}, "nemo-rl") == ["configured_range"]
    assert kinds(paying(table), says, "verl") == ["configured_penalty"]


def test_what_is_unknown_in_file_or_dump_is_not_said() -> None:
    table = drawn(1)
    assert table.length is not None
    wrong = {"samples_per_prompt": 99, "longest_answer": 1, "reward_names": ("a", "b", "c")}
    characters = replace(table, length_unit="characters", grouped=False, rewards={})
    assert kinds(characters, wrong) == []
    assert kinds(replace(table, length=None), {"longest_answer": 1}) == []
    several = replace(table, turns=np.full(len(table.reward), 3.0))
    assert kinds(several, {"longest_answer": 1}) == []
    assert kinds(paying(table), {"length_penalty": True}, "verl") == []
    nothing = ConfiguredDetector().look(TrainingRun(rollouts=table))
    assert isinstance(nothing, Unknown)
    assert nothing.kind == "not_applicable"


def test_a_prompt_that_was_drawn_twice_is_no_other_k() -> None:
    twice = RolloutTable(Groups.equal(10, 8), np.zeros(10, int), np.zeros(80))
    assert kinds(twice, {"samples_per_prompt": 4}) == []
    assert kinds(twice, {"samples_per_prompt": 3}) == ["configured_samples"]
    assert kinds(twice, {"samples_per_prompt": 1}) == ["configured_samples"]


def advantages(table: RolloutTable, rule: str, epsilon: float) -> np.ndarray:
    """Advantages by numpy alone, of groups of one size."""
    k = int(table.groups.sizes[0])
    r = table.reward.reshape(-1, k)
    mean = r.mean(1, keepdims=True)
    centred = r - mean
    if rule == "leave_one_out":
        return (centred * k / (k - 1)).ravel()
    if rule == "group_zscore":
        return (centred / (r.std(1, ddof=1, keepdims=True) + epsilon)).ravel()
    if rule == "group_mean":
        return centred.ravel()
    assert table.length is not None
    value = table.reward if rule == "whitened_tokens" else centred.ravel()
    made = np.zeros(len(value))
    steps = np.repeat(table.step, k)
    for step in np.unique(steps):
        rows = steps == step
        tokens = np.repeat(value[rows], table.length[rows])
        made[rows] = (value[rows] - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + epsilon)
    return made


RULES = (
    "leave_one_out",
    "group_zscore",
    "group_mean",
    "whitened_tokens",
    "centred_whitened_tokens",
)


@pytest.mark.parametrize("rule", RULES)
def test_advantages_are_held_against_the_rule_of_the_file(rule: str) -> None:
    """Silent on its own rule over all seeds; every other rule contradicts it."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        k, groups = int(rng.choice([4, 8])), 24
        table = RolloutTable(
            Groups.equal(groups, k),
            np.repeat(np.arange(3), groups // 3),
            rng.normal(0.3, 1, groups * k) * 10.0 ** rng.integers(-3, 2),
            length=rng.integers(5, 400, groups * k),
        )
        epsilon = 1e-8 if "tokens" in rule else 1e-4
        logged = np.round(advantages(table, rule, epsilon), 6)
        table = replace(table, advantage=logged)
        for wanted in RULES if seed < 5 else (rule,):
            run = TrainingRun(
                STEPS,
                rollouts=table,
                expected={"advantage": wanted, "advantage_epsilon": epsilon},
            )
            found = AdvantagesDetector().look(run)
            assert not isinstance(found, Unknown)
            said = [finding.kind for finding in found]
            own = "advantage_rule" if wanted == rule else "advantage_contradiction"
            assert said == [own], (seed, wanted)


def test_a_whitening_by_tokens_is_not_judged_without_tokens() -> None:
    table = drawn(3)
    table = replace(table, advantage=table.reward * 2.0 + 1.0, length=None)
    run = TrainingRun(STEPS, rollouts=table, expected={"advantage": "whitened_tokens"})
    found = AdvantagesDetector().look(run)
    assert not isinstance(found, Unknown)
    assert not any(finding.fault for finding in found)


def test_a_file_says_what_the_detector_reads() -> None:
    from located_settings import read

    values = {"num_generations": 8, "beta": 0.1, "max_completion_length": 300}
    told = expected_of(read("trl", "GRPOConfig", {**values, "reward_funcs": ["a", "b"]}))
    assert told["samples_per_prompt"] == 8
    assert told["longest_answer"] == 300
    assert told["advantage"] == "group_zscore"
    assert told["reward_names"] == ("a", "b")
    weighed = expected_of(read("trl", "GRPOConfig", {**values, "reward_weights": [1, 2]}))
    assert "advantage" not in weighed
    scaling = {"enabled": True, "target_min": -1.0, "target_max": 1.0}
    told = expected_of(read("nemo_rl", "grpo", {"grpo": {"reward_scaling": scaling}}))
    assert told["reward_range"] == (-1.0, 1.0)
    off = expected_of(read("verl", "ppo", {"algorithm.adv_estimator": "grpo"}))
    assert off["length_penalty"] is False
    assert off["samples_per_prompt"] == 1
    on = expected_of(read("verl", "ppo", {"reward_model.overlong_buffer.enable": True}))
    assert on["length_penalty"] is True
    plus = expected_of(read("verl", "ppo", {"algorithm.adv_estimator": "reinforce_plus_plus"}))
    assert plus["advantage"] == "whitened_tokens"


def dead(step: int) -> RolloutTable:
    """Fourteen steps of 16 prompts with four rollouts each; all fail from a step on."""
    rng = np.random.default_rng(0)
    steps = np.repeat(np.arange(1, 15), 16)
    reward = (rng.random(len(steps) * 4) < 0.5).astype(float)
    reward[np.repeat(steps >= step, 4)] = 0.0
    return RolloutTable(Groups.equal(len(steps), 4), steps, reward, {"reward": reward})


def test_a_dead_run_with_the_wrong_file_says_first_why_it_died() -> None:
    run = TrainingRun(rollouts=dead(9), expected={"samples_per_prompt": 16})
    found = find(run)
    assert found.first is not None
    assert (found.first.kind, found.severity) == ("all_fail", "critical")
    assert "configured_samples" in [fault.kind for fault in found.faults[1:]]
    shown = [line for line, _ in lines(found)]
    assert shown[0].endswith("CRITICAL")
    assert any("The rollouts have K = 4, the configuration 16." in line for line in shown)


def test_of_a_living_run_the_wrong_file_stands_first() -> None:
    found = find(TrainingRun(rollouts=dead(99), expected={"samples_per_prompt": 16}))
    assert found.first is not None
    assert found.first.kind == "configured_samples"


def test_the_details_give_the_first_cause_the_tag_of_the_screen() -> None:
    """A mild first cause of a fatal fault has the worst tag on both."""
    found = find(TrainingRun(rollouts=dead(9)))
    mild = replace(found.faults[0], kind="mild", severity="warning")
    both = replace(found, faults=(mild, *found.faults))
    with redirect_stdout(StringIO()) as said:
        show_details(both)
    assert lines(both)[0][0].endswith("CRITICAL")
    assert said.getvalue().startswith("critical (by what came of it; itself warning): ")
