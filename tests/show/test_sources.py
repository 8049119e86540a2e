"""Runs, saved diagnoses and rollouts side by side on one page."""

import json
import re

import pytest
from rollout_files import HOSTILE, write_own, write_verl
from synthetic_run import make_run
from typer.testing import CliRunner

from tod import show
from tod.base import DataError, RunError
from tod.cli.main import app
from tod.diagnosis import diagnose, verdict_of_run
from tod.formats import read
from tod.regimes import Thresholds
from tod.show.page import run_page
from tod.show.page.headline import compared, facts


@pytest.fixture
def verl(tmp_path):
    """Three steps of utilities alone."""
    return write_verl(tmp_path / "verl")


@pytest.fixture
def own(tmp_path):
    """One step with log-probs; one prompt is hostile."""
    path = tmp_path / "own.jsonl"
    write_own(path, prompt=HOSTILE)
    return path


def saved(path, found):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found.to_dict()), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["verl", "own"])
def test_saved_and_read_again_is_the_same(name, request, tmp_path):
    path = request.getfixturevalue(name)
    found = diagnose(read(path))
    mine, theirs = show.load(saved(tmp_path / "d.json", found)), show.load(path)
    assert mine.diagnosis == theirs.diagnosis
    assert facts(mine) == facts(theirs)
    data = found.to_dict()
    wanted = {name: data[name] for name in ("regime", "regime_before", "pool")}
    assert mine.judged == theirs.judged == wanted
    assert mine.numbers() == theirs.numbers()
    for step in ("ess_rel", "median"), ("ess_rel", "q10"), ("tails", "max_weight_median"):
        assert mine.values(*step) == pytest.approx(theirs.values(*step)), step
    utility = next(iter(theirs.last["target"]["tilts"]))["utility"]
    assert mine.values("utility", utility) == pytest.approx(theirs.values("utility", utility))


def test_one_page_holds_run_diagnosis_and_dump(run_path, verl, own, tmp_path):
    file = saved(tmp_path / "verl.json", diagnose(read(verl), eta=2.5))
    html = show.build([run_path, file, own])
    for name in ("quickstart", "verl", "own.jsonl"):
        assert f">{name}</th>" in html
    assert "q* ∝ mu · exp(2.5 score)" in html
    assert "assumed" in html
    assert "<script>alert" not in html
    assert HOSTILE.split("\n")[0] not in html


def test_curves_of_k_are_those_of_the_diagnoses(verl, own, tmp_path):
    found = [diagnose(read(path), eta=2.0) for path in (verl, own)]
    files = [saved(tmp_path / f"{n}.json", d) for n, d in zip("ab", found, strict=True)]
    html = show.build(files)
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html)[1])
    lines = str(data["plots"]["k"])
    for diagnosis in found:
        legs = [p for p in diagnosis.to_dict()["k_trend"] if p["leg"] == "target_proposal"]
        assert len(legs) > 1
        for point in legs:
            assert f"{point['median']:.2f}" in lines


def test_equal_names_gain_their_folders(own, tmp_path):
    files = [saved(tmp_path / n / "d.json", diagnose(read(own), eta=1.0)) for n in ("a", "b")]
    assert [view.name for view in show.load_all(files)] == ["a/d", "b/d"]


def named(path, name):
    """The run with another name in its manifest."""
    file = path / "manifest.json"
    data = json.loads(file.read_text())
    data["name"] = data["recipe"]["name"] = name
    file.write_text(json.dumps(data))
    return path


def test_runs_of_one_name_are_called_by_what_differs(tmp_path):
    runs = [
        named(make_run(tmp_path / f"eta{eta}", steps=1, eta=eta), "weighted_mle") for eta in (1, 3)
    ]
    views = show.load_all(runs)
    assert [view.name for view in views] == [
        "tau 0.75, beta 0.25",
        "tau 0.25, beta 0.0833333",
    ]
    rows = {row[0].name: [tile.value for tile in row] for row in compared(views)}
    assert rows["Target"] == [f"q* ∝ old^0.75 · ref^0.25 · exp({eta} correct)" for eta in (1, 3)]
    html = run_page.page(views)
    assert "2 runs of weighted_mle side by side" in html
    copies = [named(make_run(tmp_path / f"copy{i}", steps=1, seed=i), "same") for i in (0, 1)]
    assert [view.name for view in show.load_all(copies)] == ["copy0", "copy1"]
    mixed = show.load_all([*runs, copies[0]])
    assert [view.name for view in mixed][1:] == [
        "tau 0.25, beta 0.0833333 (weighted_mle)",
        "same",
    ]


def test_no_setting_is_shown_as_code(tmp_path):
    paths = [make_run(tmp_path / name, steps=1) for name in ("plain", "shaped")]
    file = paths[1] / "manifest.json"
    data = json.loads(file.read_text())
    data["recipe"]["operator"]["action"]["trust_region"] = None
    data["recipe"]["utilities"] = [{"name": "correct", "kind": "countdown"}, {"name": "x"}]
    file.write_text(json.dumps(data))
    told = dict(run_page.recipe_differences(show.load_all(paths)))
    assert told["operator.action.trust_region"] == ["clip (low 0.0003, high 0.0004)", "none"]
    assert not any(sign in text for row in told.values() for text in row for sign in "{}[]'")


@pytest.mark.parametrize("kind", ["json", "dump"])
def test_other_bounds_judge_again(kind, own, verl, tmp_path):
    strict = Thresholds(overlap_stable=0.999, overlap_dominated=0.99)
    for path in (own, verl):
        wanted = diagnose(read(path), eta=1.0, thresholds=strict)
        file = saved(tmp_path / "d.json", diagnose(read(path), eta=1.0))
        given = path if kind == "dump" else file
        regime = show.load(given, 1, strict).judged["regime"]
        assert regime["legs"][0]["word"] == wanted.regime.legs[0].word == "dominated"
        assert regime["thresholds"] == strict.model_dump()
        assert show.load(given).judged["regime"]["legs"][0]["word"] != "dominated"
        if kind == "json":
            assert regime["verdict"] == wanted.regime.verdict == "operator_dominated"
            assert [r["why"] for r in regime["reasons"]] == [r.why for r in wanted.regime.reasons]


def drifting(own, folder, drifts):
    """The same rows at every step, with a policy that went that far from the sampler."""
    rows = [json.loads(line) for line in own.read_text(encoding="utf-8").splitlines()]
    folder.mkdir()
    for step, drift in enumerate(drifts, start=1):
        for i, row in enumerate(rows):
            row |= {"step": step, "log_policy": row["log_mu"] - drift * ((i * 7) % 5) / 5}
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{step}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_several_steps_are_judged_again_on_the_intervals_of_their_pool(tmp_path):
    """A bound between the ends of the leg: its interval, not its point, decides."""
    found = diagnose(read(write_verl(tmp_path / "many")), eta=2.0)
    assert found.pool.to_dict() == {"first": 1, "last": 3, "policy_first": 1}
    median = found.regime.legs[0].ess.median
    assert median.low < median.value < median.high
    file = saved(tmp_path / "d.json", found)
    for stable, word in ((median.low, "stable"), (median.value, "transition")):
        bounds = Thresholds(overlap_stable=stable, overlap_dominated=median.low / 2)
        assert show.load(file, 1, bounds).judged["regime"]["legs"][0]["word"] == word


def test_a_run_that_ends_outside_is_so_by_other_bounds_too(own, tmp_path):
    """The policy's legs are of the steps since it left, and the bounds do not move that."""
    late = drifting(own, tmp_path / "late", [0.0] * 34 + [4.0] * 6)
    found = diagnose(read(late), eta=0.1)
    file = saved(tmp_path / "d.json", found)
    for bounds in (None, Thresholds(ess_q10_dominated=0.2)):
        judged = show.load(file, 1, bounds).judged
        assert judged["pool"] == {"first": 1, "last": 40, "policy_first": 35}
        assert judged["regime"]["legs"][1]["word"] != "stable"


def test_a_run_is_judged_again(run_path):
    """As a whole by the same function, and every recorded step that was diagnosed."""
    strict = Thresholds(overlap_stable=0.999, overlap_dominated=0.99)
    before, after = show.load(run_path), show.load(run_path, 1, strict)
    assert after.judged["regime"] == verdict_of_run(run_path, strict).regime.to_dict()
    assert after.judged["regime"]["verdict"] == "operator_dominated"
    assert before.judged["regime"]["verdict"] != "operator_dominated"
    known = [record["regime"] for record in after.steps if record.get("contexts")]
    assert all(regime["thresholds"] == strict.model_dump() for regime in known)
    assert ">operator-dominated</span>" in run_page.page([after])


def test_rows_that_nobody_knows_are_left_out(own, run_path, tmp_path):
    views = show.load_all([saved(tmp_path / "d.json", diagnose(read(own), eta=1.0)), own])
    html = {row[0].name for row in compared(views)}
    assert "Held-out pass@1" not in html
    assert "Compute" not in html
    assert "Largest safe η" in html
    mixed = compared(show.load_all([run_path, own]))
    assert "Held-out pass@1" in {row[0].name for row in mixed}


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(RunError, match="no such run, diagnosis or rollouts"):
        show.load(tmp_path / "nothing.json")
    (tmp_path / "plan.json").write_text('{"schema": "tod.plan/1"}')
    with pytest.raises(DataError, match=r"plan\.json"):
        show.load(tmp_path / "plan.json")
    (tmp_path / "torn.json").write_text('{"schema": "tod.diagnosis/1"}')
    with pytest.raises(RunError, match="damaged"):
        show.load(tmp_path / "torn.json")


def test_command_by_default_writes_where_it_was_called(own, verl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = saved(tmp_path / "own.json", diagnose(read(own), eta=1.0))
    bounds = tmp_path / "bounds.yaml"
    bounds.write_text("overlap_stable: 0.999\noverlap_dominated: 0.99\n")
    words = ["report", str(file), str(verl), "--thresholds", str(bounds)]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.exception
    assert max(map(len, result.output.splitlines())) <= 80
    assert "operator-dominated" in result.output
    assert "2 runs side by side" in (tmp_path / "report.html").read_text(encoding="utf-8")
