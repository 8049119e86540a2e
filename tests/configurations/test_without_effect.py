"""Settings without effect: changing one leaves the triple alone; one that acts is not named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tod.operators as op
from located_settings import FRAMEWORKS, read
from tod.base import SpecError
from tod.configurations import Located, locate
from tod.configurations.framework import Idle, facts
from tod.configurations.without_effect import WIDE_FOR_SEQUENCES

TEXTS = {
    "kl_loss_type": ("k1", "k2"),
    "kl_penalty": ("k1", "k2"),
    "loss_agg_mode": ("token-mean", "seq-mean-token-sum"),
    "kl_ctrl.type": ("fixed", "adaptive"),
    "loss_type": ("ppo_clip", "reinforce"),
    "reference_policy_kl_type": ("k1", "k2"),
    "algo.kl.estimator": ("k1", "k2"),
    "is_correction_type": ("tis", "icepop"),
    "is_correction_threshold": ([0.5, 5.0], [0.25, 3.0]),
    "vllm_importance_sampling_mode": ("token_truncate", "sequence_mask"),
    "truncated_importance_sampling_type": ("tis", "icepop"),
    "packing_strategy": ("bfd", "wrapped"),
    "rollout_rs_threshold": (2.0, 3.0),
    "loss_scale_factor": (64, 128),
    "label_smoothing": (0.1, 0.2),
}
"""Two values of settings that are no numbers and no truth values."""


def rules() -> Iterator[tuple[str, str, str, Idle, str, Any]]:
    """Every recorded rule with each setting and value at which it holds."""
    for framework in FRAMEWORKS:
        for method, table in facts(framework).idle.items():
            for setting, rule in table.items():
                for other, values in rule.at.items():
                    for value in values:
                        yield framework, method, setting, rule, other, value


def two_values(framework: str, method: str, setting: str) -> tuple[Any, Any]:
    default = facts(framework).defaults[method].get(setting)
    for end, texts in TEXTS.items():
        if setting.endswith(end):
            return texts
    if isinstance(default, bool):
        return (True, False)
    return (0.25, 0.5)


RULES = list(rules())


@pytest.mark.parametrize(
    ("framework", "method", "setting", "rule", "other", "value"),
    RULES,
    ids=[f"{f}-{m}-{s}-at-{o}={v}" for f, m, s, _, o, v in RULES],
)
def test_a_setting_without_effect_has_none(
    framework: str, method: str, setting: str, rule: Idle, other: str, value: Any
) -> None:
    at = {other: 0.3 if value == "set" else value}
    both = two_values(framework, method, setting)
    found = [read(framework, method, {setting: one, **at}) for one in both]
    for one, located in zip(both, found, strict=True):
        named = [idle.setting.partition("=")[0] for idle in located.without_effect]
        assert setting in named, (one, located.without_effect)
    assert found[0].operator == found[1].operator
    assert found[0].law == found[1].law
    assert found[0].procedure == found[1].procedure


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_settings_and_conditions_are_known(framework: str) -> None:
    known = facts(framework)
    sections = [*known.sections.get("all", ())]
    for method, table in known.idle.items():
        read_here = {*known.defaults[method], *known.neutral}
        for setting, rule in table.items():
            own = (*sections, *known.sections.get(method, ()))
            assert setting in read_here or setting.startswith(own), setting
            assert {*rule.at} <= {*known.defaults[method]}, setting


def verl(*words: str) -> dict[str, Any]:
    return dict(word.split("=", 1) for word in words)


def named(located: Located) -> list[str]:
    return [idle.setting.partition("=")[0].rpartition(".")[2] for idle in located.without_effect]


FRESH = ("data.train_batch_size=64", "actor_rollout_ref.actor.ppo_mini_batch_size=64")


def test_a_clip_acts_from_the_second_update_on() -> None:
    stale = verl("data.train_batch_size=64", "actor_rollout_ref.actor.ppo_mini_batch_size=32")
    assert named(read("verl", "ppo", verl(*FRESH))) == ["clip_ratio_low"]
    assert named(read("verl", "ppo", stale)) == []


def test_a_ratio_to_the_sampler_is_not_one() -> None:
    bypass = verl(*FRESH, "algorithm.rollout_correction.bypass_mode=True")
    assert named(read("verl", "ppo", bypass)) == []


def test_every_trust_region_is_idle_at_a_ratio_of_one() -> None:
    """What the claim rests on: at ρ = 1 the gate of every region is 1, for either sign of A."""
    regions = [
        op.Clip(low=0.1, high=0.3),
        op.DualClip(low=0.1, high=0.3, cap=3.0),
        op.Truncate(cap=5.0),
        op.SoftGate(tau_pos=1.0, tau_neg=1.05),
    ]
    for region in regions:
        gate = region.gate(np.zeros(2), np.array([1.0, -1.0]))
        assert np.array_equal(np.asarray(gate), np.ones(2)), region


def test_a_tokens_width_on_a_sequence_is_named_and_a_sequences_is_not() -> None:
    stale = ("data.train_batch_size=64", "actor_rollout_ref.actor.ppo_mini_batch_size=32")
    gspo = "actor_rollout_ref.actor.policy_loss.loss_mode=gspo"
    widths = ("actor_rollout_ref.actor.clip_ratio_low", "actor_rollout_ref.actor.clip_ratio_high")
    wide = read("verl", "ppo", verl(*stale, gspo))
    assert "never binds" in wide.without_effect[0].why
    narrow = verl(*stale, gspo, f"{widths[0]}=3e-4", f"{widths[1]}=4e-4")
    assert read("verl", "ppo", narrow).without_effect == ()


def test_the_mean_of_a_long_sequence_stays_inside_a_tokens_width() -> None:
    """The claim of orders: 512 token log-ratios of sd 0.1, far more than one update makes."""
    means = np.random.default_rng(0).normal(0.0, 0.1, (4000, 512)).mean(axis=1)
    moved = np.sort(np.abs(np.expm1(means)))
    token_width = 0.2
    assert moved[-1] < token_width
    assert moved[len(moved) // 2] < WIDE_FOR_SEQUENCES


def test_a_filter_on_a_shaped_reward_drops_hardly_anything() -> None:
    on = ("algorithm.filter_groups.enable=True", "reward_model.overlong_buffer.enable=True")
    metric = "algorithm.filter_groups.metric="
    assert "metric" in named(read("verl", "ppo", verl(*on, metric + "seq_reward")))
    assert "metric" not in named(read("verl", "ppo", verl(*on, metric + "acc")))
    assert "metric" not in named(read("verl", "ppo", verl(on[0], metric + "seq_reward")))


def test_what_hangs_on_an_unresolved_setting_is_not_claimed(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text(
        "python3 -m verl.trainer.main_ppo algorithm.kl_ctrl.kl_coef=0.01 "
        "algorithm.use_kl_in_reward=$KL\n"
    )
    assert "kl_coef" not in named(locate(script))
    script.write_text("python3 -m verl.trainer.main_ppo algorithm.kl_ctrl.kl_coef=0.01\n")
    assert "kl_coef" in named(locate(script))


def test_a_value_that_is_refused_is_refused_before(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("beta: -0.1\nscale_rewards: none\n")
    with pytest.raises(SpecError, match="negative weight"):
        locate(tmp_path / "a.yaml")
