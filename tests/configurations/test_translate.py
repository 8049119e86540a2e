"""Translations: written and read again, one target where it is said, the rest named."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from located_settings import read
from tod.atlas.entries import recipe_file, recipes
from tod.base import SpecError
from tod.cli.main import app
from tod.configurations import Located, compare, locate
from tod.configurations.translate import Translation, translate
from tod.study.audit import Audit, audit

WRITTEN = sorted(
    name
    for name, entry in recipes().items()
    if entry.operator.action.kind == "policy_gradient" and name != "opd_sampled"
)
LAWFUL = [name for name in WRITTEN if locate(recipe_file(name)).law.finite]


def again(made: Translation, folder: Path) -> Located:
    """What was written, as a file of its framework."""
    path = folder / {"trl": "c.yaml", "verl": "c.sh", "tod": "c.yaml"}[made.to]
    path.write_text(made.text)
    return locate(path, None if made.to == "verl" else made.to, made.method)


@pytest.mark.parametrize("name", LAWFUL)
@pytest.mark.parametrize("to", ["trl", "verl", "tod"])
def test_a_target_that_is_said_to_be_shared_is(name: str, to: Any, tmp_path: Path) -> None:
    """The file is read from disk by its framework's reader, not from what wrote it."""
    here = locate(recipe_file(name))
    made = translate(here, to)
    there = again(made, tmp_path)
    assert compare(here, there).same_target == made.same_target
    if made.same_target == "yes":
        assert sorted(here.law.etas.values()) == pytest.approx(sorted(there.law.etas.values()))
    apart = {row.part for row in compare(here, there).differences}
    assert {row.part for row in made.cannot} <= apart


@pytest.mark.parametrize("name", LAWFUL)
def test_ours_keeps_the_triple(name: str) -> None:
    made = translate(locate(recipe_file(name)), "tod")
    assert made.same_target == "yes"
    assert made.cannot == ()


@pytest.mark.parametrize("name", LAWFUL)
def test_verl_states_every_law_of_a_policy_gradient(name: str) -> None:
    assert translate(locate(recipe_file(name)), "verl").same_target == "yes"


@pytest.mark.parametrize(
    "name",
    [
        "grpo",
        pytest.param("rloo", marks=pytest.mark.slow),
        pytest.param("kl_control", marks=pytest.mark.slow),
        pytest.param("ppo_clip", marks=pytest.mark.slow),
    ],
)
def test_there_and_back_is_one_law(name: str, tmp_path: Path) -> None:
    """A recipe of ours to verl, from there to TRL, and home."""
    here = locate(recipe_file(name))
    verl = again(translate(here, "verl"), tmp_path)
    trl = again(translate(verl, "trl"), tmp_path)
    home = again(translate(trl, "tod"), tmp_path)
    assert compare(here, home).same_target == "yes"
    assert here.procedure is not None
    assert home.procedure is not None
    before, after = (audit(one.procedure.revised(target=here.target)) for one in (here, home))
    assert isinstance(before, Audit)
    assert isinstance(after, Audit)
    assert before.on_policy.reached == after.on_policy.reached, "the fixed points of a finite world"


def test_settings_come_out_as_the_framework_spells_them() -> None:
    """Typed by hand: GRPO of TRL for a stock verl run."""
    stock = {
        "algorithm.adv_estimator": "grpo",
        "data.train_batch_size": 64,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 16,
        "actor_rollout_ref.rollout.n": 8,
        "actor_rollout_ref.actor.use_kl_loss": True,
        "actor_rollout_ref.actor.kl_loss_coef": 0.001,
        "actor_rollout_ref.actor.clip_ratio_high": 0.28,
    }
    made = translate(read("verl", "ppo", stock), "trl")
    values = yaml.safe_load(made.text)
    assert made.method == "GRPOConfig"
    assert values["beta"] == 0.001
    assert (values["epsilon"], values["epsilon_high"]) == (0.2, 0.28)
    assert (values["num_generations"], values["num_iterations"]) == (8, 1)
    assert (values["scale_rewards"], values["use_bias_correction_kl"]) == ("group", False)
    assert values["delta"] == 3.0, "clip_ratio_c"
    apart = {row.part for row in made.cannot}
    assert apart == {"action.advantage", "actor_rollout_ref.actor.kl_loss_type"}, "ε and clamps"


A = "actor_rollout_ref.actor."
CUT = {
    "algorithm.adv_estimator": "grpo",
    "data.train_batch_size": 24,
    A + "ppo_mini_batch_size": 8,
    A + "ppo_epochs": 2,
    "actor_rollout_ref.rollout.n": 4,
    A + "optim.lr": 2e-6,
    "trainer.total_epochs": 5,
    "critic.optim.lr": 1e-5,
    "actor_rollout_ref.model.path": "Qwen/Qwen2.5-7B",
    "data.train_files": "a.parquet",
    "trainer.logger": "wandb",
}


def test_mini_batches_are_windows_and_passes_are_iterations(tmp_path: Path) -> None:
    """24 prompts of 4 rollouts in mini-batches of 8 prompts, twice: 3 windows, 2 passes."""
    made = translate(read("verl", "ppo", CUT), "trl")
    values = yaml.safe_load(made.text)
    windows = values["steps_per_generation"] // values["gradient_accumulation_steps"]
    assert (windows, values["num_iterations"]) == (3, 2)
    rollouts = values["per_device_train_batch_size"] * values["steps_per_generation"]
    assert rollouts == 24 * 4
    back = translate(again(made, tmp_path), "verl")
    for name in ("data.train_batch_size", A + "ppo_mini_batch_size", A + "ppo_epochs"):
        assert f"{name}={CUT[name]} " in back.text


def test_what_is_not_written_is_listed() -> None:
    made = translate(read("verl", "ppo", CUT), "trl")
    assert dict(made.carried) == {
        f"{A}optim.lr=2e-06": "learning_rate",
        "trainer.total_epochs=5": "num_train_epochs",
    }
    assert dict(made.dropped) == {
        "actor_rollout_ref.model.path": "Qwen/Qwen2.5-7B",
        "data.train_files": "a.parquet",
        "critic.optim.lr": "1e-05",
        "trainer.logger": "wandb",
    }
    ours = translate(read("verl", "ppo", CUT), "tod")
    assert "passes over a batch" in {row.part for row in ours.cannot}, "ours repeats the batch"


@pytest.mark.parametrize("name", ["x; touch owned", "$(touch owned)", "a\x1b[31m", "a b", "`x`"])
def test_a_name_that_a_shell_would_run_is_not_written(name: str) -> None:
    path = "actor_rollout_ref.model.path"
    made = translate(read("verl", "ppo", {**CUT, path: name}), "verl")
    assert name not in made.text
    assert made.dropped[path] == name
    plain = translate(read("verl", "ppo", CUT), "verl")
    assert f"{path}=Qwen/Qwen2.5-7B " in plain.text.replace("\n", " ")


def test_a_cap_inside_the_clip_is_no_dual_clip() -> None:
    """TRL's δ below 1 + ε_high bounds positive advantages as well (against its own loss code)."""
    inside, outside = (
        read("trl", "GRPOConfig", {"delta": delta, "num_iterations": 2}) for delta in (1.1, 1.3)
    )
    assert outside.operator is not None
    assert inside.operator is not None
    assert outside.operator.action.trust_region.kind == "dual_clip"  # type: ignore[union-attr]
    assert inside.operator.action.trust_region.kind == "clip"  # type: ignore[union-attr]
    kinds = [[c.kind for c in one.silent_changes if c.name == "delta"] for one in (inside, outside)]
    assert kinds == [["push"], ["operator"]]


def test_what_is_not_known_is_not_translated(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text("GRPOConfig(beta=args.beta)\n")
    with pytest.raises(SpecError, match="beta"):
        translate(locate(script), "verl")
    with pytest.raises(SpecError, match="not written for verl"):
        translate(locate(recipe_file("dpo")), "verl")


def test_the_command_writes_a_file_that_locates(tmp_path: Path) -> None:
    out = tmp_path / "grpo.sh"
    made = CliRunner().invoke(app, ["atlas", "translate", "grpo", "--to", "verl", "-o", str(out)])
    assert made.exit_code == 0
    assert "aims at the same target" in made.output
    assert compare("grpo", out).same_target == "yes"
    bad = CliRunner().invoke(app, ["atlas", "translate", "grpo", "--to", "nemo_rl"])
    assert bad.exit_code != 0
