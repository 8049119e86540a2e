"""`tod plan` on the command line."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tod.base import SpecError
from tod.cli.plan import plan_command
from tod.live import RolloutWriter

app = typer.Typer()
app.command()(plan_command)


@pytest.fixture
def pilot(tmp_path, rng):
    n, k = 40, 8
    with RolloutWriter(tmp_path / "pilot") as writer:
        for step in (1, 2):
            writer.rows(
                step,
                group=np.repeat(np.arange(n), k).tolist(),
                prompt=[f"prompt {i}" for i in np.repeat(np.arange(n), k)],
                completion=["x"] * (n * k),
                utility={
                    "reward": rng.gamma(0.8, 1.0, n * k),
                    "a much longer name": rng.random(n * k),
                },
                log={name: (-rng.gamma(3.0, 1.0, n * k)).reshape(-1, 1) for name in ("mu", "old")},
            )
    return tmp_path / "pilot"


def test_terminal_fits_80_columns(pilot, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = CliRunner().invoke(app, [str(pilot), "--eta", "1"], catch_exceptions=False)
    assert found.exit_code == 0
    lines = found.output.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert len(lines) <= 24
    assert lines[0].startswith("Safe up to eta = ")
    assert "K = " in lines[0]
    for words in ("Largest eta that keeps ESS_rel at 0.5", "in force", "safe", "at your K = 8"):
        assert words in found.output
    assert "…" not in found.output


def test_a_reward_range_is_declared_by_name_or_alone(pilot):
    def run(*options):
        options = [str(pilot), "--eta", "1", *options, "--json", "-"]
        return CliRunner().invoke(app, options, catch_exceptions=False)

    data = json.loads(run("--reward-range", "reward=-1,40").output)
    assert data["feasible"][0]["guaranteed"] == data["feasible"][2]["guaranteed"]
    assert "guaranteed" not in data["feasible"][4]
    for wrong, words in (("0,1", "lie outside"), ("0", "as in 0,1"), ("-1,b", "as in 0,1")):
        with pytest.raises(SpecError, match=words):
            run("--reward-range", wrong)


def test_json_to_stdout_is_json_alone(pilot):
    options = [str(pilot), "--eta", "1", "--k", "4", "--target-ess", "0.4", "--json", "-"]
    found = CliRunner().invoke(app, options, catch_exceptions=False)
    data = json.loads(found.output)
    assert data["schema"] == "tod.plan/1"
    assert data["ess_target"] == 0.4
    assert data["k"]["max"] == 4
    assert data["target"]["source"] == "declared"


def test_json_to_a_file_and_one_utility(pilot, tmp_path):
    where = tmp_path / "plan.json"
    options = [str(pilot), "--utility", "a much longer name", "--json", str(where)]
    found = CliRunner().invoke(app, options, catch_exceptions=False)
    assert "assumed" in found.output
    tilts = json.loads(where.read_text())["target"]["tilts"]
    assert tilts == [{"utility": "a much longer name", "eta": 1.0}]


def test_user_errors_reach_the_entry_point(pilot):
    with pytest.raises(SpecError, match="utility 'nope'"):
        CliRunner().invoke(app, [str(pilot), "--utility", "nope"], catch_exceptions=False)


def test_the_target_comes_from_flags_or_a_configuration(pilot, tmp_path):
    config = tmp_path / "recipe.yaml"
    config.write_text(
        "target: {kind: tilt, anchor: {old: 1.0}, tilts: [{utility: reward, eta: 0.7}]}\n"
        "operator: {action: {kind: policy_gradient, advantage: {kind: group_mean}}}\n"
    )
    inline = "{anchor: {old: 1.0}, tilts: [{utility: reward, eta: 0.7}], kind: tilt}"
    for options in (["--config", str(config)], ["--target", inline]):
        run = CliRunner().invoke(app, [str(pilot), *options, "--json", "-"], catch_exceptions=False)
        data = json.loads(run.output)
        assert data["target"]["anchor"] == {"old": 1.0}
        assert data["eta"] == 0.7
        assert data["refresh"]["age_from"] is None  # never fresh: log_old is far from log_mu
