"""What `tod diagnose` and `tod watch` say of odd input, of what was left out, and in Markdown."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tod.cli.main import app
from tod.findings import Finding, Onset, Remedy, TrainingRun
from tod.findings.findings import Findings, with_one_good_step
from tod.show.terminal.findings_screen import lines, markdown


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "80"})


def log(path: Path, size: int, **curves: Any) -> Path:
    """A metric log: a constant or a curve by name."""
    rng = np.random.default_rng(0)
    rows = [
        {"step": step, "reward": 0.5 + 0.01 * rng.normal()}
        | {name: float(np.broadcast_to(curve, size)[step - 1]) for name, curve in curves.items()}
        for step in range(1, size + 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def fault(kind: str, step: int, severity: Any = "warning") -> Finding:
    return Finding(
        kind,
        severity,
        f"{kind} from step {step}.",
        Onset(step, step, step),
        best_step=step - 1,
        remedies=(Remedy("resume", f"go back to step {step - 1}"), Remedy("look", "look", "half")),
    )


def test_an_option_is_not_taken_for_the_value_of_another(tmp_path: Path) -> None:
    rows = log(tmp_path / "metrics.jsonl", 12)
    done = invoke("diagnose", rows, "--json", "--verbose")
    assert done.exit_code == 2
    assert "--json needs a value" in done.output + done.stderr
    assert not Path("--verbose").exists()
    assert invoke("diagnose", rows, "--json", "-").exit_code == 0


@pytest.mark.parametrize("eta", ["-1", "nan", "inf"])
def test_a_sharpness_below_zero_is_refused(tmp_path: Path, eta: str) -> None:
    done = invoke("diagnose", log(tmp_path / "metrics.jsonl", 12), "--eta", eta)
    assert done.exit_code != 0
    assert "a sharpness is a number from 0 on" in str(done.exception)


def test_several_runs_in_a_folder_are_listed_with_the_command_for_one(tmp_path: Path) -> None:
    for name in ("first run", "second"):
        log(tmp_path / name / "metrics.jsonl", 12)
    done = invoke("diagnose", tmp_path)
    said = str(done.exception)
    assert "the logs of 2 runs" in said
    assert str(tmp_path / "first run") in said
    assert f"tod diagnose {tmp_path / 'second'} --against '{tmp_path / 'first run'}'" in said


def test_a_folder_of_one_run_is_read(tmp_path: Path) -> None:
    log(tmp_path / "only" / "metrics.jsonl", 12)
    assert invoke("diagnose", tmp_path).exit_code == 0


def test_lines_that_cannot_be_placed_are_said_on_the_screen(tmp_path: Path) -> None:
    rows = log(tmp_path / "metrics.jsonl", 30)
    with rows.open("a") as file:
        file.write('{"step": -4, "reward": 0.5}\n{"step": -5, "reward": 0.5}\n')
        file.write('{"step": 1e300, "reward": 0.5}\n')
    said = " ".join(invoke("diagnose", rows).output.split())
    assert "Left out: 3 lines with step = -4 (line 31): not a step" in said
    assert "Left out: 3 lines" in invoke("diagnose", rows, "--markdown", "-").output


def test_values_beyond_what_numpy_squares_give_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    rng = np.random.default_rng(0)
    rows = [
        {"input": f"q{step}-{prompt}", "output": f"a{k}", "gts": "", "step": step}
        | {
            "score": float(rng.choice([1e308, -1e308, 1e307])),
            "part": float(rng.choice([1, 1e308])),
        }
        for step in range(1, 13)
        for prompt in range(4)
        for k in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = invoke("diagnose", path)
    assert done.exit_code == 0, done.exception
    assert "encountered" not in done.output + done.stderr
    assert "beyond 1e30 in size" in done.output


def test_half_of_a_surrogate_pair_in_a_name_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    rows = [
        {
            "input": f"q{i // 4}",
            "output": f"a{i}\ud83d",
            "gts": "",
            "step": 1,
            "score": float(i % 2),
        }
        | {"k\ud83d": 0.5}
        for i in range(32)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = invoke("diagnose", path)
    assert done.exit_code == 0, done.exception


def test_the_label_is_the_worst_severity_of_the_run() -> None:
    faults = (fault("kl_blowup", 10), fault("all_fail", 30, "critical"))
    seen = Findings(TrainingRun(), faults)
    first, _ = lines(seen)[0]
    assert first.startswith("kl_blowup")
    assert first.endswith("CRITICAL")
    assert "(critical)" in markdown(seen).splitlines()[0]


def test_all_faults_of_a_run_have_one_last_good_step() -> None:
    faults = with_one_good_step(TrainingRun(), [fault("kl_blowup", 10), fault("reward_fall", 30)])
    assert [f.best_step for f in faults] == [9, 9]
    assert all("step 9" in f.remedies[0].text for f in faults)
    assert faults[1].remedies[1] == Remedy("look", "look", "half")


def test_markdown_has_what_to_do_under_a_heading_and_as_text() -> None:
    said = markdown(Findings(TrainingRun(), (fault("kl_blowup", 10),))).splitlines()
    at = said.index("**What to do**")
    assert said[at + 1 : at + 4] == ["", "1. go back to step 9", "2. look: half"]
    assert "`" not in "".join(said)


def test_an_exponential_is_dated_where_it_leaves_not_where_it_ends(tmp_path: Path) -> None:
    """A KL that doubles every six steps from step 40 on leaves a level twin near there."""
    steps = np.arange(1, 101)
    noise = np.exp(np.random.default_rng(1).normal(0, 0.05, (2, 100)))
    kl = 0.01 * 2 ** (np.maximum(steps - 40, 0) / 6)
    new = log(tmp_path / "new" / "metrics.jsonl", 100, kl=kl * noise[0])
    old = log(tmp_path / "old" / "metrics.jsonl", 100, kl=0.01 * noise[1])
    page = tmp_path / "page.html"
    data = json.loads(
        invoke("diagnose", new, "--against", old, "--json", "-", "--html", page).output
    )
    (left,) = (d for d in data["against"]["departures"] if d["series"] == "kl")
    assert left["onset"]["low"] <= 41 <= left["onset"]["high"]
    assert "left its band at step" in " ".join(page.read_text().split())
    assert "left its band at step" in " ".join(
        invoke("diagnose", new, "--against", old).output.split()
    )


def test_a_watch_writes_json_and_reads_a_configuration(tmp_path: Path) -> None:
    rows = log(tmp_path / "metrics.jsonl", 30)
    done = invoke("watch", rows, "--once", "--json", "-")
    assert json.loads(done.output)["step"] == 30
    assert "holds one document" in str(invoke("watch", rows, "--json", "-").exception)
    config = tmp_path / "grpo.yaml"
    config.write_text("no: configuration\n")
    assert invoke("watch", rows, "--once", "--config", config).exit_code != 0


def test_what_a_configuration_states_is_held_against_the_rows(tmp_path: Path) -> None:
    """TRL's default z-scores within the prompt; the rows hold rewards less the prompt's mean."""
    rng = np.random.default_rng(0)
    rows: list[Mapping[str, Any]] = []
    for step in range(1, 21):
        for prompt in range(8):
            reward = rng.integers(0, 2, 4).astype(float)
            rows += [
                {"step": step, "prompt": f"q{step}-{prompt}", "completion": f"a{rng.integers(99)}"}
                | {"r": r, "advantage": r - reward.mean()}
                for r in reward.tolist()
            ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "train.sh"
    config.write_text("trl grpo --beta 0.04 --num_generations 4 --scale_rewards group\n")
    columns = "utility=r,context=prompt,step=step,prompt=prompt,completion=completion"
    plain = json.loads(invoke("diagnose", path, "--map", columns, "--json", "-").output)
    told = json.loads(
        invoke("diagnose", path, "--map", columns, "--config", config, "--json", "-").output
    )
    kinds = [{f["kind"] for f in data["findings"]["findings"]} for data in (plain, told)]
    assert "advantage_contradiction" not in kinds[0]
    assert "advantage_contradiction" in kinds[1]
