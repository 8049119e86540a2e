"""Searches of the embedded model from end to end: files, laws, resuming, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tod.base import ModelError, RunError, SpecError
from tod.engine.search.job import search
from tod.engine.settings import RunSettings, Search
from tod.engine.train import Events
from tod.formats import read
from tod.reranking.rerank import rerank
from tod.reranking.words import enough, gain
from tod.runs import RunDirectory, comparable
from tod.show import build
from tolerance import double, of_sequence

Make = Callable[..., RunSettings]
NAMES = [
    "best_of_k",
    "sir",
    "soft_best_of_n",
    "rejection",
    "majority_vote",
    "weighted_vote",
    "mbr",
    "smc",
    "twisted_smc",
]


def rollouts(path: Path) -> pl.DataFrame:
    return RunDirectory.open(path).rollouts.scan().collect()


def summary(path: Path) -> dict:
    return json.loads((path / "search.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_every_config_searches_and_reports(name: str, small: Make) -> None:
    settings = small(name)
    path = search(settings)
    run = RunDirectory.open(path)
    records = list(run.steps.read())
    assert [r["contexts"]["total"] for r in records] == [5, 5, 2]
    assert records[0]["overlap"]["not_applicable"] == ["policy_proposal", "target_policy"]
    assert records[0]["overlap"]["policy_proposal"] is None
    assert records[0]["ledger"]["train_tokens"] == 0
    assert records[0]["ledger"]["sample_flops"] > 0
    rows = rollouts(path)
    put_out = rows.group_by("context", maintain_order=True).agg(pl.col("selected").sum())
    assert len(put_out) == 12
    exactly_one = name not in ("rejection",)
    assert put_out["selected"].max() == 1
    assert not exactly_one or put_out["selected"].min() == 1
    found = summary(path)
    assert found["schema"] == "tod.search/1"
    together = settings.operator.action.while_drawing
    assert [point["k"] for point in found["curve"]] == ([4] if together else [1, 2, 4])
    assert found["candidates"]["utility"] == pytest.approx(rows["utility.correct"].mean())
    chosen = rows.filter(pl.col("selected"))["utility.correct"]
    assert found["selected"]["utility"] == pytest.approx(chosen.mean())
    any_passes = pl.col("utility.correct").max() if together else pl.col("utility.correct").mean()
    covered = rows.group_by("context").agg(any_passes.alias("passes"))["passes"].mean()
    assert found["curve"][0]["coverage"] == pytest.approx(covered)
    html = build([path])
    assert "Selection against K" in html
    assert "Reward by batch" in html


def test_best_of_k_takes_the_best_and_its_curve_ends_there(small: Make) -> None:
    path = search(small("best_of_k"))
    rows = rollouts(path)
    best = rows.group_by("context").agg(
        (pl.col("utility.correct").filter("selected") == pl.col("utility.correct").max()).all()
    )
    assert best["utility.correct"].all()
    found = summary(path)
    last = found["curve"][-1]
    assert last["utility"] == last["pass_rate"] == last["coverage"]
    assert last["utility"] == pytest.approx(found["selected"]["utility"])
    assert found["gain"]["utility"] == pytest.approx(
        found["selected"]["utility"] - found["candidates"]["utility"]
    )


def test_what_rejection_refuses_counts_as_a_miss(small: Make) -> None:
    """Counted over the rows of the run: every prompt is one, selected or not."""
    words = ("search.contexts=40", "operator.proposal.prompts=25", "search.subsets=400")
    path = search(small("rejection", "run", *words))
    rows = rollouts(path)
    passing = rows.filter("selected", pl.col("utility.correct") == 1)["context"].n_unique()
    taken = rows.filter("selected")["context"].n_unique()
    assert 0 < passing < taken < 40
    found = summary(path)
    assert found["selected"]["accepted"] == taken / 40
    assert found["selected"]["pass_rate"] == pytest.approx(passing / 40)
    assert found["selected"]["utility"] == pytest.approx(passing / taken)
    by_prompt = rows.group_by("context").agg(
        (pl.col("selected") & (pl.col("utility.correct") == 1)).any().cast(pl.Float64)
        - pl.col("utility.correct").mean()
    )["selected"]
    assert found["gain"]["pass_rate"] == pytest.approx(by_prompt.mean())
    assert found["gain"]["pass_rate_se"] == pytest.approx(by_prompt.std() / np.sqrt(40))
    rates = [point["pass_rate"] for point in found["curve"]]
    assert rates == sorted(rates)
    assert rates[-1] <= found["curve"][-1]["coverage"]
    records = list(RunDirectory.open(path).steps.read())
    shares = [record["utility"]["selected"] for record in records]
    assert (25 * shares[0] + 15 * shares[1]) / 40 == pytest.approx(taken / 40)


def test_pass_rate_of_best_of_k_is_the_mean_of_one_minus_all_misses(small: Make) -> None:
    """p_c from 256 other draws of every prompt; the selection's own draws are independent."""
    words = ("search.contexts=48", "operator.proposal.prompts=48")
    few = search(small("best_of_k", "few", *words))
    many = search(small("best_of_k", "many", *words, "operator.proposal.size=256", "search.seed=9"))
    p = rollouts(many)["utility.correct"].to_numpy().reshape(48, 256).mean(axis=1)
    expected = 1 - (1 - p) ** 4
    error = np.sqrt((expected * (1 - expected)).sum()) / 48
    found = summary(few)["selected"]["pass_rate"]
    assert abs(found - expected.mean()) < 3.5 * error
    assert abs(p.mean() - expected.mean()) > 4 * error, "the test can tell it from pass@1"
    # with and without replacement differ by k(k − 1)/2n·p(1 − p)^(k − 1), at most 27/256
    k, n = 4, 256
    near = k * (k - 1) / (2 * n) * 27 / 256
    curve = {point["k"]: point for point in summary(many)["curve"]}
    assert curve[4]["pass_rate"] == pytest.approx(expected.mean(), abs=near)


def test_resampling_under_an_anchor_of_its_own_scores_it(small: Make) -> None:
    """q* ∝ teacher·exp(5U): log w = log π_T − log μ + 5U, recomputed from the columns."""
    path = search(
        small(
            "sir",
            "run",
            "anchors={teacher: tod://tiny-teacher}",
            "target.anchor={teacher: 1.0}",
        )
    )
    rows = rollouts(path)
    expected = rows["log_teacher"] - rows["log_mu"] + 5 * rows["utility.correct"]
    np.testing.assert_allclose(
        rows["log_w"].to_numpy(), expected.to_numpy(), rtol=0, atol=double(4, 100)
    )
    assert (rows["log_teacher"] - rows["log_mu"]).abs().max() > 0.1
    record = next(iter(RunDirectory.open(path).steps.read()))
    assert record["ledger"]["score_tokens"] > 0


def test_the_reference_is_the_model_itself_and_costs_nothing(small: Make) -> None:
    rows = rollouts(search(small("sir")))
    np.testing.assert_allclose(rows["log_ref"].to_numpy(), rows["log_mu"].to_numpy())
    np.testing.assert_allclose(rows["log_w"].to_numpy(), 5 * rows["utility.correct"].to_numpy())


def test_a_truncated_proposal_pays_for_its_missing_support(small: Make) -> None:
    rows = rollouts(search(small("sir", "run", "operator.proposal.top_k=3")))
    gap = (rows["log_ref"] - rows["log_mu"]).to_numpy()
    assert (gap <= of_sequence("float32")).all()
    assert gap.min() < -0.01


def test_batches_and_resuming_change_nothing(small: Make) -> None:
    whole = search(small("sir", "whole"))

    def stop(record):
        if record.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(small("sir", "cut"), events=Events(record=stop))
    cut = small("sir", "cut").directory
    assert not (cut / "search.json").exists()
    (cut / "rollouts" / "part-000002-000002.parquet").unlink()
    seen = []
    again = search(small("sir", "cut"), resume=True, events=Events(resumed=seen.append))
    assert seen == [1]
    one, two = RunDirectory.open(whole), RunDirectory.open(again)
    assert [comparable(r) for r in one.steps.read()] == [comparable(r) for r in two.steps.read()]
    assert rollouts(whole).equals(rollouts(again))
    assert summary(whole) == summary(again)
    search(small("sir", "cut"), resume=True, events=Events(record=lambda _: pytest.fail("again")))

    other = rollouts(search(small("sir", "batches", "operator.proposal.prompts=12")))
    same = ["context", "completion", "selected"]
    assert rollouts(whole).select(same).equals(other.select(same))


def test_train_prompts_can_be_searched_and_a_run_is_not_overwritten(small: Make) -> None:
    path = search(small("best_of_k", "run", "search.split=train"))
    assert rollouts(path)["context"].str.starts_with("train/").all()
    with pytest.raises(RunError, match="already holds a run"):
        search(small("best_of_k"))
    with pytest.raises(RunError, match=r"another recipe.*search\.split"):
        search(small("best_of_k"), resume=True)


def test_weights_beyond_the_bound_are_counted_and_said(small: Make) -> None:
    """b = μ and η = 5: log w is 5 where correct and 0 elsewhere, so −3 is below all of them."""
    with pytest.warns(UserWarning, match=r"exceeded by 100.0% .*up to 5\).*Use at least 5"):
        path = search(small("rejection", "run", "operator.action.log_bound=-3"))
    assert summary(path)["bound"] == {"log_bound": -3, "beyond": 1, "largest_log_w": 5}
    words = ("operator.action.log_bound=2", "model=tod://tiny-teacher")
    with pytest.warns(UserWarning, match="is exceeded by"):
        path = search(small("rejection", "between", *words))
    share = summary(path)["candidates"]["utility"]
    assert 0 < share < 1
    assert summary(path)["bound"]["beyond"] == pytest.approx(share)
    records = list(RunDirectory.open(path).steps.read())
    shares = [record["optimiser"]["beyond_bound"] for record in records]
    assert np.average(shares, weights=[5, 5, 2]) == pytest.approx(share)


def test_a_bound_far_too_high_is_said(small: Make) -> None:
    with pytest.warns(UserWarning, match="accepted nothing.*Lower it"):
        path = search(small("rejection", "run", "operator.action.log_bound=50"))
    assert summary(path)["selected"]["accepted"] == 0


def test_a_bound_that_holds_is_not_remarked_on(
    small: Make, recwarn: pytest.WarningsRecorder
) -> None:
    found = summary(search(small("rejection")))
    assert found["bound"]["beyond"] == 0
    assert not [w for w in recwarn if "log_bound" in str(w.message)]
    assert "bound" not in summary(search(small("best_of_k", "other")))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps=20", "`train` is for training"),
        ("evaluate={every: 5}", "`evaluate` is for training"),
        ("peft={kind: lora}", "`peft` is for training"),
        ("arc={knob: eta}", "`arc` is for training"),
        ("operator.action={kind: weighted_regression}", "`search` is for actions that select"),
        ("search.answer='('", "no regular expression"),
        ("search.context=3", "Did you mean `contexts`"),
    ],
)
def test_mixed_up_recipes_are_refused(override: str, message: str, small: Make) -> None:
    with pytest.raises(SpecError, match=message):
        small("best_of_k", "run", override)


def test_the_search_block_is_filled_in_only_where_the_action_selects(small: Make) -> None:
    settings = small("best_of_k")
    bare = RunSettings.parse({**settings.plain(), "search": None})
    assert bare.search == Search()
    assert bare.plain()["search"]["contexts"] == 256
    assert (settings.selects, settings.steps) == (True, 3)
    trained = {**bare.plain(), "search": None}
    trained["operator"] = {"action": {"kind": "weighted_regression"}}
    training = RunSettings.parse(trained)
    assert training.search is None
    assert training.steps == training.train.steps
    with pytest.raises(SpecError, match="trains: run it with `train`"):
        search(training)
    second = {"operators": {"rerank": {"action": {"kind": "best_of_k"}}}}
    with pytest.raises(SpecError, match="search in a run of its own"):
        RunSettings.parse({**trained, **second})


def test_a_model_that_is_not_there_leaves_no_directory(small: Make, tmp_path: Path) -> None:
    settings = small("best_of_k", "run", f"model={tmp_path / 'nowhere'}")
    with pytest.raises(ModelError, match="nowhere"):
        search(settings)
    assert not settings.directory.exists()


def test_smc_without_a_twist_puts_out_what_sir_does(small: Make) -> None:
    """ψ = 1 until the end: the same draws, weights, uniforms and answers."""
    sir = search(small("sir", "sir"))
    smc = search(small("sir", "smc", "operator.action={kind: smc, every: 2}"))
    names = ["context", "completion", "log_mu", "selected"]
    assert rollouts(smc).select(names).equals(rollouts(sir).select(names))
    for record in RunDirectory.open(smc).steps.read():
        assert record["optimiser"]["smc.resamplings"] == 0
        assert record["optimiser"]["smc.twist_evaluations"] == 0


def test_a_search_by_particles_says_how_often_it_resampled_and_what_z_is(small: Make) -> None:
    """Ẑ itself is held against enumeration in tests/engine/sampling/test_particles.py."""
    changes = ("search.contexts=12", "operator.proposal.size=32")
    path = search(small("twisted_smc", "run", *changes))
    records = list(RunDirectory.open(path).steps.read())
    for record in records:
        told = record["optimiser"]
        assert told["smc.resamplings"] > 0
        assert np.isfinite([told["smc.log_z"], told["smc.log_z_se"]]).all()
        assert 1 / 32 <= told["smc.ess_rel.1"] <= 1
        assert told["smc.twist_evaluations"] >= 32 * record["contexts"]["total"]
        assert record["ledger"]["score_flops"] > 0
    assert (rollouts(path)["log_mu"] <= 0).all()
    told = json.loads((path / "search.json").read_text(encoding="utf-8"))
    assert [point["k"] for point in told["curve"]] == [32]  # particles depend on one another


def test_nothing_is_said_of_fewer_particles(small: Make) -> None:
    again = rerank(read(search(small("twisted_smc", "run")), unanswered=True))
    assert again.verdict.enough == "unknown"
    assert again.ranked[0].sizes == (4,)
    assert gain(again, again.ranked[0]) is None
    assert enough(again).startswith("Not known: particles depend on one another")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (("target.anchor={mu: 1.0}",), "anchored at `mu`, and smc resamples"),
        (("operator.action.twist={kind: utility, utility: other}",), "reads reward 'other'"),
        (("anchors={}",), "the twist asks `teacher`"),
        (
            ("policy={server: 'http://localhost:1', model: any}",),
            "smc stops in the middle of",
        ),
    ],
)
def test_smc_is_refused_where_it_cannot_stop_or_weigh(small: Make, changes, why) -> None:
    with pytest.raises(SpecError, match=why):
        small("smc", "run", *changes)


def test_a_reward_of_unfinished_text_steers_by_particles(small: Make, tmp_path: Path) -> None:
    """A function of one's own, asked every two tokens: what it dislikes is drawn less often."""
    code = "def few(prompts, completions, **_):\n    return [-float(len(c)) for c in completions]\n"
    (tmp_path / "prefix_reward.py").write_text(code, encoding="utf-8")
    custom = f"{{name: few, kind: custom, target: '{tmp_path / 'prefix_reward.py'}:few'}}"
    twist = "{{kind: utility, utility: few, eta: {}}}"
    lengths = []
    for name, eta in (("off", 0.0), ("on", 2.0)):
        both = f"utilities=[{{name: correct, kind: countdown}}, {custom}]"
        changes = (
            both,
            "operator.action={kind: smc, every: 2, resample_below: 0.9}",
            f"operator.action.twist={twist.format(eta)}",
            "operator.proposal.size=16",
        )
        path = search(small("smc", name, *changes), allow_imports=True)
        lengths.append(rollouts(path)["completion"].str.len_chars().mean())
        told = next(iter(RunDirectory.open(path).steps.read()))["optimiser"]
        assert (told["smc.resamplings"] > 0) == (eta > 0)
    assert lengths[1] < lengths[0]
