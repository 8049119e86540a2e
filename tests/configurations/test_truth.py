"""The runner of launch scripts: it records words, and a script can reach nothing.

Every word expected here is written out by hand.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configuration_truth.commands import framework_of, training_commands
from configuration_truth.declared import fields_of, options_of
from configuration_truth.hydra_layers import entry_point, split
from configuration_truth.openrlhf_truth import flags
from configuration_truth.repositories import REPOSITORIES
from configuration_truth.sandbox import OPEN, NotIsolatedError, Record, Sandbox, isolated, sandbox
from configuration_truth.verl_truth import Code, verl_facts

needs_namespaces = pytest.mark.skipif(not isolated(), reason="the kernel gives no namespaces here")
SECONDS = 2.0


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with sandbox(SECONDS) as made, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run.sh").write_text("true\n")
        Path(folder).chmod(0o755)
        try:
            made.run(Path(folder), "run.sh")
        except NotIsolatedError as error:
            pytest.skip(f"no empty root can be made here: {error}")
        yield made


@pytest.fixture
def checkout() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="checkout-"))
    yield folder
    shutil.rmtree(folder)


def ran(box: Sandbox, checkout: Path, text: str, **more: object) -> Record:
    (checkout / "run.sh").write_text(text)
    return box.run(checkout, "run.sh", **more)  # type: ignore[arg-type]


@needs_namespaces
def test_words_line_folder_and_environment_arrive(box: Sandbox, checkout: Path) -> None:
    (checkout / "inner").mkdir()
    text = """#!/bin/bash
set -euo pipefail
K=${ROLLOUTS:-8}
ALGO=(
    algorithm.adv_estimator=grpo
    "data.train_files=['a b', c]"
)
ALGO+=(actor_rollout_ref.rollout.n=$((K * 2)))
MORE="trainer.x=1 \\
  trainer.y=two"
export WANDB_MODE=offline
cd inner
python3 -m verl.trainer.main_ppo \\
    "${ALGO[@]}" \\
    $MORE "$@" 2>&1 | tee log.txt
"""
    record = ran(box, checkout, text, arguments=("a.b=c d",))
    assert record.status == 0
    (call,) = record.calls
    assert call.words == (
        "python3",
        "-m",
        "verl.trainer.main_ppo",
        "algorithm.adv_estimator=grpo",
        "data.train_files=['a b', c]",
        "actor_rollout_ref.rollout.n=16",
        "trainer.x=1",
        "trainer.y=two",
        "a.b=c d",
    )
    assert (call.where, call.source, call.line) == ("/repo/inner", "/repo/run.sh", 13)
    assert call.environment["WANDB_MODE"] == "offline"
    assert "ALGO" not in call.environment


@needs_namespaces
@pytest.mark.parametrize(
    "line",
    [
        "srun --nodes=2 bash -c 'python3 train_dpo.py --beta 0.1 \"x y\"'",
        "ray job submit --address=http://a:1 -- python3 train_dpo.py --beta 0.1 'x y'",
        "uv run --extra all train_dpo.py --beta 0.1 'x y'",
        "ssh node \"cd /tmp && python3 train_dpo.py --beta 0.1 'x y'\"",
        "ssh node <<'THERE'\npython3 train_dpo.py --beta 0.1 'x y'\nTHERE",
        "docker exec box bash -c \"python3 train_dpo.py --beta 0.1 'x y'\"",
        "nohup torchrun --nproc-per-node 8 train_dpo.py --beta 0.1 'x y' &\nwait",
        "accelerate launch --config_file z.yaml train_dpo.py --beta 0.1 'x y'",
        "CUDA_VISIBLE_DEVICES=0 /usr/bin/env python3 train_dpo.py --beta 0.1 'x y'",
        "f() { python3 train_dpo.py --beta 0.1 'x y'; }; f",
    ],
)
def test_launchers_are_unwrapped(box: Sandbox, checkout: Path, line: str) -> None:
    record = ran(box, checkout, f"#!/bin/bash\n\n{line}\n")
    (command,) = training_commands(record.calls, "run.sh")
    assert (command.framework, command.program) == ("trl", "train_dpo.py")
    assert command.words == ("--beta", "0.1", "x y")
    assert (command.source, command.line) == ("run.sh", 3)


@needs_namespaces
def test_what_a_program_computes_is_told(box: Sandbox, checkout: Path) -> None:
    record = ran(box, checkout, "N=$(nvidia-smi -L)\npython3 -m x.main n=$N m=$(hostname -I)\n")
    assert record.calls[-1].words[-2:] == (f"n={OPEN}", f"m={OPEN}")


@needs_namespaces
def test_no_network_is_reached(box: Sandbox, checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        try_it = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null"
        outside = subprocess.run(["bash", "-c", try_it], check=False)
        assert outside.returncode == 0
        text = f"if {try_it}; then python3 reached; else python3 refused; fi\n"
        record = ran(box, checkout, text)
    assert [call.words for call in record.calls] == [("python3", "refused")]


@needs_namespaces
def test_nothing_outside_is_seen_or_written(box: Sandbox, checkout: Path) -> None:
    (checkout / "mine.txt").write_text("before")
    text = f"""
[ -e new.txt ] && python3 stayed
echo after > mine.txt
echo x > /repo/new.txt
echo x > {checkout}/new.txt && python3 outside
mkdir -p {checkout.parent}/made-by-a-script && echo x > {checkout.parent}/made-by-a-script/a
for file in /etc/passwd /proc/sys/kernel/domainname /usr/bin/bash /ours/stub /stubs/new; do
  echo x >> $file && python3 wrote $file
done
/usr/bin/umount /proc && python3 unmounted
python3 at-the-root /*
python3 processes /proc/[0-9]*
python3 mine $(cat mine.txt)
"""
    record = ran(box, checkout, text)
    said = {call.words[1]: call.words[2:] for call in record.calls}
    assert set(said) <= {"at-the-root", "processes", "mine", "wrote"}, said
    # a file of the empty root's own /etc, which is read-only as all of it is
    assert "wrote" not in said
    names = "bin dev etc lib lib64 old ours proc records repo root stubs tmp usr"
    assert set(said["at-the-root"]) <= {f"/{name}" for name in names.split()}
    assert len(said["processes"]) <= 4
    assert said["mine"] == ("after",)
    assert (checkout / "mine.txt").read_text() == "before"
    assert sorted(os.listdir(checkout)) == ["mine.txt", "run.sh"]
    assert not (checkout.parent / "made-by-a-script").exists()
    # nor does anything stay for the next run
    assert "stayed" not in {call.words[1] for call in box.run(checkout, "run.sh").calls}


@needs_namespaces
def test_a_script_that_never_ends_is_ended(box: Sandbox, checkout: Path) -> None:
    began = time.monotonic()
    record = ran(box, checkout, "python3 first\nwhile :; do :; done\npython3 second\n")
    assert time.monotonic() - began < SECONDS + 10
    assert record.status == 137
    assert [call.words for call in record.calls] == [("python3", "first")]


@needs_namespaces
def test_a_missing_folder_is_passed_over_where_asked(box: Sandbox, checkout: Path) -> None:
    text = "set -e\ncd /data/verl\nsource venv/bin/activate\npython3 there\n"
    assert ran(box, checkout, text).calls == []
    assert len(ran(box, checkout, text, manner="lenient").calls) == 1


@pytest.mark.parametrize(
    ("program", "words", "framework"),
    [
        ("verl.trainer.main_ppo", (), "verl"),
        ("recipe.dapo.main_dapo", (), "verl"),
        ("verl.trainer.main_generation", ("data.path=x", "model.path=y", "trainer.n=1"), None),
        ("mine.py", ("actor_rollout_ref.a=1", "data.b=2", "+trainer.c=3"), "verl"),
        ("openrlhf.cli.train_ppo_ray", (), "openrlhf"),
        ("openrlhf.cli.serve_rm", (), None),
        ("examples/run_grpo.py", ("--config", "x.yaml"), "nemo_rl"),
        ("examples/run_eval.py", (), None),
        ("trl grpo", (), "trl"),
        ("src/open_r1/grpo.py", ("--config", "x.yaml"), "trl"),
        ("examples/data_preprocess/gsm8k.py", (), None),
    ],
)
def test_whose_program(program: str, words: tuple[str, ...], framework: str | None) -> None:
    assert framework_of(program, words) == framework


def test_declared_defaults() -> None:
    fields = "class C(B):\n    a: int = 3\n    b: float = field(default=0.5)\n    c: str\n"
    assert fields_of(fields, "C") == {"a": 3, "b": 0.5}
    options = (
        "p.add_argument('--x', type=int, default=2)\n"
        "p.add_argument('--y.z', action='store_true')\n"
        "p.add_argument(f'--{n}.lr', default=1.0)\n"
    )
    assert options_of(options) == {"x": 2, "y.z": False, "*.lr": 1.0}


def test_words_of_a_command() -> None:
    assert flags(("--a", "1", "--b", "--c=2", "--d", "x", "y")) == {
        "a": "1",
        "b": True,
        "c": "2",
        "d": ["x", "y"],
    }
    overrides, options = split(("--config-path=p", "--config-name", "n", "a=1", "+b=2"))
    assert (overrides, options) == (["a=1", "+b=2"], {"path": "p", "name": "n"})


def test_entry_point(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text("@hydra.main(config_path='config', config_name='x.yaml')\ndef main(c): ...\n")
    assert entry_point(path) == ("config", "x")


OLD = Code(dual_clip=False, kl_by_flag=False, by_n=True, forced=())
NEW = Code(dual_clip=True, kl_by_flag=True, by_n=True, forced=("gspo",))
SETTINGS = {
    "algorithm.adv_estimator": "grpo",
    "algorithm.kl_ctrl.kl_coef": 0.002,
    "data.train_batch_size": 1024,
    "actor_rollout_ref.actor.ppo_mini_batch_size": 256,
    "actor_rollout_ref.actor.clip_ratio": 0.2,
    "actor_rollout_ref.rollout.n": 5,
}


def test_an_old_verl_pulls_in_the_reward_unless_told() -> None:
    facts = verl_facts("verl.trainer.main_ppo", SETTINGS, OLD)
    assert (facts["pull_place"], facts["beta"], facts["region"]) == ("reward", 0.002, "clip")
    assert (facts["K"], facts["updates"], facts["aggregation"]) == (5, 4, "token_mean")
    told = {**SETTINGS, "actor_rollout_ref.actor.use_kl_loss": True}
    told["actor_rollout_ref.actor.kl_loss_coef"] = 0.01
    facts = verl_facts("verl.trainer.main_ppo", told, OLD)
    assert (facts["pull_place"], facts["beta"]) == ("loss", 0.01)


def test_a_new_verl_reduces_gspo_as_its_code_says() -> None:
    told = {
        **SETTINGS,
        "algorithm.use_kl_in_reward": False,
        "actor_rollout_ref.actor.policy_loss.loss_mode": "gspo",
        "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
    }
    facts = verl_facts("verl.trainer.main_ppo", told, NEW)
    assert (facts["pull_place"], facts["beta"], facts["level"]) == ("none", 0, "sequence_mean")
    assert facts["aggregation"] == "sequence_mean_token_mean"


def test_code_that_is_not_in_the_checkout_says_nothing() -> None:
    facts = verl_facts("verl.trainer.main_ppo", SETTINGS, None)
    assert not {"pull_place", "beta", "region", "dual_c", "updates"} & set(facts)
    assert (facts["clip_low"], facts["K"], facts["aggregation"]) == (0.2, 5, "token_mean")
    alone = {**SETTINGS, "actor_rollout_ref.rollout.n": 1, "algorithm.use_kl_in_reward": True}
    facts = verl_facts("verl.trainer.main_ppo", alone, None)
    assert (facts["pull_place"], facts["updates"]) == ("reward", 4)


def test_what_only_a_caller_knows_is_open() -> None:
    told = {**SETTINGS, "actor_rollout_ref.rollout.n": OPEN, "algorithm.adv_estimator": ""}
    facts = verl_facts("verl.trainer.main_ppo", told, OLD)
    assert (facts["K"], facts["updates"], facts["advantage"]) == ("?", 4, "?")


def test_one_repository_in_four_is_held_back() -> None:
    held = {repository.name for repository in REPOSITORIES if repository.held_back}
    assert "PeterGriffinJin/Search-R1" in held
    assert "verl-project/verl" not in held
    assert len(REPOSITORIES) / 6 < len(held) < len(REPOSITORIES) / 2.5
