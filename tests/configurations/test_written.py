"""What scripts and commands say of a target, and what they leave open: unknown is not none."""

from pathlib import Path

import pytest

from tod.base import SpecError
from tod.configurations import Located, locate
from tod.show.terminal.atlas import located_text


def script(tmp_path: Path, text: str, name: str = "a.py", method: str | None = None) -> Located:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return locate(path, method=method)


def eta(found: Located) -> float | None:
    return None if found.procedure is None else found.procedure.tilt.sharpness


@pytest.mark.parametrize(
    "text",
    [
        "cfg = dict(beta=0.1, loss_type='dapo')\nGRPOConfig(**cfg)\n",
        "base = {'beta': 0.5}\nGRPOConfig(**{**base, 'beta': 0.1})\n",
        "base = {'beta': 0.5}\ncfg = base | dict(beta=1 / 10)\nGRPOConfig(**cfg)\n",
        "a = GRPOConfig(beta=0.5)\na.beta = 0.1\n",
        "def main():\n    a = GRPOConfig(beta=0.5)\n    a.beta = 0.1\n    return a\n",
        "a = GRPOConfig(beta=0.5)\nsetattr(a, 'beta', 0.1)\n",
        "b: float = 0.2\na = GRPOConfig(beta=b / 2, num_generations=2**3)\n",
        # another object's attribute, and one written before
        "a = GRPOConfig(beta=0.1)\nb.beta = 0.7\n",
        "a.beta = 0.7\na = GRPOConfig(beta=0.1)\n",
    ],
)
def test_what_is_written_is_followed(tmp_path: Path, text: str) -> None:
    assert eta(script(tmp_path, text)) == pytest.approx(10.0)


@pytest.mark.parametrize(
    "text",
    [
        "def cfg(beta=0.1):\n    return GRPOConfig(beta=beta)\n",
        "beta = 0.1\ndef cfg(beta):\n    return GRPOConfig(beta=beta)\n",
        "cfg = dict(beta=0.1)\ncfg['beta'] = read()\nGRPOConfig(**cfg)\n",
        "cfg = dict(beta=0.1)\ncfg.update(more)\nGRPOConfig(**cfg)\n",
        "cfg = dict(beta=read())\nGRPOConfig(**cfg)\n",
        "a = GRPOConfig(beta=0.1)\nif x:\n    a.beta = 0.2\n",
        "a = GRPOConfig(beta=0.1)\na.beta *= 2\n",
        "a = GRPOConfig(beta=0.1)\ndef f(a):\n    a.beta = 0.2\n",
        "a = GRPOConfig(beta=0.1)\nt = GRPOTrainer(args=a)\nt.args.beta = 0.2\n",
        "a = GRPOConfig(beta=0.1)\nsetattr(a, name, 0.2)\n",
        "b = 0.1 if x else 0.2\nGRPOConfig(beta=b)\n",
        "p = TrlParser((ScriptArguments, GRPOConfig))\ns, a = p.parse_args_and_config()\n",
    ],
)
def test_what_is_not_written_costs_the_target(tmp_path: Path, text: str) -> None:
    found = script(tmp_path, text)
    assert (found.procedure, found.status, found.law.shape) == (None, "unknown", "other")
    shown = located_text(found)
    assert "unknown: not all" in shown
    assert "no finite" not in shown


def test_attributes_after_a_parser_are_written(tmp_path: Path) -> None:
    text = (
        "p = TrlParser((ScriptArguments, GRPOConfig))\ns, a = p.parse_args_and_config()\n"
        "a.beta = 0.2\ns.beta = 0.7\n"
    )
    found = script(tmp_path, text)
    assert found.unknown == ("**command line",)
    assert found.status == "unknown", "the law hangs on all other settings"
    certain = text + "a.num_generations = 4\na.temperature = 0.7\n"
    more = script(tmp_path, certain)
    assert more.operator is None or not {"proposal.size", "proposal.temperature"} & more.open
    assert any(change.setting == "temperature=0.7" for change in more.silent_changes)


def test_two_of_a_class_are_told_apart(tmp_path: Path) -> None:
    text = "b = GRPOConfig(beta=0.02)\nc = GRPOConfig(beta=0.5)\n"
    for ask in (None, "grpo"):
        with pytest.raises(SpecError, match=r"by its variable or its line: --method c"):
            script(tmp_path, text, method=ask)
    assert eta(script(tmp_path, text, method="b")) == pytest.approx(50.0)
    assert eta(script(tmp_path, text, method="2")) == pytest.approx(2.0)


def test_three_ways_to_have_no_target(tmp_path: Path) -> None:
    none = script(tmp_path, "GRPOConfig(beta=0.0)\n")
    other = script(tmp_path, "GRPOConfig(beta=0.1, loss_type='vespo')\n")
    assert (none.status, other.status) == ("none", "not_composed")
    texts = [located_text(found) for found in (none, other)]
    assert "no finite target: argmax U" in texts[0]
    assert "unknown: the action has no composition here" in texts[1]
    assert [f.to_dict()["target"]["status"] for f in (none, other)] == ["none", "not_composed"]
    shown = located_text(script(tmp_path, "GRPOConfig(beta=0.1)\n"))
    assert "unknown" not in shown.lower()


def changes(found: Located) -> dict[str, str]:
    said = (change.setting.partition("=") for change in found.silent_changes)
    names = ["=".join((name.rpartition(".")[2], value)) for name, _, value in said]
    return dict(zip(names, (change.effect for change in found.silent_changes), strict=True))


def test_no_composition_hides_no_change(tmp_path: Path) -> None:
    actor = "kl_loss_type: k1, use_kl_loss: true, kl_loss_coef: '${oc.env:KL,0.01}'"
    actor += ", entropy_coeff: 0.001, policy_loss: {loss_mode: clip_cov}"
    text = f"actor_rollout_ref:\n  actor: {{{actor}}}\n"
    found = script(tmp_path, text + "algorithm: {adv_estimator: grpo}\n", "a.yaml")
    said = changes(found)
    assert "no expected gradient" in said["kl_loss_type=k1"]
    assert "η = β⁻¹/(σ_c" in said["norm_adv_by_std_in_grpo=True (default)"]
    assert "second anchor" in said["entropy_coeff=0.001"]
    assert found.unknown == ("actor_rollout_ref.actor.kl_loss_coef (= ${oc.env:KL,0.01})",)


def test_two_pulls_are_both_named(tmp_path: Path) -> None:
    words = (
        "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=rloo "
        "algorithm.use_kl_in_reward=True algorithm.kl_penalty=low_var_kl "
        "actor_rollout_ref.actor.use_kl_loss=True actor_rollout_ref.actor.kl_loss_type=kl\n"
    )
    said = changes(script(tmp_path, words, "a.sh"))
    assert "no expected gradient" in said["kl_loss_type=kl"]
    assert "as a reward" in said["kl_penalty=low_var_kl"]


def test_a_penalty_that_is_no_kl_is_named_and_nothing_else_said_of_it(tmp_path: Path) -> None:
    text = (
        "actor_rollout_ref:\n  actor: {use_kl_loss: true, kl_loss_type: abs}\n"
        "algorithm: {adv_estimator: grpo}\n"
    )
    found = script(tmp_path, text, "a.yaml")
    effects = [c.effect for c in found.silent_changes if c.setting.endswith("=abs")]
    assert effects == ["no estimator of a KL's gradient: its fixed point is not known"]


def test_an_interpolation_of_another_key_is_its_value(tmp_path: Path) -> None:
    text = (
        "actor_rollout_ref:\n  actor: {use_kl_loss: true, kl_loss_coef: '${algorithm.mine}'}\n"
        "algorithm: {adv_estimator: rloo, mine: 0.25}\n"
    )
    found = script(tmp_path, text, "a.yaml")
    assert eta(found) == pytest.approx(4.0)


COMMANDS = {
    "accelerate launch --num_processes 4 trl/scripts/grpo.py --beta 0.1": ("trl", "GRPOConfig"),
    "python -m trl.scripts.dpo --beta 0.1": ("trl", "DPOConfig"),
    "accelerate launch -m trl.scripts.dpo --beta 0.1": ("trl", "DPOConfig"),
    "uv run examples/run_grpo_math.py loss_fn.reference_policy_kl_penalty=0.1": (
        "nemo_rl",
        "grpo: grpo",
    ),
    "uv run run_dpo.py dpo.reference_policy_kl_penalty=0.1": ("nemo_rl", "dpo"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(tmp_path: Path, command: str) -> None:
    found = script(tmp_path, command + "\n", "a.sh")
    assert (found.framework, found.method) == COMMANDS[command]
    assert eta(found) == pytest.approx(10.0)
    assert found.unknown == ()


def test_overrides_win_over_the_file_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "grpo: {normalize_rewards: false}\nloss_fn: {reference_policy_kl_penalty: 0.5}\n"
        "policy: {model_name: x}\n",
        encoding="utf-8",
    )
    command = "python run_grpo.py --config c.yaml loss_fn.reference_policy_kl_penalty=0.1\n"
    found = script(tmp_path, command, "a.sh")
    assert (eta(found), found.law.scale) == (pytest.approx(10.0), "constant")
    assert "settings read from c.yaml" in found.notes


def test_a_key_that_is_taken_away_is_not_its_default(tmp_path: Path) -> None:
    text = "algorithm.use_kl_in_reward=True\n~algorithm.kl_ctrl.kl_coef\n"
    found = script(tmp_path, text, "a.txt")
    assert found.status == "unknown"
    assert found.undetermined == ("algorithm.kl_ctrl.kl_coef",)


def test_online_dpo_ranks_its_own_draws(tmp_path: Path) -> None:
    found = script(tmp_path, "OnlineDPOConfig(beta=0.04, max_new_tokens=32)\n")
    assert found.operator is not None
    proposal = found.operator.proposal
    assert (proposal.source, proposal.size, proposal.temperature) == ("old", 2, 0.9)
    assert proposal.max_new_tokens == 32
    assert (eta(found), found.law.shape) == (pytest.approx(25.0), "climbs")


def test_a_class_of_another_version_says_so(tmp_path: Path) -> None:
    for name, text in (("a.py", "PPOConfig(kl_coef=0.05)\n"), ("a.yaml", "trainer: PPOConfig\n")):
        with pytest.raises(SpecError, match=r"TRL 1\.16 has no PPO"):
            script(tmp_path, text, name)


def test_gkd_draws_one_answer_in_turn_with_the_data(tmp_path: Path) -> None:
    found = script(tmp_path, "GKDConfig(lmbda=0.7, beta=1.0, temperature=0.8)\n")
    assert found.operator is not None
    proposal = found.operator.proposal
    assert (proposal.source, proposal.size, proposal.temperature) == ("alternating", 1, 0.8)
    assert (found.recipe, found.nearest) == ("opd_full", ("proposal: alternating for old",))
    plain = script(tmp_path, "GKDConfig(lmbda=0.5, beta=0.5)\n")
    assert (plain.recipe, plain.nearest) == ("gkd", ())


def test_kto_is_of_single_answers(tmp_path: Path) -> None:
    operator = script(tmp_path, "KTOConfig(beta=0.1)\n").operator
    assert operator is not None
    assert (operator.proposal.source, operator.proposal.size) == ("dataset", 1)


def test_openrlhf_whitens_its_batch_and_steps_on_it(tmp_path: Path) -> None:
    command = (
        "python -m openrlhf.cli.train_ppo_ray --advantage_estimator reinforce_baseline "
        "--n_samples_per_prompt 8 --use_kl_loss --kl_estimator k3\n"
    )
    found = script(tmp_path, command, "a.sh")
    assert "σ_batch" in changes(found)["estimator=reinforce_baseline"]
    assert any(note.startswith("64 updates on every batch") for note in found.notes)


def test_openrlhf_ipo_ignores_smoothing(tmp_path: Path) -> None:
    command = "python -m openrlhf.cli.train_dpo --ipo --label_smoothing 0.1\n"
    (idle,) = script(tmp_path, command, "a.sh").without_effect
    assert (idle.setting, idle.why) == ("model.label_smoothing=0.1", "IPO does not read it")
    without = "python -m openrlhf.cli.train_dpo --ipo\n"
    assert script(tmp_path, without, "a.sh").without_effect == ()


def test_it_stands_where_its_recipe_does(tmp_path: Path) -> None:
    found = script(tmp_path, "GRPOConfig(beta=0.1, loss_type='grpo', use_bias_correction_kl=False)")
    assert (found.recipe, found.operator_family) == ("grpo", "proximal_rl")
    assert "(grpo: two_anchor x proximal_rl)" in located_text(found, 100)


FILES = Path(__file__).parent / "files"


@pytest.mark.parametrize("name", sorted({p.name for p in FILES.iterdir()} - {"trl_cli.yaml"}))
def test_a_screen_holds_what_locating_says(name: str) -> None:
    """24 lines of 80 columns, whatever the file; all of it with --verbose."""
    found = locate(FILES / name)
    lines = located_text(found, 80, file=name).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    whole = " ".join(located_text(found, 80, verbose=True).split())
    for change in found.silent_changes:
        assert " ".join(change.effect.split()) in whole
    for idle in found.without_effect:
        assert " ".join(idle.why.split()) in whole
