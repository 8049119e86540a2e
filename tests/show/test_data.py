"""What the report reads, against an independent calculation."""

import json

import numpy as np
import polars as pl
import pytest
from synthetic_run import make_run

from tod.runs import RunDirectory
from tod.show.page.run_data import Candidate, WorstContext, at, load, shorten, thinned
from tolerance import double, of_weights


@pytest.fixture(scope="module")
def view(run_path):
    return load(run_path)


def rows(path, table):
    return pl.concat([pl.read_parquet(p) for p in sorted((path / table).glob("*.parquet"))])


def test_bands_are_quantiles_of_informative_contexts(view, run_path):
    frame = rows(run_path, "contexts")
    for step in (0, 17, 40):
        of = frame.filter((pl.col("step") == step) & (pl.col("class") == "informative"))
        wanted = np.quantile(of["ess_rel"].to_numpy(), [0.1, 0.25, 0.5, 0.75, 0.9])
        assert view.bands[step] == pytest.approx(tuple(wanted), rel=double(8))


def test_points_are_the_informative_contexts_of_the_last_step(view, run_path):
    frame = rows(run_path, "contexts").filter(pl.col("step") == 40)
    informative = frame.filter(pl.col("class") == "informative")
    assert len(informative) < len(frame)
    assert {p.context for p in view.points} == set(informative["context"])
    assert all(p.prompt.startswith("reach") for p in view.points)


def test_worst_contexts_and_their_weights(view, run_path):
    frame = rows(run_path, "contexts").filter(
        (pl.col("step") > 35) & (pl.col("class") == "informative")
    )
    assert view.worst[0].ess_rel == frame["ess_rel"].min()
    assert len({item.context for item in view.worst}) == len(view.worst) == 8
    for item in view.worst:
        weights = np.array([candidate.weight for candidate in item.candidates])
        assert weights.sum() == pytest.approx(1.0)
        assert 1 / (len(weights) * (weights**2).sum()) == pytest.approx(
            item.ess_rel, rel=of_weights("float64", 16, 20.0)
        )
        assert list(weights) == sorted(weights, reverse=True)
        assert max(weights) == pytest.approx(item.max_weight)


def test_weights_are_unknown_without_log_w(tmp_path):
    run = RunDirectory.open(make_run(tmp_path / "r", steps=1))
    for path in run.rollouts.paths():
        pl.read_parquet(path).drop("log_w").write_parquet(path)
    assert all(c.weight is None for item in load(tmp_path / "r").worst for c in item.candidates)


def test_a_run_without_tables_or_records_is_readable(tmp_path):
    make_run(tmp_path / "r", steps=1)
    for path in (tmp_path / "r").rglob("*.parquet"):
        path.unlink()
    view = load(tmp_path / "r")
    assert (view.points, view.worst, view.bands) == ([], [], {})
    (tmp_path / "r" / "steps.jsonl").unlink()
    assert load(tmp_path / "r").last == {}


def test_at_finds_numbers_only():
    record = json.loads('{"a": {"b": 2, "c": true, "d": "3", "e": null}}')
    assert at(record, "a", "b") == 2.0
    assert [at(record, "a", key) for key in ("c", "d", "e", "x")] == [None] * 4
    assert at(record, "x", "y") is None


def test_thinning_keeps_the_ends_and_every_evaluation(view):
    thin = thinned(view, 10)
    assert len(thin.steps) <= 15
    assert thin.steps[0] == view.steps[0]
    assert thin.steps[-1] == view.steps[-1]
    held = [r for r in view.steps if r["held_out"]]
    assert [r for r in thin.steps if r["held_out"]] == held
    assert set(thin.bands) == {r["step"] for r in thin.steps}
    assert thinned(view, 1000) is view


def test_shorten_says_how_much_is_missing():
    assert shorten("abc", 3) == "abc"
    assert shorten("abcdef", 3) == "abc… (+3 characters)"


def test_a_fragile_prompt_says_how_many_of_its_rollouts_are_not_shown():
    row = {"step": 3, "k": 20, "ess_rel": 0.1, "max_weight": 0.9}
    rollouts = [Candidate(f"y{i}", 1 / 20, {}) for i in range(20)]
    shown = WorstContext.of(row, "c", None, rollouts)
    assert (len(shown.candidates), shown.omitted, shown.prompt) == (16, 4, "")
    assert WorstContext.of(row, "c", "p", rollouts, shown=8).omitted == 12
    assert WorstContext.of(row, "c", "p").omitted == 0
