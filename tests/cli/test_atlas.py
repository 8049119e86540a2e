"""`tod atlas`: exit codes, JSON on stdout and what is printed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tod.base import DataError, Groups, RunError, SpecError
from tod.cli.main import app
from tod.diagnostics import Summary
from tod.diagnostics.summary import ContextCounts, Coverage, EssRel, Overlap, Tails
from tod.population import LegStatistics, leg_statistics
from tod.runs import Manifest, RunDirectory, StepRecord

CONFIGS = Path(__file__).parents[1] / "configurations" / "files"
RUNNER = CliRunner()


def output(*words: str) -> str:
    result = RUNNER.invoke(app, ["atlas", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def summary(level: float) -> Summary:
    """A batch whose every overlap is ``level``."""
    return Summary(
        contexts=ContextCounts(
            total=64, informative=64, candidates_per_context={"min": 16, "median": 16, "max": 16}
        ),
        ess_rel=EssRel(median=level, q10=level, mean=level),
        tails=Tails(max_weight_median=0.1, log_w_variance_median=0.1, top_mass_median=0.2),
        overlap=Overlap(
            target_proposal=level, policy_proposal=level, target_policy=level, minimum=level, k=16
        ),
        coverage=Coverage(mean_rho=1.0, mean_rho_z=0.0, missing_mass=0.01),
        activation=0.01,
    )


def run_at(path: Path, level: float, eta: float = 5.0) -> Path:
    recipe = {
        "target": {"kind": "verifier", "eta": eta, "utility": "correct"},
        "operator": {"action": {"kind": "weighted_regression"}},
    }
    run = RunDirectory.create(path, Manifest.of("r", recipe, {"seed": 0}))
    for step in (1, 2, 3):
        counts = statistics(np.random.default_rng(step), level).to_dict()
        record = StepRecord(step, {"correct": 0.5}, summary(level), statistics=counts)
        run.steps.append(record.to_dict())
    return path


def statistics(rng: np.random.Generator, level: float) -> LegStatistics:
    """On-policy, normal rewards at the spread whose ESS_rel over the population is ``level``."""
    groups = Groups.equal(128, 16)
    tilt = math.sqrt(-math.log(level)) * rng.normal(size=groups.total)
    log_r = np.zeros(groups.total)
    return leg_statistics(groups, log_w=tilt, anchored=True, eta=1.0, log_r=log_r)


def test_locate_prints_and_writes(tmp_path: Path) -> None:
    text = output("locate", str(CONFIGS / "trl_grpo.py"), "--json", str(tmp_path / "l.json"))
    assert "π_ref/(1 − η(U − Ū)), ηU = 25·reward/σ_c" in text
    assert max(map(len, text.splitlines())) <= 80
    data = json.loads((tmp_path / "l.json").read_text())
    assert (data["schema"], data["framework"]) == ("tod.locate/1", "trl")


def test_json_alone_on_stdout() -> None:
    for words in (
        ("locate", str(CONFIGS / "verl_grpo.sh")),
        ("compare", "grpo", "rloo"),
        ("grid",),
        ("list",),
        ("show", "gspo"),
    ):
        json.loads(output(*words, "--json", "-"))


def test_grid_as_a_page(tmp_path: Path) -> None:
    output("grid", "--html", str(tmp_path / "g.html"))
    assert (tmp_path / "g.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(("level", "licensed"), [(0.97, True), (0.1, False)])
def test_compare_on_a_run(tmp_path: Path, level: float, licensed: bool) -> None:
    run = run_at(tmp_path / "run", level)
    text = output(
        "compare", "weighted_mle", "weighted_mle_centred", "--on", str(run), "--json", "-"
    )
    data = json.loads(text)
    assert (data["same_target"], data["swap_licensed"]) == ("yes", licensed)
    assert any("3 steps" in reason for reason in data["reasons"])


def test_a_run_of_another_target_licenses_nothing(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run", 0.97, eta=7.0)
    data = json.loads(
        output("compare", "weighted_mle", "weighted_mle_centred", "--on", str(run), "--json", "-")
    )
    assert data["swap_licensed"] is None
    assert any("the target of neither" in reason for reason in data["reasons"])


def test_compare_on_rollouts(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "context": c, "candidate": k, "prompt": str(c), "completion": str(k)}
        | {"utility.correct": float(k % 3 == c % 3), "log_mu": -2.0 - k / 10, "log_ref": -2.0}
        for c in range(12)
        for k in range(8)
    ]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = json.loads(
        output("compare", "weighted_mle", "weighted_mle_centred", "--on", str(path), "--json", "-")
    )
    assert data["same_target"] == "yes"
    assert data["swap_licensed"] in (False, None), "legs of π are unknown: never a licence"


def test_compare_finds_columns_by_role(tmp_path: Path) -> None:
    rows = [
        {"prompt_id": c, "text": str(k), "passed": float(k % 3 == c % 3), "logp": -2.0, "ref": -2.0}
        for c in range(12)
        for k in range(8)
    ]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    words = ["compare", "sir", "soft_best_of_n", "--on", str(path), "--json", "-"]
    roles = "context=prompt_id,completion=text,utility.correct=passed,log_mu=logp,log_ref=ref"
    data = json.loads(output(*words, "--map", roles))
    assert any("weighed by the target of sir" in reason for reason in data["reasons"])
    with pytest.raises(DataError, match="--map"):
        RUNNER.invoke(app, ["atlas", *words], catch_exceptions=False)


def test_a_list_on_a_narrow_screen_has_the_titles() -> None:
    assert "dpo: DPO: the logistic loss of choices" in output("list")


def test_the_grid_reads_runs(tmp_path: Path) -> None:
    run_at(tmp_path / "runs" / "a", 0.97)
    cells = json.loads(output("grid", "--runs", str(tmp_path / "runs"), "--json", "-"))["cells"]
    measured = [cell["measured"] for cell in cells if cell["measured"]]
    ((name, at),) = [item for cell in measured for item in cell.items()]
    assert (name, at["verdict"]) == ("weighted_mle", "swap_stable")
    assert at["ess_rel"] == pytest.approx(0.97)


def test_errors_are_errors() -> None:
    for words, error in (
        (["locate", "none.yaml"], SpecError),
        (["compare", "grppo", "rloo"], SpecError),
        (["compare", "grpo", "rloo", "--on", "nowhere"], (SpecError, RunError, ValueError)),
    ):
        with pytest.raises(error):
            RUNNER.invoke(app, ["atlas", *words], catch_exceptions=False)


def test_audit_is_registered() -> None:
    assert "audit" in output("--help")
