"""`tod diagnose` from the outside: exit codes, JSON, what a terminal of 80 columns shows."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from tod.base import SpecError, TodError
from tod.cli.diagnose import diagnose_command
from tod.cli.options import parse_map

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/diagnosis-1.schema.json").read_text())


@pytest.fixture
def app() -> typer.Typer:
    command = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    command.command("diagnose")(diagnose_command)
    return command


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {"input": f"question {step}-{g} [bold]{'long ' * 40}", "output": "a", "gts": "4"}
        | {"score": float(rng.random() < 0.5), "step": step, "uid": f"{step}g{g}_0_{k}"}
        for step in (1, 2, 3)
        for g in range(12)
        for k in range(8)
    ]
    for step in (1, 2, 3):
        mine = [json.dumps(row) + "\n" for row in rows if row["step"] == step]
        (tmp_path / f"{step}.jsonl").write_text("".join(mine))
    return tmp_path


def run(app: typer.Typer, *words: object) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words], env={"COLUMNS": "80"})


def test_terminal_output_fits_80_columns(app: typer.Typer, dump: Path) -> None:
    result = run(app, dump)
    assert result.exit_code == 0, result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80
    for text in ("verl", "Regime", "transition", "assumed", "K = 8"):
        assert text in result.output
    verbose = run(app, dump, "--verbose").output
    for text in ("tier D", "K 8", "feasible", "trend"):
        assert text in verbose
    assert "[bold]" in verbose


def test_json_to_stdout_is_the_schema_and_nothing_else(app: typer.Typer, dump: Path) -> None:
    result = run(app, dump, "--json", "-", "--eta", 2)
    data = json.loads(result.output)
    jsonschema.validate(data, SCHEMA)
    assert data["target"] == {
        "source": "declared",
        "anchor": {"mu": 1.0},
        "tilts": [{"utility": "score", "eta": 2.0}],
        "support": [],
    }


def test_files_are_written(app: typer.Typer, dump: Path, tmp_path: Path) -> None:
    table, where = tmp_path / "contexts.parquet", tmp_path / "diagnosis.json"
    result = run(app, dump, "--per-context", table, "--json", where, "--steps", "2:3")
    assert result.exit_code == 0
    assert len(pl.read_parquet(table)) == 24
    assert json.loads(where.read_text())["source"]["steps"] == [2, 3]


@pytest.mark.parametrize(
    "target",
    [
        "{anchor: {mu: 1}, tilts: [{utility: score, eta: 3}]}",
        "{kind: scalar_reward, utility: score, eta: 3, anchor: {mu: 1}}",
    ],
)
def test_target_as_yaml(app: typer.Typer, dump: Path, target: str) -> None:
    data = json.loads(run(app, dump, "--target", target, "--json", "-").output)
    assert data["target"]["source"] == "declared"
    assert data["target"]["tilts"] == [{"utility": "score", "eta": 3.0}]


def test_config_of_ours_declares_its_target(app: typer.Typer, dump: Path) -> None:
    config = Path(__file__).parents[2] / "configs" / "rft.yaml"
    data = json.loads(run(app, dump, "--config", config, "--json", "-").output)
    assert data["target"]["source"] == "declared"


def test_config_without_a_finite_target_says_so(
    app: typer.Typer, dump: Path, tmp_path: Path
) -> None:
    """GRPO, beta = 0, z-scored: what it implies, and what may still be read."""
    config = tmp_path / "grpo.yaml"
    config.write_text("beta: 0.0\nnum_generations: 8\nscale_rewards: group\nloss_type: grpo\n")
    assert "no finite target" in " ".join(run(app, dump, "--config", config).output.split())
    result = run(app, dump, "--config", config, "--verbose")
    assert result.exit_code == 0, result.exception
    text = " ".join(result.output.split())
    assert "no finite target" in text
    assert "target (assumed)" in text
    assert "feasible" in text


def test_config_with_z_scores_gives_eta_by_context(
    app: typer.Typer, dump: Path, tmp_path: Path
) -> None:
    config = tmp_path / "grpo.yaml"
    config.write_text("beta: 0.1\nnum_generations: 8\nscale_rewards: group\nloss_type: grpo\n")
    result = run(app, dump, "--config", config, "--verbose")
    assert result.exit_code == 0, result.exception
    text = " ".join(result.output.split())
    assert "target (located)" in text
    assert "eta_c differs by prompt" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "vrel"], "Did you mean 'verl'"),
        (["--map", "utility"], "role=column"),
        (["--map", "utility=nothing"], "no reward 'nothing'"),
        (["--target", "{anchor: {mu: 1}, tilts: 3}"], "tilts"),
        (["--target", "{anchor: {mu: 1}", "--json", "-"], "YAML"),
        (["--target", "grop"], "grop"),
        (["--steps", "9:1"], "empty"),
        (["--steps", "90:"], "no rows"),
        (["--group-by", "prompt"], "group_by"),
        (["--target", "grpo", "--config", "x.yaml"], "give one"),
    ],
)
def test_bad_input_is_one_of_our_errors(
    app: typer.Typer, dump: Path, words: list[str], message: str
) -> None:
    result = run(app, dump, *words)
    assert isinstance(result.exception, TodError)
    assert message in str(result.exception)


def test_map_is_a_list_of_pairs() -> None:
    assert parse_map(["utility=a,context=b", "step = s"]) == {
        "utility": "a",
        "context": "b",
        "step": "s",
    }
    with pytest.raises(SpecError, match="role=column"):
        parse_map(["utility="])


def test_on_policy_is_declared_not_measured(app: typer.Typer, dump: Path) -> None:
    data = json.loads(run(app, dump, "--on-policy", "--json", "-").output)
    assert data["overlap"]["policy_proposal"] == 1.0
    assert "policy_proposal" in data["overlap"]["declared"]


def test_help_has_an_example(app: typer.Typer) -> None:
    result = run(app, "--help")
    assert result.exit_code == 0
    assert "Example: tod diagnose" in result.output


def test_importing_the_command_stays_light() -> None:
    code = (
        "import sys, tod.cli.diagnose; "
        "heavy = {'polars', 'rich', 'torch', 'msgspec', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_diagnosing_needs_no_torch(dump: Path) -> None:
    """A whole diagnosis in an interpreter where importing a framework fails."""
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'trl', 'pandas', 'datasets'):\n"
        "    sys.modules[name] = None\n"
        "from tod import diagnose, read\n"
        f"print(diagnose(read({str(dump)!r})).regime.verdict)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "undetermined", done.stderr  # the target is assumed


def test_the_page_names_only_flags_that_exist() -> None:
    """docs/diagnose.md, and every flag of the measures is on it."""
    page = (Path(__file__).parents[2] / "docs/diagnose.md").read_text()
    from tod.cli.main import app as whole

    known = set()
    for command in ("diagnose", "report"):
        result = CliRunner().invoke(whole, [command, "--help"], env={"COLUMNS": "200"})
        known |= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", result.output))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page))
    assert named <= known, named - known
    assert {"--below", "--bootstrap", "--texts", "--clip", "--operator", "--thresholds"} <= named


def test_the_default_screen_fits_a_terminal_and_answers_in_its_first_line(
    app: typer.Typer, dump: Path
) -> None:
    """0.1 printed 77 lines; the verdict had scrolled away."""
    lines = run(app, dump).output.splitlines()
    assert lines[0].startswith("The reward is not a function of the answer")
    assert lines[0].endswith("CRITICAL")
    assert len(lines) <= 24
    more = run(app, dump, "--verbose").output
    assert len(more.splitlines()) > 24
    assert "regime: undetermined" in more
    assert "needs" in more


def planted(folder: Path, dead: bool) -> Path:
    """Rollouts of twelve steps; from step 9 on all fail, if dead."""
    rng, path = np.random.default_rng(5), folder / "rollouts.jsonl"
    with path.open("w") as out:
        for step, prompt, i in product(range(1, 13), range(8), range(8)):
            fails = dead and step > 8
            row = {
                "step": step,
                "context": f"{step}-{prompt}",
                "completion": f"{prompt} {i} {step}",
            }
            row["utility.correct"] = 0.0 if fails else float(rng.random() < 0.2 + 0.08 * prompt)
            out.write(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize(("dead", "code"), [(True, 4), (False, 0)])
def test_the_exit_code_tells_the_severity(
    app: typer.Typer, tmp_path: Path, dead: bool, code: int
) -> None:
    path = planted(tmp_path, dead)
    assert run(app, path).exit_code == 0
    assert run(app, path, "--exit-code").exit_code == code


def test_markdown_holds_the_answer_and_nothing_else_is_printed(
    app: typer.Typer, tmp_path: Path
) -> None:
    result = run(app, planted(tmp_path, dead=True), "--markdown", "-")
    assert result.output.startswith("**Learning stopped at step 9: every answer to every prompt")
    assert "last good step" in result.output
    assert "\n**What to do**\n\n1. " in result.output
    assert "More: --verbose" not in result.output


def test_a_metric_log_alone_is_diagnosed(app: typer.Typer, tmp_path: Path) -> None:
    """0.1 said "line 1 is not JSON" of the artefact that people commit most."""
    history = [
        {"step": step, "reward": 0.5, "kl": 0.01 if step < 20 else 6.0 + 0.1 * step, "epoch": 0.1}
        for step in range(1, 41)
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    result = run(app, tmp_path / "trainer_state.json", "--exit-code")
    assert result.exit_code == 4
    first = result.output.splitlines()[0]
    assert "KL" in first
    assert "step 20" in first
    assert "ot checkable here" in " ".join(result.output.split())
