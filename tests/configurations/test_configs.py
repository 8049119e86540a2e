"""Configurations as their users write them, and what each is expected to be."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tod.configurations import Located, locate
from tolerance import double

CONFIGS = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Expected:
    """What a file is.

    Attributes:
        framework: Whose.
        recipe: Nearest named recipe; None: not asserted, for recipes may be added.
        eta: Sharpness of q* of one update; None: no finite target.
        anchor: Exponents of b.
        shape: Of its fixed point.
        scale: What divides the reward there.
        silent: Setting (as spelled) and a word of its effect.
        idle: Settings without effect, likewise.
        unknown: Keys not known here.
        updates: Optimiser steps on a batch.
    """

    framework: str
    recipe: str | None
    eta: float | None
    anchor: dict[str, float]
    shape: str
    scale: str = "constant"
    silent: tuple[tuple[str, str], ...] = ()
    idle: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()
    updates: int | None = 1


Z = "η = "
EXPECTED = {
    "trl_grpo.py": Expected(
        "trl",
        "grpo",
        25.0,
        {"ref": 1.0},
        "rational",
        "group_std",
        silent=(
            ("scale_rewards=group (default)", "η = 25/(σ_c + 0.0001)"),
            ("beta=0.04, use_bias_correction_kl=False", "forward KL"),
            ("temperature=0.9", "logits/0.9"),
            ("loss_type=grpo", "length"),
            ("reward_weights=[1.0, 0.2]", "η_k ∝ w_k"),
            ("vllm_importance_sampling_mode=sequence_mask (default)", "long answers"),
            ("mask_truncated_completions=True", "finishing"),
        ),
        idle=(("epsilon=0.2", "one update a batch"),),
    ),
    "trl_cispo.yaml": Expected(
        "trl",
        "cispo",
        None,
        {},
        "climbs",
        "batch_std",
        silent=(
            ("scale_rewards=batch", "σ_batch"),
            ("beta=0.0 (default)", "no finite target"),
            ("epsilon=0.2 (default)", "every weight ρ ≤ 0.2"),
            ("vllm_importance_sampling_mode=sequence_mask (default)", "long answers"),
        ),
        unknown=("epsilon_hihg",),
        updates=2,
    ),
    "trl_rloo_args.json": Expected(
        "trl",
        "rloo",
        50.0,
        {"ref": 1.0},
        "exponential",
        silent=(
            ("beta=0.02", "π_old"),
            ("temperature=0.7", "logits/0.7"),
            ("top_p=0.95", "support"),
            ("normalize_advantages=True", "the law stays"),
            ("reward_clip_range=[-5.0, 5.0]", "clipped"),
        ),
        updates=2,
        idle=(
            ("ref_model_mixup_alpha=0.6", "sync_ref_model is False"),
            ("ref_model_sync_steps=512", "sync_ref_model is False"),
        ),
    ),
    "trl_dpo.py": Expected(
        "trl",
        None,
        20.0,
        {"ref": 1.0},
        "climbs",
        silent=(
            ("loss_type=sigmoid", "optimum at infinity"),
            ("sync_ref_model=True", "compounds"),
            ("max_length=2048", "prefix"),
        ),
        idle=(("label_smoothing=0.1", "loss_type='sigmoid'"),),
        unknown=("rpo_alpha",),
        updates=None,
    ),
    "trl_sft.yaml": Expected(
        "trl",
        None,
        0.0,
        {"mu": 1.0},
        "exponential",
        silent=(("max_length=4096", "prefixes"),),
        updates=None,
    ),
    "verl_grpo.sh": Expected(
        "verl",
        "grpo",
        1000.0,
        {"ref": 1.0},
        "rational",
        "group_std",
        silent=(
            ("algorithm.norm_adv_by_std_in_grpo=True (default)", "η = 1000/(σ_c + 1e-06)"),
            ("actor_rollout_ref.actor.kl_loss_type=low_var_kl", "forward KL"),
            ("actor_rollout_ref.actor.kl_loss_type=low_var_kl", "clamped to 10"),
            ("actor_rollout_ref.actor.clip_ratio_c=3.0 (default)", "dual clip"),
        ),
        idle=(("actor_rollout_ref.actor.clip_ratio=0.3", "by default and win"),),
        updates=4,
    ),
    "verl_gspo_overrides.txt": Expected(
        "verl",
        "gspo",
        None,
        {},
        "climbs",
        "group_std",
        silent=(
            ("algorithm.norm_adv_by_std_in_grpo=True", "σ_c"),
            (
                "actor_rollout_ref.actor.use_kl_loss=False (default), "
                "algorithm.use_kl_in_reward=False (default)",
                "no finite target",
            ),
            ("actor_rollout_ref.actor.loss_agg_mode=token-mean", "by its length"),
            ("algorithm.rollout_correction.rollout_is=token", "capped"),
            ("algorithm.rollout_correction.rollout_rs=token_k1", "−log ρ"),
        ),
        unknown=("actor_rollout_ref.actor.clip_ratio_hi",),
        updates=4,
    ),
    "verl_ppo.yaml": Expected(
        "verl",
        None,
        50.0,
        {"ref": 1.0},
        "other",
        silent=(
            ("algorithm.use_kl_in_reward=True", "π_old"),
            ("actor_rollout_ref.actor.entropy_coeff=0.01", "uniform"),
            ("actor_rollout_ref.actor.clip_ratio_c=3.0 (default)", "dual clip"),
            ("algorithm.kl_ctrl.type=adaptive", "β moves"),
        ),
        updates=8,
    ),
    "openrlhf_grpo.sh": Expected(
        "openrlhf",
        "grpo",
        1000.0,
        {"ref": 1.0},
        "rational",
        "group_std",
        silent=(
            ("algo.advantage.estimator=group_norm", "η = 1000/(σ_c + 1e-09)"),
            ("algo.kl.estimator=k3, algo.kl.use_loss=True", "forward KL"),
            ("algo.dynamic_filtering_enable=True", "1 − p^K"),
            ("algo.advantage.is_correction_enable=True", "cut"),
        ),
        updates=8,
    ),
    "openrlhf_reinforce_flat.sh": Expected(
        "openrlhf",
        None,
        100.0,
        {"ref": 1.0},
        "exponential",
        silent=(
            (
                "algo.kl.estimator=k1 (default), algo.kl.use_loss=False (default)",
                "π_old",
            ),
            ("reward.normalize_enable=True", "drifts"),
        ),
        updates=8,
    ),
    "nemo_grpo.yaml": Expected(
        "nemo_rl",
        "grpo",
        100.0,
        {"ref": 1.0},
        "exponential",
        "group_std",
        silent=(
            ("grpo.normalize_rewards=True (default)", "η = 100/(σ_c + 1e-06)"),
            ("loss_fn.reference_policy_kl_type=k3 (default)", "token by token"),
            ("loss_fn.kl_output_clamp_value=10.0 (default)", "clamped"),
            ("grpo.use_dynamic_sampling=True", "1 − p^K"),
        ),
        updates=4,
    ),
    "nemo_base.yaml": Expected(
        "nemo_rl",
        "grpo",
        20.0,
        {"ref": 1.0},
        "exponential",
        "group_std",
        silent=(
            ("grpo.normalize_rewards=True", "η = 20/(σ_c + 1e-06)"),
            ("loss_fn.reference_policy_kl_type=k3", "token by token"),
            ("loss_fn.kl_output_clamp_value=10.0 (default)", "clamped"),
            ("grpo.reward_scaling.enabled=True", "another range"),
        ),
        idle=(("loss_fn.ratio_clip_min=0.2, loss_fn.ratio_clip_max=0.28", "one update a batch"),),
    ),
    "nemo_child.yaml": Expected(
        "nemo_rl",
        "grpo",
        20.0,
        {"ref": 1.0},
        "exponential",
        silent=(
            ("loss_fn.reference_policy_kl_type=k3", "token by token"),
            ("loss_fn.kl_output_clamp_value=10.0 (default)", "clamped"),
            ("grpo.use_dynamic_sampling=True", "1 − p^K"),
            ("loss_fn.ratio_clip_c=10", "no longer counts"),
        ),
        idle=(("loss_fn.ratio_clip_min=0.2, loss_fn.ratio_clip_max=0.28", "one update a batch"),),
    ),
    "nemo_distillation.yaml": Expected(
        "nemo_rl",
        None,
        0.0,
        {"teacher": 1.0},
        "other",
        silent=(
            ("distillation.topk_logits_k=64", "renormalised"),
            ("loss_fn.zero_outside_topk=True", "cut to them"),
        ),
        updates=2,
    ),
    "openrlhf_dpo.sh": Expected(
        "openrlhf",
        "cdpo",
        10.0,
        {"ref": 1.0},
        "other",
        silent=(
            ("model.label_smoothing=0.05", "logit(1 − ε)"),
            ("model.nll_loss_coef=0.2", "a mixture"),
        ),
        updates=None,
    ),
    "trl_cli.sh": Expected(
        "trl",
        "ipo",
        5.0,
        {"ref": 1.0},
        "other",
        silent=(
            ("loss_type=['ipo']", "one margin 1/(2β)"),
            ("max_length=1536", "prefix"),
        ),
        idle=(("label_smoothing=0.1", "does not smooth"),),
        updates=None,
    ),
    "trl_gkd.py": Expected(
        "trl",
        "gkd",
        0.0,
        {"teacher": 1.0},
        "exponential",
        silent=(
            ("temperature=0.9", "logits/0.9"),
            ("beta=0.5", "JSD"),
            ("lmbda=0.5", "off-policy"),
        ),
    ),
    "trl_vespo.yaml": Expected(
        "trl",
        None,
        None,
        {},
        "other",
        silent=(("scale_rewards=group (default)", "σ_c"), ("beta=0.0", "no finite target")),
    ),
    "verl_drgrpo_bypass.sh": Expected(
        "verl",
        "dr_grpo",
        100.0,
        {"ref": 1.0},
        "exponential",
        silent=(
            ("actor_rollout_ref.actor.kl_loss_type=k3+", "its own token"),
            ("algorithm.rollout_correction.bypass_mode=True", "reinforce whatever"),
            ("actor_rollout_ref.actor.loss_scale_factor=None (default)", "padded width"),
        ),
    ),
    "verl_gpg.sh": Expected(
        "verl",
        None,
        None,
        {},
        "climbs",
        silent=(
            (
                "actor_rollout_ref.actor.use_kl_loss=False, "
                "algorithm.use_kl_in_reward=False (default)",
                "no finite target",
            ),
            ("algorithm.adv_estimator=gpg", "not 0"),
        ),
    ),
    "verl_remax.yaml": Expected(
        "verl",
        None,
        None,
        {},
        "other",
        silent=(
            ("algorithm.use_kl_in_reward=True", "π_old"),
            ("actor_rollout_ref.actor.clip_ratio_c=3.0 (default)", "dual clip"),
        ),
        updates=4,
    ),
    "own_two_anchor.yaml": Expected(
        "tod",
        "grpo",
        5.0,
        {"old": 0.75, "ref": 0.25},
        "rational",
        "group_std",
        silent=(
            ("operator.action.advantage=group_zscore", "η = 20/(σ_c + 0.0001)"),
            ("operator.action.pull={kind: k3, place: loss}", "forward KL"),
            ("target.kind=two_anchor", "sharpness 20 = 1/β"),
        ),
        updates=2,
    ),
}


@pytest.fixture(params=sorted(EXPECTED))
def case(request: pytest.FixtureRequest) -> tuple[Located, Expected]:
    return locate(CONFIGS / request.param), EXPECTED[request.param]


def test_every_file_is_expected() -> None:
    """All but the one that a script names."""
    assert {path.name for path in CONFIGS.iterdir()} == {*EXPECTED, "trl_cli.yaml"}


def test_the_point(case: tuple[Located, Expected]) -> None:
    found, expected = case
    assert found.framework == expected.framework
    assert found.updates == expected.updates
    if expected.recipe is not None:
        assert found.recipe == expected.recipe


def test_the_target(case: tuple[Located, Expected]) -> None:
    found, expected = case
    if expected.eta is None:
        assert found.procedure is None
        assert found.notes[0], "a missing target has to say why"
        return
    assert found.procedure is not None
    assert found.procedure.tilt.sharpness == pytest.approx(expected.eta, rel=double(8))
    assert found.procedure.tilt.anchor == pytest.approx(expected.anchor)


def test_where_it_comes_to_rest(case: tuple[Located, Expected]) -> None:
    found, expected = case
    assert (found.law.shape, found.law.scale) == (expected.shape, expected.scale)


def test_silent_changes(case: tuple[Located, Expected]) -> None:
    """All of them and no others, each by its setting and a word of its effect."""
    found, expected = case
    said = [(change.setting, change.effect) for change in found.silent_changes]
    assert [setting for setting, _ in said] == [setting for setting, _ in expected.silent]
    for (setting, effect), (_, word) in zip(said, expected.silent, strict=True):
        assert word in effect, setting


def test_settings_without_effect(case: tuple[Located, Expected]) -> None:
    """All of them and no others."""
    found, expected = case
    said = [(one.setting, one.why) for one in found.without_effect]
    assert [setting for setting, _ in said] == [setting for setting, _ in expected.idle]
    for (setting, why), (_, word) in zip(said, expected.idle, strict=True):
        assert word in why, setting


def test_unknown_keys(case: tuple[Located, Expected]) -> None:
    found, expected = case
    assert found.unknown == expected.unknown


def test_near_misses_are_named() -> None:
    assert locate(CONFIGS / "trl_cispo.yaml").near == {"epsilon_hihg": "epsilon_high"}
    near = locate(CONFIGS / "verl_gspo_overrides.txt").near
    assert near["actor_rollout_ref.actor.clip_ratio_hi"].endswith("clip_ratio_high")


def test_plain_data_of_the_schema(case: tuple[Located, Expected]) -> None:
    import json

    data = case[0].to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["schema"] == "tod.locate/1"
    needed = {"framework", "recipe", "target", "operator", "silent_changes", "unknown"}
    assert needed <= set(data)
    assert all(set(row) == {"setting", "effect", "kind"} for row in data["silent_changes"])


@pytest.mark.parametrize(
    "path", sorted((CONFIGS.parents[2] / "configs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_our_own_recipes_are_known_key_by_key(path: Path) -> None:
    found = locate(path)
    assert (found.framework, found.unknown) == ("tod", ())
    assert found.procedure is not None
