"""`tod` in a real process: exit codes, messages, Ctrl-C, a full disk."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).parents[2]
QUICK = ["train.steps=2", "evaluate=null", "operator.proposal.prompts=4"]


def tod(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return warm.training().run(*words, cwd=cwd, env={**os.environ, "COLUMNS": "80"})


def test_run_ends_with_the_path_of_its_report(tmp_path: Path) -> None:
    done = tod("run", "configs/quickstart.yaml", *QUICK, f"output={tmp_path / 'r'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1] == f"report: {tmp_path / 'r' / 'report.html'}"
    assert (tmp_path / "r" / "report.html").stat().st_size > 10_000
    assert max(map(len, done.stdout.splitlines())) <= 200
    again = tod("run", "configs/quickstart.yaml", *QUICK, f"output={tmp_path / 'r'}")
    assert again.returncode == 2
    assert "--resume" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(x, marks=pytest.mark.slow) for x in ("quickstart", "listwise_pool")), "bon"],
)
def test_a_recipe_runs_by_its_name_anywhere(name: str, tmp_path: Path) -> None:
    quick = QUICK if name != "bon" else ["search.contexts=4"]
    done = tod("run", name, *quick, "--no-html", "output=here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_the_copy_of_a_recipe_runs(tmp_path: Path) -> None:
    copy = tod("atlas", "show", "gspo", "--yaml")
    (tmp_path / "mine.yaml").write_text(copy.stdout)
    done = tod("run", "mine.yaml", *QUICK, "--no-html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"gspo-steps2-evaluate.null-prompts4-\w{4}", run.name)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["recipe"]["operator"]["action"]["level"] == "sequence_mean"
    assert "atlas" not in manifest["recipe"], "claims are of the named method, not of a run"


def test_dry_run_shows_triple_memory_and_cost_and_writes_nothing(tmp_path: Path) -> None:
    done = tod("run", "configs/gspo.yaml", "--dry-run", f"output={tmp_path / 'r'}")
    assert done.returncode == 0, done.stderr
    for word in ("q* ∝ π_old·exp(5·correct)", "sequence_mean", "MiB", "FLOPs"):
        assert word in done.stdout, word
    assert not (tmp_path / "r").exists()


def test_a_dry_run_tells_what_shards_save() -> None:
    whole = tod("run", "gspo", "--dry-run", "--processes", "2").stdout
    shards = tod("run", "gspo", "--dry-run", "--processes", "2", "train.sharding=fsdp2").stdout
    assert "memory      2 processes with about" in whole
    assert len(whole.splitlines()) <= 24
    for one, other in ((whole, shards), (shards, whole)):
        said = re.search(r"train\.sharding=\w+: about (\d+ MiB) each", one)
        assert said is not None
        assert f"2 processes with about {said[1]} each" in other


BAD = [
    (["run", "gspo", "--processes", "2"], "is for --dry-run"),
    (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
    (["run", "configs/grpo.yaml", "train.stps=3"], "Did you mean `steps`"),
    (["run", "configs/grpo.yaml", "target.kind=two_ancor"], "Did you mean `two_anchor`"),
    (["run", "configs/grpo.yaml", "operator.proposal.size=0"], "operator.proposal.size"),
    (["run", "configs/rloo.yaml", "target.eta=-1"], "target.eta"),
    (["run", "configs/grpo.yaml", "model=./nothing"], "nothing"),
    (["run", "configs/grpo.yaml", "oops"], "path=value"),
    (["run", "configs/grpo.yaml", "output=/dev/null/x"], "/dev/null/x"),
    (["atlas", "show", "grpoo"], "Did you mean 'grpo'"),
    (["run", "gspoo"], "Did you mean 'gspo'"),
    (["report", "nowhere"], "nowhere"),
]


@pytest.mark.parametrize(("words", "expected"), BAD)
def test_bad_input_exits_2_with_one_message(words: list[str], expected: str) -> None:
    done = tod(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in tod("atlas", "show", "grpoo", "--debug").stderr


def test_help_teaches() -> None:
    for command in ([], ["run"], ["demo"], ["report"], ["atlas"]):
        done = tod(*command, "--help")
        assert done.returncode == 0
        if command and command != ["atlas"]:
            assert "Example: tod" in done.stdout


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    run = tmp_path / "r"
    words = ["run", "configs/quickstart.yaml", "evaluate=null", "train.steps=2000"]
    words += ["operator.proposal.prompts=4", "train.checkpoint_every=100000", f"output={run}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tod.cli.main", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    records = run / "steps.jsonl"
    for _ in range(600):
        if records.exists() and len(records.read_text().splitlines()) >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in out
    saved = list((run / "checkpoints").glob("step-*"))
    assert len(saved) == 1
    done = len(records.read_text().splitlines())
    assert saved[0].name == f"step-{done}"


def test_full_disk_is_one_message_and_records_stay_whole(tmp_path: Path) -> None:
    run = tmp_path / "r"
    script = (
        "import signal, resource, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({300_000}, {300_000}));"
        "from tod.cli.main import main; main()"
    )
    words = ["run", "configs/quickstart.yaml", *QUICK, f"output={run}"]
    done = warm.training().run(*words, code=script, cwd=ROOT)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "checkpoint" in done.stderr
    for line in (run / "steps.jsonl").read_text().splitlines():
        json.loads(line)
    assert not list((run / "checkpoints").glob("step-*"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)


def test_a_file_of_another_kind_is_named_in_words(tmp_path: Path) -> None:
    rollouts = str(ROOT / "tests/formats/fixtures/completions")
    commands = (["run"], ["atlas", "audit"], ["diagnose", rollouts, "--target"])
    for number, content in enumerate(("", "[1]", "text", "target: 5\noperator: [1]")):
        path = tmp_path / f"recipe{number}.yaml"
        path.write_text(content)
        for command in commands if number == 0 else commands[:1]:
            done = tod(*command, str(path))
            assert done.returncode == 2, command
            assert str(path) in done.stderr
            assert "mapping" in done.stderr
            assert not re.search("NoneType|a list, this|Input should|dict", done.stderr)


def test_the_context_of_the_model_is_named_before_memory(tmp_path: Path) -> None:
    words = ["configs/quickstart.yaml", "operator.proposal.max_new_tokens=100000"]
    done = tod("run", *words, f"output={tmp_path / 'r'}", "--dry-run")
    assert done.returncode == 2
    assert "operator.proposal.max_new_tokens = 100000" in done.stderr
    assert re.search(r"context of tod://tiny is \d+ tokens", done.stderr)
