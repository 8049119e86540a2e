"""What was not read is unknown, with its name; nothing else is."""

from pathlib import Path

import pytest

from tod.base import SpecError
from tod.configurations import Located, locate
from tod.show.terminal.atlas import located_text

MAIN = "python3 -m verl.trainer.main_ppo "
RLOO = """ALGO=(
    algorithm.adv_estimator=rloo
    algorithm.use_kl_in_reward=True
    algorithm.kl_ctrl.kl_coef=0.02
)
"""


def located(folder: Path, text: str, name: str = "a.sh", **more: object) -> Located:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return locate(path, **more)  # type: ignore[arg-type]


def test_settings_in_an_array_are_read(tmp_path: Path) -> None:
    text = RLOO + MAIN + '"${ALGO[@]}" data.train_batch_size=128 actor_rollout_ref.rollout.n=8'
    found = located(tmp_path, text)
    assert (found.recipe, found.status, found.unknown) == ("rloo", "known", ())
    assert (found.law.letters, found.operator.proposal.size) == ("π_ref·exp(50·reward)", 8)  # type: ignore[union-attr]


@pytest.mark.parametrize("word", ['"${EXTRA[@]}"', "$EXTRA", "$(cat args)"])
def test_a_word_that_was_not_read_may_hold_any_setting_before_it(tmp_path: Path, word: str) -> None:
    text = RLOO + MAIN + f'"${{ALGO[@]}}" {word} actor_rollout_ref.rollout.n=8'
    found = located(tmp_path, text)
    assert (found.status, found.recipe) == ("unknown", None)
    assert {"action.advantage", "updates", "operator"} <= found.open
    assert "proposal.size" not in found.open
    assert [name.startswith("**") for name in found.undetermined] == [True]
    shown = " ".join(located_text(found).split())
    assert word.strip('"') in shown
    assert "--set KEY=VALUE" in shown


def test_what_is_written_behind_it_is_certain(tmp_path: Path) -> None:
    actor = "actor_rollout_ref.actor."
    certain = (
        "algorithm.adv_estimator=grpo algorithm.norm_adv_by_std_in_grpo=False "
        f"{actor}loss_agg_mode=token-mean {actor}policy_loss.loss_mode=vanilla "
        "algorithm.rollout_correction.bypass_mode=False distillation.enabled=False "
        "actor_rollout_ref.rollout.n=8 actor_rollout_ref.rollout.temperature=0.7"
    )
    found = located(tmp_path, f"{MAIN}$EXTRA {certain}\n")
    assert found.operator is not None
    assert not {"proposal.size", "proposal.temperature", "action.advantage"} & found.open
    assert {"action.pull", "action.trust_region", "updates"} <= found.open
    said = " ".join(located_text(found).split())
    assert "K = 8, T = 0.7, ? updates a batch" in said
    assert "trust region ?" in said


@pytest.mark.parametrize(
    ("setting", "open_"),
    [
        ("actor_rollout_ref.rollout.n=$N", "proposal.size"),
        ("actor_rollout_ref.rollout.temperature=$N", "proposal.temperature"),
        ("actor_rollout_ref.actor.clip_ratio_high=$N", "action.trust_region"),
        ("actor_rollout_ref.actor.loss_agg_mode=$N", "action.aggregation"),
        ("actor_rollout_ref.actor.ppo_epochs=$N", "updates"),
        ("data.train_batch_size=0", "proposal.prompts"),
        ("data.max_response_length=null", "proposal.max_new_tokens"),
        ("algorithm.rollout_correction.rollout_is=$N", "action.correction"),
    ],
)
def test_one_setting_opens_what_hangs_on_it(tmp_path: Path, setting: str, open_: str) -> None:
    found = located(tmp_path, f"{MAIN}algorithm.adv_estimator=grpo {setting}\n")
    assert open_ in found.open
    assert found.operator is not None
    if open_.partition(".")[0] in ("proposal", "action"):
        part, _, name = open_.partition(".")
        assert found.to_dict()["operator"][part][name] is None
    assert "?" in located_text(found) or "Not known" in located_text(found)


def test_the_law_stays_known_where_it_hangs_on_nothing_open(tmp_path: Path) -> None:
    kl = "actor_rollout_ref.actor.use_kl_loss=True actor_rollout_ref.actor.kl_loss_coef=0.01 "
    found = located(tmp_path, f"{MAIN}algorithm.adv_estimator=rloo {kl}data.train_batch_size=$B\n")
    assert (found.status, found.undetermined) == ("known", ())
    assert located(tmp_path, f"{MAIN}{kl}algorithm.adv_estimator=$E\n").status == "unknown"


def test_what_is_set_resolves_it(tmp_path: Path) -> None:
    text = f"{MAIN}algorithm.adv_estimator=rloo algorithm.use_kl_in_reward=True $EXTRA\n"
    kl = "algorithm.kl_ctrl.kl_coef"
    assert located(tmp_path, text).status == "unknown"
    found = located(tmp_path, text, over={"EXTRA": f"{kl}=0.5"})
    assert (found.status, found.law.letters) == ("known", "π_ref·exp(2·reward)")
    again = located(tmp_path, text, over={"EXTRA": "", kl: "0.25"})
    assert again.law.letters == "π_ref·exp(4·reward)"


def test_a_default_of_the_environment_is_read_and_named(tmp_path: Path) -> None:
    text = f'KL=${{KL_COEF:-0.5}}\n{MAIN}algorithm.kl_ctrl.kl_coef=$KL "$@"\n'
    text = text.replace("kl_coef=$KL", "kl_coef=$KL algorithm.use_kl_in_reward=True")
    found = located(tmp_path, text)
    assert found.law.etas == {"reward": 2.0}
    assert any("without arguments" in note and "KL_COEF unset" in note for note in found.notes)


def test_several_commands_are_told_apart_by_line(tmp_path: Path) -> None:
    text = f"{MAIN}algorithm.adv_estimator=grpo\n{MAIN}algorithm.adv_estimator=rloo\n"
    with pytest.raises(SpecError, match=r"2 training commands.*\(line 1\).*--method 2"):
        located(tmp_path, text)
    assert "rloo" in located(tmp_path, text, method="2").method
    twice = f"{MAIN}algorithm.adv_estimator=grpo trainer.project_name=a\n"
    assert "grpo" in located(tmp_path, twice + twice.replace("=a", "=b")).method


def test_a_data_file_whose_comment_shows_a_command_is_data(tmp_path: Path) -> None:
    text = f"# {MAIN}algorithm.adv_estimator=rloo\nalgorithm: {{adv_estimator: grpo}}\n"
    assert "grpo" in located(tmp_path, text, "a.yaml").method


def test_a_section_called_trainer_names_no_class(tmp_path: Path) -> None:
    text = "trainer: {devices: 8}\nscale_rewards: group\nnum_generations: 4\n"
    assert located(tmp_path, text, "a.yaml").method == "GRPOConfig"


def test_a_primary_configuration_is_opened_with_its_list(tmp_path: Path) -> None:
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    (tmp_path / "conf" / "algo" / "mine.yaml").write_text("adv_estimator: rloo\ngamma: 1.0\n")
    (tmp_path / "conf" / "my.yaml").write_text(
        "defaults:\n  - ppo_trainer\n  - algo@algorithm: mine\n  - _self_\n"
        "algorithm: {use_kl_in_reward: true, kl_ctrl: {kl_coef: 0.5}}\n"
        "actor_rollout_ref: {rollout: {n: 6}}\n"
    )
    run = '--config-path="$PWD/conf" --config-name=my actor_rollout_ref.rollout.n=5\n'
    found = located(tmp_path, MAIN + run, "jobs/a.sh")
    assert (found.recipe, found.law.letters) == ("rloo", "π_ref·exp(2·reward)")
    assert found.operator is not None
    assert found.operator.proposal.size == 5


@pytest.mark.parametrize(
    "command",
    [
        f"{MAIN}--config-path=conf --config-name=away algorithm.adv_estimator=grpo",
        "python -m recipe.other.main_ppo algorithm.adv_estimator=grpo",
        "python train.py algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=4",
        "python run_grpo.py --config $CONFIG grpo.num_prompts_per_step=4",
    ],
)
def test_a_layer_that_is_not_here_is_unknown(tmp_path: Path, command: str) -> None:
    found = located(tmp_path, command + "\n")
    assert (found.status, found.recipe) == ("unknown", None)
    assert found.undetermined[0].startswith("**")


def test_programs_that_start_from_a_file_of_their_own(tmp_path: Path) -> None:
    program = "python -m verl.experimental.fully_async_policy.fully_async_main "
    found = located(tmp_path, program + "data.train_batch_size=0 actor_rollout_ref.rollout.n=8\n")
    said = [change.setting for change in found.silent_changes]
    assert any("bypass_mode=True" in setting for setting in said)
    assert "updates" in found.open


@pytest.mark.parametrize(
    ("command", "method"),
    [
        ("accelerate launch examples/dpo.py --beta 0.1 --loss_type sigmoid --bf16", "DPOConfig"),
        ("torchrun --nproc-per-node 8 train_grpo.py --num_generations 8 --beta 0.1", "GRPOConfig"),
        ("accelerate launch --config_file z.yaml run_dpo.py r.yaml --beta=0.1", "DPOConfig"),
    ],
)
def test_options_of_a_python_program(tmp_path: Path, command: str, method: str) -> None:
    (tmp_path / "r.yaml").write_text("loss_type: sigmoid\n")
    found = located(tmp_path, command + "\n")
    assert (found.framework, found.method) == ("trl", method)
    assert found.procedure is not None
    assert found.procedure.tilt.sharpness == pytest.approx(10.0)


def test_a_program_that_lies_nearby_says_its_class_and_what_it_writes(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "p = TrlParser((ScriptArguments, GRPOConfig))\ns, a = p.parse_args_and_config()\n"
        "a.scale_rewards = 'none'\n"
    )
    found = located(tmp_path, "accelerate launch train.py --beta 0.5 --output_dir x\n")
    assert (found.method, found.law.scale, found.law.etas) == (
        "GRPOConfig",
        "constant",
        {"reward": 2.0},
    )


def test_a_screen_of_unread_words(tmp_path: Path) -> None:
    text = RLOO + MAIN + '"${ALGO[@]}" "${EXTRA[@]}" actor_rollout_ref.rollout.n=$N "$@"\n'
    lines = located_text(located(tmp_path, text), 80).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_a_module_behind_a_launcher_that_is_not_known_is_found(tmp_path: Path) -> None:
    text = RLOO + '"${START[@]}" -m verl.trainer.main_ppo "${ALGO[@]}"\n'
    assert located(tmp_path, text).recipe == "rloo"
    with pytest.raises(SpecError, match="no training program"):
        located(tmp_path, text.replace("-m verl", "-m mine.verl"))


def test_a_clamp_of_null_is_none_and_no_unread_number(tmp_path: Path) -> None:
    text = """loss_fn: {reference_policy_kl_penalty: 0.04, kl_output_clamp_value: CLAMP}
grpo: {num_prompts_per_step: 8}
policy: {train_global_batch_size: 32}
"""
    found = located(tmp_path, text.replace("CLAMP", "null"), "a.yaml")
    assert (found.status, found.undetermined) == ("known", ())
    assert not any("clamp" in change.setting for change in found.silent_changes)
    found = located(tmp_path, text.replace("CLAMP", "5.0"), "a.yaml")
    assert any("clamp" in change.setting for change in found.silent_changes)


def test_the_program_of_one_framework_is_not_taken_for_another_s(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("grpo: {num_generations_per_prompt: 4}\n", encoding="utf-8")
    text = "uv run examples/run_grpo.py --config a.yaml grpo.num_prompts_per_step=8\n"
    other = "uv run examples/converters/convert_to_hf.py --config=a.yaml\n"
    assert located(tmp_path, text + other).framework == "nemo_rl"
