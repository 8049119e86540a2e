"""What a file is, and what is said of files that are nothing known."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tod.base import SpecError
from tod.configurations import locate

CONFIGS = Path(__file__).parent / "files"


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "learning_rate: 1\nepochs: 3\n", "no framework recognised in its keys"),
        ("a.yaml", "- 1\n- 2\n", "a list, not a configuration"),
        ("a.yaml", "", "empty, not a configuration"),
        ("a.yaml", "a: [1, 2\n", "not valid YAML"),
        ("a.json", "{", "not valid JSON"),
        ("a.py", "def (", "not valid Python"),
        ("a.py", "print(1)\n", "no configuration object is built in this script"),
        ("a.sh", "#!/bin/sh\npython train.py --x 1\n", "runs no training program known here"),
        (
            "a.sh",
            "python -m openrlhf.cli.serve_rm --port 1\n",
            "no reader for openrlhf.cli.serve_rm",
        ),
        ("a.yaml", "beta: 0.1\nloss_type: sigmoid\n", "of which method"),
        ("a.yaml", "config_class: PPOConfig\n", "no reader for TRL's 'PPOConfig'"),
        ("a.yaml", "policy: {}\nloss_fn: {}\n", "NeMo-RL, but none of its sections"),
        ("a.yaml", "target: {kind: tilt}\noperator: {}\n", "target.anchor"),
        ("a.yaml", "name: x\noperator: {}\n", "`target` is missing"),
        ("a.yaml", "scale_rewards: grup\nnum_generations: 2\n", "Did you mean 'group'"),
        ("a.yaml", "scale_rewards: group\nbeta: high\n", "beta: 'high' is no number"),
        ("a.yaml", "scale_rewards: group\nbeta: -0.1\n", "pushes away from"),
        ("a.yaml", "scale_rewards: group\nbeta: .nan\n", "is not finite"),
        ("a.yaml", "scale_rewards: group\ntemperature: 0\n", "greedy decoding has no μ"),
        ("a.yaml", "scale_rewards: group\nnum_generations: 2.5\n", "no whole number"),
        ("a.yaml", "scale_rewards: group\nepsilon: -1\n", "outside what its method allows"),
        (
            "a.txt",
            "actor_rollout_ref.actor.loss_agg_mode=tokenmean\nactor_rollout_ref.rollout.n=2\n",
            "Did you mean 'token-mean'",
        ),
    ],
)
def test_bad_input_is_one_readable_error(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says.replace("(", r"\(")) as caught:
        locate(written(tmp_path, name, text))
    assert len(str(caught.value)) < 900


def test_what_was_looked_for_is_listed(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        locate(written(tmp_path, "a.yaml", "epochs: 3\n"))
    assert all(
        name in str(caught.value) for name in ("TRL", "verl", "OpenRLHF", "NeMo-RL", "recipe")
    )


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        locate(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="a directory"):
        locate(tmp_path)
    with pytest.raises(SpecError, match="no framework 'trx'"):
        locate(CONFIGS / "trl_grpo.py", framework="trx")


def test_a_script_is_never_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    found = locate(
        written(
            tmp_path,
            "a.py",
            f"open({str(proof)!r}, 'w').write('run')\n"
            "from trl import GRPOConfig\n"
            "c = GRPOConfig(beta=float('0.1'), epsilon=0.2)\n",
        )
    )
    assert not proof.exists()
    assert found.procedure is None, "β is computed, so no target is claimed"
    assert found.unknown == ("beta (= float('0.1'))",)
    assert "beta" in found.notes[0]


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    text = f"scale_rewards: !!python/object/apply:os.system ['touch {proof}']\n"
    with pytest.raises(SpecError, match="not valid YAML"):
        locate(written(tmp_path, "a.yaml", text))
    assert not proof.exists()


def test_a_size_that_is_computed_costs_no_target(tmp_path: Path) -> None:
    script = "GRPOConfig(beta=0.1, per_device_train_batch_size=args.batch)\n"
    found = locate(written(tmp_path, "a.py", script))
    assert found.procedure is not None
    assert found.unknown == ("per_device_train_batch_size (= args.batch)",)


def test_constants_and_unpacked_dictionaries(tmp_path: Path) -> None:
    script = (
        "BETA = 0.5\nCOMMON = {'scale_rewards': 'none', 'num_generations': 4}\n"
        "trl.GRPOConfig('out', beta=BETA, **COMMON, **extra)\n"
    )
    found = locate(written(tmp_path, "a.py", script))
    assert (found.procedure, found.status, found.unknown) == (None, "unknown", ("**extra",))
    known = locate(written(tmp_path, "b.py", script.replace(", **extra", "")))
    assert known.procedure is not None
    assert known.procedure.tilt.sharpness == pytest.approx(2.0)
    assert (known.law.scale, known.unknown) == ("constant", ())


def test_a_name_bound_twice_is_not_a_constant(tmp_path: Path) -> None:
    script = "B = 0.5\nB = 0.1\nGRPOConfig(beta=B)\n"
    assert locate(written(tmp_path, "a.py", script)).procedure is None


def test_several_configurations_ask_which(tmp_path: Path) -> None:
    script = "SFTConfig(packing=True)\nDPOConfig(beta=0.2)\n"
    path = written(tmp_path, "a.py", script)
    with pytest.raises(SpecError, match="several configurations"):
        locate(path)
    assert locate(path, method="dpo").method == "DPOConfig"


def test_the_method_may_be_said(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", "beta: 0.1\nloss_type: sigmoid\n")
    assert locate(path, method="dpo").method == "DPOConfig"
    assert locate(path, method="CPOTrainer").method == "CPOConfig"


def test_overrides_as_a_json_list(tmp_path: Path) -> None:
    rows = ["algorithm.adv_estimator=rloo", "++algorithm.use_kl_in_reward=true"]
    found = locate(written(tmp_path, "a.json", json.dumps(rows)))
    assert (found.framework, found.law.letters) == ("verl", "π_ref·exp(1000·reward)")


def test_a_variable_from_outside_is_opaque(tmp_path: Path) -> None:
    text = (
        "KL=0.5\npython -m verl.trainer.main_ppo algorithm.adv_estimator=grpo \\\n"
        "  actor_rollout_ref.actor.use_kl_loss=True \\\n"
        "  actor_rollout_ref.actor.kl_loss_coef=$KL actor_rollout_ref.rollout.n=${N}\n"
    )
    found = locate(written(tmp_path, "a.sh", text))
    assert found.procedure is not None
    assert found.procedure.tilt.sharpness == pytest.approx(2.0)
    assert found.unknown == ("actor_rollout_ref.rollout.n (= ${N})",)
    unset = locate(written(tmp_path, "b.sh", text.replace("KL=0.5\n", "")))
    assert unset.procedure is None


def test_verl_programs(tmp_path: Path) -> None:
    sft = "torchrun --nproc 2 -m verl.trainer.fsdp_sft_trainer data.train_files=a optim.lr=1e-5\n"
    found = locate(written(tmp_path, "a.sh", sft))
    assert (found.target_family, found.law.letters, found.unknown) == ("data", "q̂_data", ())
    with pytest.raises(SpecError, match="no reader for verl"):
        locate(written(tmp_path, "b.sh", "python -m verl.trainer.main_generation data.path=a\n"))


def test_one_candidate_has_no_baseline(tmp_path: Path) -> None:
    rows = "algorithm.adv_estimator=grpo\nalgorithm.use_kl_in_reward=True\n"
    found = locate(written(tmp_path, "a.txt", rows))
    said = {change.setting: change.effect for change in found.silent_changes}
    assert "raw reward" in said["actor_rollout_ref.rollout.n=1 (default)"]
    assert "algorithm.norm_adv_by_std_in_grpo=True (default)" not in said, "KL inside the division"
    assert found.law.letters == "π_ref·exp(1000·reward)"


def test_a_trl_command_line(tmp_path: Path) -> None:
    text = "trl rloo --beta 0.1 --num_generations 4 --model_name_or_path q --bf16\n"
    found = locate(written(tmp_path, "a.sh", text))
    assert (found.method, found.recipe, found.unknown) == ("RLOOConfig", "rloo", ())


@pytest.mark.parametrize(
    "name", ["trl_grpo.py", "verl_ppo.yaml", "openrlhf_grpo.sh", "nemo_grpo.yaml"]
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_damage_is_an_error_or_a_reading_never_a_crash(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    """Cut, doubled and garbled configurations."""
    text = (CONFIGS / name).read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 60)))
    junk = data.draw(st.text(max_size=8))
    path = written(tmp_path, name, text[:start] + junk + text[stop:])
    with contextlib.suppress(SpecError):
        locate(path).to_dict()


PLAIN = """model_name_or_path: a/b
output_dir: out
per_device_train_batch_size: 4
learning_rate: 1.0e-5
"""


def test_a_training_file_without_a_method_is_what_its_folder_says(tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "full.yaml").write_text(PLAIN, encoding="utf-8")
    assert locate(tmp_path / "sft" / "full.yaml").method == "SFTConfig"
    (tmp_path / "full.yaml").write_text(PLAIN, encoding="utf-8")
    with pytest.raises(SpecError, match="of which method"):
        locate(tmp_path / "full.yaml")
    (tmp_path / "sft" / "full.yaml").write_text(f"{PLAIN}stage: sft\n", encoding="utf-8")
    assert locate(tmp_path / "sft" / "full.yaml").framework == "llama_factory"
