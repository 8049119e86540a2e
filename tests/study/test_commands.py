"""Bodies of `tod atlas audit` and `tod arc replay`, called as a shell would."""

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tod.base import DataError, RunError, SpecError
from tod.cli.arc import replay_command
from tod.cli.audit import audit_command
from tod.diagnostics import ProbeReading, Summary
from tod.diagnostics.summary import ContextCounts, EssRel, Tails
from tod.runs import Manifest, RunDirectory, StepRecord
from tod.study.audit import SAME


@pytest.fixture
def invoke(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def call(command, *words):
        app = typer.Typer()
        app.command()(command)
        result = CliRunner().invoke(app, list(map(str, words)))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_a_claim_that_holds_exits_with_0(invoke):
    result = invoke(audit_command, "weighted_mle_centred", "--json", "-")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["recipe"] == "weighted_mle_centred"
    assert data["shares_target"] == "yes"
    assert data["passed"] is True
    assert data["on_policy"]["tv"] <= SAME
    assert data["on_policy"]["eta_hat"] == pytest.approx(
        1.5, abs=SAME / 0.4
    )  # TV has a slope ½E|U − Ū| of 0.4 in η


def test_a_recipe_file_that_does_not_share_its_target_exits_with_3(invoke, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\n"
        "target: {kind: scalar_reward, utility: r, eta: 2.0}\n"
        "operator: {action: {kind: policy_gradient, pull: {kind: k3}}}\n"
    )
    result = invoke(audit_command, path)
    assert result.exit_code == 3
    assert "does not share its target" in " ".join(result.stdout.split())
    assert _widest(result.stdout) <= 80


def test_several_at_once_are_one_document(invoke, tmp_path):
    out = tmp_path / "audit.json"
    result = invoke(audit_command, "weighted_mle", "rft", "--json", out)
    assert result.exit_code == 0
    data = json.loads(out.read_text())
    assert [item["recipe"] for item in data["audits"]] == ["weighted_mle", "rft"]


def test_groups_of_k_and_selections_beside_fixed_points(invoke):
    words = ("weighted_mle_centred", "soft_best_of_n", "--k", "4,2")
    result = invoke(audit_command, *words)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "K=2 K=4" in text
    assert "as K → ∞ it goes to q*" in text
    assert _widest(result.stdout) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to audit"),
        (("grpo", "--k", "1"), "2 to 4096 rollouts"),
        (("grpo", "--k", "two"), "2 to 4096 rollouts"),
        (("grpoo",), "Did you mean 'grpo'"),
        (("missing.yaml",), "no such file"),
        (("grpo", "--eta", "0"), "eta = 0"),
    ],
)
def test_nonsense_is_refused(invoke, words, message):
    with pytest.raises(SpecError, match=message):
        invoke(audit_command, *words)


def test_a_recipe_file_without_a_triple_is_refused(invoke, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("target: {kind: scalar_reward, utility: r, eta: 2.0}\n")
    with pytest.raises(SpecError, match="operator: required"):
        invoke(audit_command, path)


def _widest(text):
    """Columns of the longest line; the hat of η̂ takes none."""
    return max(len(line.replace("\u0302", "")) for line in text.splitlines())


def _summary(ess):
    return Summary(
        contexts=ContextCounts(total=32, informative=32),
        ess_rel=EssRel(median=ess, q10=ess / 2),
        tails=Tails(max_weight_median=0.2),
    )


@pytest.fixture
def run(tmp_path):
    recipe = {"arc": {"knob": "eta", "ess_target": 0.6}, "train": {"steps": 20}}
    directory = RunDirectory.create(tmp_path / "run", Manifest("mine", recipe))
    directory.record(StepRecord(step=0, utility={}, knobs={"eta": 5.0}))
    for step in range(1, 11):
        ess = 0.2 if step < 5 else 0.95
        directory.record(StepRecord(step, {"r": 0.5}, _summary(ess), knobs={"eta": 5.0}))
    return tmp_path / "run"


def test_replay_reads_the_run_and_its_own_controller(invoke, run):
    data = json.loads(invoke(replay_command, run, "--json", "-").stdout)
    assert data["schema"] == "tod.arc_replay/1"
    assert data["config"]["ess_target"] == 0.6
    assert data["declared"] == {"eta": 5.0}
    assert data["deadline"] is None, "a set point without a written deadline has none"
    assert [item["step"] for item in data["decisions"]] == list(range(1, 11))
    assert data["first_change"] == 1
    assert data["decisions"][0]["action"] == "soften"
    assert data["decisions"][0]["after"]["eta"] < 5.0
    assert data["ramp"] is None
    data = json.loads(invoke(replay_command, run, "deadline=16", "--json", "-").stdout)
    assert len(data["ramp"]) == 10


def test_replay_agrees_with_the_library(invoke, run):
    from tod.arc import ArcConfig, replay

    records = [record for record in RunDirectory.open(run).steps.read() if record["step"] > 0]
    expected = replay(ArcConfig(ess_target=0.6), records, steps=20)
    data = json.loads(invoke(replay_command, run, "--json", "-").stdout)
    assert data["decisions"] == [item.to_dict() for item in expected]


def test_replay_in_a_terminal(invoke, run):
    text = invoke(replay_command, run).stdout
    assert "soften" in text
    assert "the first at step 1" in text
    assert _widest(text) <= 80


def test_overrides_win_and_calm_data_change_nothing(invoke, run):
    words = ("ess_target=0.05", "ess_quantile=q10", "tail_limit=null", "deadline=1000")
    data = json.loads(invoke(replay_command, run, *words, "--json", "-").stdout)
    assert data["config"]["ess_target"] == 0.05
    assert data["first_change"] is None
    assert "nothing would have been changed" in invoke(replay_command, run, *words).stdout


def test_the_bare_file_and_declared_values(invoke, run):
    words = (run / "steps.jsonl", "--eta", "3", "--steps", "10", "--json", "-")
    data = json.loads(invoke(replay_command, *words).stdout)
    assert data["declared"] == {"eta": 3.0}
    assert data["config"]["ess_target"] == 0.5


def test_anchors_are_replayed_as_anchors(invoke, run):
    words = (run / "steps.jsonl", "--tau", "0.15", "--beta", "0.05", "--json", "-")
    data = json.loads(invoke(replay_command, *words).stdout)
    after = data["decisions"][0]["after"]
    assert data["config"]["knob"] == "anchors"
    assert after["tau"] / after["beta"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("ess_target",), SpecError, "path=value"),
        (("ess_taget=0.5",), SpecError, "ess_target"),
        (("ess_target=2",), SpecError, "ess_target"),
    ],
)
def test_bad_settings_are_refused(invoke, run, words, error, message):
    with pytest.raises(error, match=message):
        invoke(replay_command, run, *words)


def test_what_is_no_run_is_refused(invoke, tmp_path):
    with pytest.raises(RunError, match="no such run"):
        invoke(replay_command, tmp_path / "nowhere")
    (tmp_path / "steps.jsonl").write_text('{"step": 0, "utility": {}}\n')
    with pytest.raises(DataError, match="nothing the controller could have read"):
        invoke(replay_command, tmp_path / "steps.jsonl")


def test_a_run_without_knobs_asks_for_them(invoke, run, tmp_path):
    text = (run / "steps.jsonl").read_text().replace('"knobs":{"eta":5.0}', '"knobs":{}')
    (tmp_path / "bare.jsonl").write_text(text)
    said = invoke(replay_command, tmp_path / "bare.jsonl").stdout
    assert "give --eta" in said
    assert "no rollouts are kept here, so harm was not looked for" in " ".join(said.split())


def test_replay_says_when_alarms_ring_before_what_is_lost(invoke, tmp_path):
    """A planted run: the probe leaves its bound at step 7, rewards fall from step 21."""
    path = harmed(tmp_path / "run")
    data = json.loads(invoke(replay_command, path, "window=1", "--json", "-").stdout)
    assert data["examined"] is True
    assert data["harm"]["kind"] in ("reward_fall", "all_fail")
    assert 19 <= data["harm"]["step"] <= 23
    rang = {item["alarm"]["path"]: item for item in data["alarms"]}
    probe = rang["probe.delta"]
    assert (probe["step"], probe["value"]) == (7, 0.5)
    assert probe["lead"] == data["harm"]["step"] - 7
    assert rang["path.delta"]["readings"] == 0
    assert rang["activation"]["step"] is None
    text = invoke(replay_command, path, "window=1").stdout
    assert text.startswith(
        "The first alarm rings at step 7 (probe.delta); the run was harmed, from"
    )
    assert len(text.splitlines()) <= 24
    assert _widest(text) <= 80


def test_replay_counts_catches_and_false_alarms_over_runs(invoke, tmp_path):
    paths = [harmed(tmp_path / "a"), harmed(tmp_path / "b"), harmed(tmp_path / "c", healthy=True)]
    data = json.loads(invoke(replay_command, *paths, "window=1", "--json", "-").stdout)
    probe = next(item for item in data["rates"] if item["alarm"]["path"] == "probe.delta")
    assert (probe["harmed"], probe["caught"]) == (2, 2)
    assert (probe["healthy"], probe["false"]) == (1, 1), "the planted probe rings in health too"
    text = invoke(replay_command, *paths, "window=1").stdout
    assert text.startswith("3 runs: 2 harmed, 1 not.")
    assert _widest(text) <= 80


def harmed(path, *, healthy=False):
    """30 steps of 12 prompts; from step 21 on every answer fails unless healthy."""
    rng = np.random.default_rng(1)
    recipe = {
        "target": {"kind": "scalar_reward", "utility": "r", "eta": 2.0},
        "train": {"steps": 30},
    }
    directory = RunDirectory.create(path, Manifest("mine", recipe))
    for step in range(1, 31):
        rate = 0.6 if healthy or step <= 20 else 0.02
        reward = (rng.random(12 * 8) < rate).astype(float)
        probe = ProbeReading(1.0, 0.5 if step >= 7 else 0.1, 0.2, 0.1, 8, 64)
        rows = {
            "context": [f"p{c}" for c in range(12) for _ in range(8)],
            "candidate": list(range(8)) * 12,
            "prompt": [f"q {c}" for c in range(12) for _ in range(8)],
            "completion": [f"answer {step} {i}" for i in range(96)],
            "length": [3] * 96,
            "utility.r": reward,
            "log_mu": rng.normal(-3, 0.1, 96),
        }
        directory.write_rollouts(step, rows)
        summary = replace(_summary(0.9), probe=probe, activation=0.01, entropy=1.0)
        directory.record(StepRecord(step, {"r": float(reward.mean())}, summary, knobs={"eta": 2.0}))
    directory.sync()
    return path


def test_a_dump_is_replayed_step_by_step(invoke, tmp_path):
    rng = np.random.default_rng(2)
    path = tmp_path / "dump.jsonl"
    rows = [
        {"step": s, "prompt": f"q{c}", "completion": f"a{i}", "reward": float(rng.random() < 0.5)}
        for s in range(1, 7) for c in range(12) for i in range(8)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ("--map", "utility=reward,context=prompt,step=step")
    text = invoke(replay_command, path, *columns).stdout
    assert "No sharpness is declared here" in text
    data = json.loads(invoke(replay_command, path, *columns, "--eta", "3", "--json", "-").stdout)
    assert data["steps"] == [1, 6]
    assert len(data["decisions"]) == 6
    ess = next(a for a in data["alarms"] if a["alarm"]["path"] == "ess_rel.median")
    assert ess["readings"] == 6
