"""Which release a file is read by, and that it is said on what that rests."""

import random
from pathlib import Path

import pytest

from tod.base import SpecError
from tod.configurations import compare, locate
from tod.configurations.by_version import choose
from tod.configurations.point import Located
from tod.configurations.versions import numbers, recorded
from tod.show.terminal.atlas import located_text

GRPO = "from trl import GRPOConfig\nargs = GRPOConfig(output_dir='x'{more})\n"


def located(folder: Path, more: str = "", version: str | None = None, text: str = "") -> Located:
    path = folder / "train.py"
    path.write_text(text + GRPO.format(more=more), encoding="utf-8")
    return locate(path, version=version)


def verl(folder: Path, *overrides: str, version: str | None = None) -> Located:
    path = folder / "train.sh"
    words = ["python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo", *overrides]
    path.write_text(" ".join(words) + "\n", encoding="utf-8")
    return locate(path, version=version)


def test_without_evidence_the_newest_is_assumed_and_what_differs_is_said(tmp_path: Path) -> None:
    found = located(tmp_path)
    assert found.version == "1.16.0"
    assert found.version_from == "assumed: newest recorded, nothing in the file says"
    assert found.status == "none"
    assert "beta 0.04 up to 0.18.2, 0.0 since 0.19.0" in found.other_releases


def test_a_version_that_is_asked_for_is_read(tmp_path: Path) -> None:
    found = located(tmp_path, version="0.17")
    assert (found.version, found.version_from) == ("0.17.0", "--version 0.17")
    assert found.other_releases == ()
    assert found.procedure is not None
    assert found.procedure.tilt.tilts[0].eta == 25.0  # 1/0.04


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "torch\ntrl==0.17.0\n"),
        ("requirements-train.txt", "# trl==1.0.0\ntrl[vllm] >= 0.17, <0.18\n"),
        ("setup.py", 'deps = [\n    "trl[vllm]~=0.17.0",\n]\n'),
        ("pyproject.toml", 'dependencies = ["trl==0.17.*", "trlx>=1"]\n'),
        ("environment.yml", "dependencies:\n  - pip:\n    - trl==0.17.0\n"),
        ("requirements.txt", "git+https://github.com/huggingface/trl.git@v0.17.0\n"),
    ],
)
def test_a_pin_above_the_file_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / name).write_text(text, encoding="utf-8")
    folder = tmp_path / "examples" / "grpo"
    folder.mkdir(parents=True)
    found = located(folder)
    assert found.version == "0.17.0"
    assert found.version_from is not None
    assert f"pinned in {name}" in found.version_from


def test_a_pin_in_the_script_goes_before_one_above(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("trl==1.9.0\n", encoding="utf-8")
    found = located(tmp_path, text="# !pip install -q trl==0.17.0 vllm\n")
    assert (found.version, found.version_from) == ("0.17.0", "pinned in the file (trl==0.17.0)")


def test_a_pin_beyond_the_repository_is_none_of_its(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("trl==0.17.0\n", encoding="utf-8")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    assert located(tmp_path / "repository").version == "1.16.0"


def test_a_pin_of_a_commit_names_no_release_and_that_is_said(tmp_path: Path) -> None:
    pin = (
        "trl @ git+https://github.com/huggingface/trl.git@0000052e5654a77f1695eb4c608906fe0c7e8624"
    )
    (tmp_path / "requirements.txt").write_text(pin + "\n", encoding="utf-8")
    found = located(tmp_path)
    assert any("names no release" in note for note in found.notes)


def test_a_key_that_is_gone_bounds_the_release_and_what_differs_is_unknown(tmp_path: Path) -> None:
    found = located(tmp_path, ", max_prompt_length=512")
    assert (found.version, found.status) == ("0.27.2", "unknown")
    assert found.version_from == "max_prompt_length exists up to 0.27.2"
    assert "beta 0.04 up to 0.18.2, 0.0 since 0.19.0" in found.other_releases
    assert {row.partition(" ")[0] for row in found.other_releases} == {
        *("beta", "loss_type", "temperature", "top_k")
    }
    assert set(found.undetermined) == {"beta", "loss_type"}  # by which it aims elsewhere
    assert {"proposal.temperature", "proposal.top_k", "action.aggregation"} <= found.open
    assert "max_prompt_length" not in found.unknown


def test_what_all_releases_left_agree_on_is_a_fact(tmp_path: Path) -> None:
    said = ", max_prompt_length=512, beta=0.02, loss_type='grpo', temperature=1.0, top_k=None"
    found = located(tmp_path, said)
    assert found.status == "known"
    assert found.undetermined == ()


def test_pin_and_key_that_contradict_are_both_said(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("trl==0.17.0\n", encoding="utf-8")
    found = located(tmp_path, ", entropy_coef=0.01")
    assert found.version == "0.17.0"
    (note,) = [note for note in found.notes if "entropy_coef" in note]
    assert "trl==0.17.0" in note
    assert "since 1.8.0" in note


def test_keys_that_no_release_has_together_leave_what_differs_unknown(tmp_path: Path) -> None:
    found = located(tmp_path, ", vllm_device='cuda:0', entropy_coef=0.0")
    assert found.version_from is not None
    assert found.version_from.startswith("no release has all its keys: ")
    assert "vllm_device" in found.version_from
    assert "entropy_coef" in found.version_from
    assert found.status == "unknown"


@pytest.mark.parametrize("version", ["0.8.0", "0.13.0", "new", "0.17.x", ""])
def test_a_version_that_is_none_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(SpecError, match=r"version|older"):
        located(tmp_path, version=version)


def test_a_framework_with_one_release_takes_no_version(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("loss_fn: {}\ngrpo: {}\npolicy: {}\n", encoding="utf-8")
    with pytest.raises(SpecError, match="one release is recorded"):
        locate(path, version="0.3")


def test_a_method_that_was_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("config_class: RLOOConfig\nrloo_k: 4\n", encoding="utf-8")
    with pytest.raises(SpecError, match="a trainer of its own"):
        locate(path, version="0.15.0")


def test_smoothing_of_dpo_s_sigmoid_ended_with_0_28(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("config_class: DPOConfig\nlabel_smoothing: 0.1\n", encoding="utf-8")
    for version, loss in (("0.28.0", "cdpo"), ("0.29.0", "dpo")):
        operator = locate(path, version=version).operator
        assert operator is not None
        assert operator.action.loss.kind == loss  # type: ignore[union-attr]


def test_what_releases_do_otherwise_with_the_same_setting_is_unknown_between(
    tmp_path: Path,
) -> None:
    (tmp_path / "requirements.txt").write_text("trl>=0.27,<1.0\n", encoding="utf-8")
    path = tmp_path / "a.yaml"
    path.write_text("config_class: DPOConfig\nlabel_smoothing: 0.1\n", encoding="utf-8")
    found = locate(path)
    said = "label_smoothing read by sigmoid True up to 0.28.0, False since 0.29.0"
    assert said in found.other_releases
    assert "action.loss" in found.open


def test_a_fork_of_old_verl_has_its_kl_in_the_reward(tmp_path: Path) -> None:
    """`n_agent` is K; no dual clip; an entropy bonus of 0.001; `+` is no evidence of a release."""
    agents = "actor_rollout_ref.rollout.n_agent=5"
    found = verl(tmp_path, agents, "+trainer.val_before_train=False")
    assert found.version == "0.2.0.post2"
    assert found.operator is not None
    action = found.operator.action
    assert found.operator.proposal.size == 5
    assert action.trust_region.kind == "clip"  # type: ignore[union-attr]
    assert action.pull.place == "reward"  # type: ignore[union-attr]
    assert found.operator.auxiliary.entropy is not None
    assert found.operator.auxiliary.entropy.weight == 0.001


def test_the_trainer_yaml_of_a_repository_goes_before_every_release(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "verl" / "trainer" / "config"
    folder.mkdir(parents=True)
    (folder / "ppo_trainer.yaml").write_text(
        "actor_rollout_ref:\n"
        "  actor: {entropy_coeff: 0.0, use_kl_loss: false, clip_ratio: 0.3, ppo_epochs: 1}\n"
        "  rollout: {temperature: 1.0, top_k: -1, top_p: 0.95, n: 1}\n"
        "algorithm: {adv_estimator: gae, kl_ctrl: {type: fixed, kl_coef: 0.002}}\n"
        "data: {train_batch_size: 512, max_response_length: 256}\n",
        encoding="utf-8",
    )
    found = verl(tmp_path)
    assert found.version_from == "defaults of its own ppo_trainer.yaml"
    assert found.operator is not None
    assert found.operator.proposal.top_p == 0.95
    assert found.operator.action.trust_region.high == 0.3  # type: ignore[union-attr]
    assert found.law.etas == {"reward": 500.0}  # 1/0.002


def test_an_own_setting_of_one_release_is_unknown_where_it_is_set(tmp_path: Path) -> None:
    found = verl(tmp_path, "algorithm.rollout_is=True")
    assert found.version == "0.6.0"
    assert found.status == "unknown"


@pytest.mark.parametrize("framework", ["trl", "verl"])
def test_some_release_is_always_left_or_it_is_said(framework: str, tmp_path: Path) -> None:
    """Random settings and pins: never no release, and never without a word on what it rests."""
    versions, draw = recorded(framework), random.Random(7)
    path = tmp_path / "a.txt"
    path.write_text("", encoding="utf-8")
    for _ in range(300):
        method = draw.choice(list(versions.names))
        names = draw.sample(sorted(versions.names[method]), min(3, len(versions.names[method])))
        sign, bound = (
            draw.choice(["==", ">=", "<=", "<", ">", "~=", "!="]),
            draw.choice([*versions.releases, "0.0.1", "9.9", "0.1.5.dev0"]),
        )
        (tmp_path / "requirements.txt").write_text(f"{framework}{sign}{bound}\n", encoding="utf-8")
        choice = choose(framework, method, dict.fromkeys(names, 1), path)
        assert choice.possible
        assert choice.because
        assert list(choice.possible) == [v for v in versions.releases if v in choice.possible]
        if choice.assumed:
            assert choice.possible[-1] == versions.newest


def test_an_override_that_no_release_has_is_of_a_fork_whose_defaults_are_not_here(
    tmp_path: Path,
) -> None:
    """Hydra refuses such a word unless it is added by a plus sign."""
    script = tmp_path / "run.sh"
    words = "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo"
    script.write_text(f"{words} actor_rollout_ref.rollout.n_val=4\n")
    found = locate(script)
    assert found.status == "unknown"
    assert any("a verl that has n_val" in name for name in found.undetermined)
    script.write_text(f"{words} +actor_rollout_ref.rollout.n_val=4\n")
    assert locate(script).status == "none"


def test_the_defaults_of_a_fork_are_read_where_it_is_kept_in_a_folder_of_its_name(
    tmp_path: Path,
) -> None:
    config = tmp_path / "verl" / "verl" / "trainer" / "config"
    config.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    actor = "actor: {entropy_coeff: 0.25, clip_ratio: 0.3, use_kl_loss: false}"
    (config / "ppo_trainer.yaml").write_text(
        f"actor_rollout_ref: {{{actor}, rollout: {{n: 5, n_val: 1}}}}\n"
        "algorithm: {adv_estimator: grpo}\n"
    )
    script = tmp_path / "scripts" / "run.sh"
    script.parent.mkdir()
    script.write_text("python3 -m verl.trainer.main_ppo actor_rollout_ref.rollout.n_val=4\n")
    found = locate(script)
    assert found.operator is not None
    assert found.operator.proposal.size == 5
    assert found.operator.auxiliary.entropy is not None
    assert found.operator.auxiliary.entropy.weight == 0.25


def test_a_checkout_between_two_releases_is_as_neither(tmp_path: Path) -> None:
    """0.9.0 reduces GSPO by sequences whatever is set, 0.9.1 does not."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "verl" / "version").mkdir(parents=True)
    (tmp_path / "verl" / "version" / "version").write_text("0.10.0.dev\n")
    script = tmp_path / "run.sh"
    gspo = "actor_rollout_ref.actor.policy_loss.loss_mode=gspo algorithm.adv_estimator=grpo"
    script.write_text(f"python3 -m verl.trainer.main_ppo {gspo}\n")
    assert "action.aggregation" in locate(script).open
    assert "action.aggregation" not in locate(script, version="0.9.0").open


@pytest.mark.parametrize(("folder", "name"), [("grpo", "a.yaml"), ("recipes", "demo_grpo.yaml")])
def test_a_folder_or_a_name_says_the_method(tmp_path: Path, folder: str, name: str) -> None:
    path = tmp_path / folder / name
    path.parent.mkdir()
    path.write_text("beta: 0.1\nlearning_rate: 1.0e-6\n")
    assert locate(path, "trl").method == "GRPOConfig"
    other = tmp_path / folder / "x.yaml"
    other.write_text("beta: 0.1\n")
    if folder == "recipes":
        with pytest.raises(SpecError, match="of which method"):
            locate(other, "trl")


def test_agents_multiply_the_batch_and_not_the_mini_batch(tmp_path: Path) -> None:
    """64 prompts, 5 agents each, in mini-batches of 256: two updates."""
    sizes = ("data.train_batch_size=64", "actor_rollout_ref.actor.ppo_mini_batch_size=256")
    found = verl(tmp_path, *sizes, "actor_rollout_ref.rollout.n_agent=5")
    assert found.operator is not None
    assert found.operator.proposal.size == 5
    assert found.updates == 2


def test_the_file_that_a_command_names_goes_before_the_usual_one(tmp_path: Path) -> None:
    config = tmp_path / "verl" / "trainer" / "config"
    config.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    text = "actor_rollout_ref: {{actor: {{entropy_coeff: 0.0, {}}}}}\n"
    text += "algorithm: {{adv_estimator: grpo}}\n"
    (config / "ppo_trainer.yaml").write_text(text.format("use_kl_loss: true"))
    (config / "ppo_megatron_trainer.yaml").write_text(text.format("clip_ratio: 0.2"))
    script = tmp_path / "run.sh"
    program = "python3 -m verl.trainer.main_ppo"
    script.write_text(f"{program} --config-name=ppo_megatron_trainer\n")
    found = locate(script, version="0.9.1").operator
    assert found is not None
    assert found.action.pull is None  # type: ignore[union-attr]


def test_a_commit_that_is_recorded_is_read_as_the_release_that_it_is_like(tmp_path: Path) -> None:
    commit = "69ad852e5654a77f1695eb4c608906fe0c7e8624"
    (tmp_path / ".git").mkdir()
    pin = f"trl @ git+https://github.com/huggingface/trl.git@{commit}\n"
    (tmp_path / "requirements.txt").write_text(pin, encoding="utf-8")
    found = located(tmp_path)
    assert (found.version, found.operator.action.aggregation.kind) == ("0.16.0", "token_mean")  # type: ignore[union-attr]


RELEASES = ("0.16.0", "0.18.2", "0.21.0", "0.27.0", "1.16.0")


def of_one_release(found: Located) -> dict[str, object]:
    """What is claimed of a file at one release, by the names of `Located.by_release`."""
    data = found.to_dict()
    parts = {
        f"{group}.{name}": value
        for group in ("proposal", "action", "auxiliary")
        for name, value in data["operator"][group].items()
    }
    return {"law": found.law.letters, "updates": found.updates, **parts}


@pytest.mark.parametrize("settings", ["num_generations: 8", "num_generations: 8\nbeta: 0.1"])
def test_what_hangs_on_an_assumed_release_has_the_value_that_each_gives(
    tmp_path: Path, settings: str
) -> None:
    path = tmp_path / "grpo.yaml"
    path.write_text(f"trainer: GRPOTrainer\n{settings}\n", encoding="utf-8")
    found = locate(path, method="GRPOConfig")
    assert found.by_release
    newest = of_one_release(found)
    for release in RELEASES:
        here = of_one_release(locate(path, method="GRPOConfig", version=release))
        for name, value in here.items():
            row = found.by_release.get(name, ())
            said = [span.value for span in row if numbers(span.first) <= numbers(release)] or [
                newest[name]
            ]
            assert said[-1] == value, (release, name)


def test_a_value_that_hangs_on_the_release_says_so_where_it_stands(tmp_path: Path) -> None:
    text = located_text(located(tmp_path))
    assert "T = 1 (trl >= 0.18.0; before: 0.9)" in " ".join(text.split())
    assert "argmax U, step after step (trl >= 0.19.0; from " in " ".join(text.split())
    assert "beta=0.0 (default, >= 0.19.0): no KL" in " ".join(text.split())
    told = located_text(located(tmp_path, version="1.16.0"))
    assert "before" not in told
    both = compare(located(tmp_path), located(tmp_path))
    assert any(one.startswith("assumed: trl is of 1.16.0; law trl >=") for one in both.reasons)
