"""The K-scaling figure draws what ``search.json`` says, and leaves out what it does not say."""

import json
import re
from dataclasses import replace

import pytest
from synthetic_run import make_run

from tod import show
from tod.diagnosis import verdict_of_run
from tod.show.figures.k_scaling import k_scaling
from tod.show.figures.learning import learning
from tod.show.page.headline import facts
from tod.show.page.judged import judged
from tod.show.page.run_data import RunView, load
from tod.show.search import gained, measure
from tod.show.words import sentence
from tolerance import printed


def point(k, utility, coverage=None, interval=None):
    return {
        "k": k,
        "utility": utility,
        "utility_ci95": interval or [utility - 0.1, utility + 0.1],
        "pass_rate": None if coverage is None else utility,
        "coverage": coverage,
        "accepted": 1.0,
    }


def view(name="run", **changes):
    search = {
        "rule": "best_of_k",
        "utility": "correct",
        "candidates": {"utility": 0.2, "pass_rate": 0.2},
        "selected": {"utility": 0.75, "pass_rate": 0.75},
        "gain": {"utility": 0.55, "utility_se": 0.04},
        "curve": [point(1, 0.2, 0.2), point(2, 0.4, 0.45), point(4, 0.75, 0.8)],
    }
    return RunView(name=name, steps=[], search=search | changes)


def heights(html, style):
    path = re.search(rf'<path class="line {style}" d="M([^"]+)"', html)[1]
    return [tuple(map(float, pair.split(","))) for pair in path.split("L")]


def test_the_line_rises_by_what_the_curve_says_on_a_logarithmic_axis():
    html = k_scaling([view()], ["s0"])
    (x1, y1), (x2, y2), (x4, y4) = heights(html, "s0")
    assert x2 - x1 == pytest.approx(
        x4 - x2, abs=4 * printed(2)
    )  # pixels are written with two decimals
    assert (y1 - y2) / (y1 - y4) == pytest.approx(0.2 / 0.55, abs=4 * printed(2) / (y1 - y4))
    assert "any of the K passes" in html
    assert "0.65 to 0.85" in html
    assert "best_of_k: 0.20 at K 1, 0.75 at K 4" in html


def test_unknown_parts_are_left_out():
    curve = [point(1, None, interval=[None, None]), point(2, 0.5), point(4, 0.6)]
    html = k_scaling([view(curve=curve)], ["s0"])
    assert len(heights(html, "s0")) == 2
    assert "any of the K passes" not in html
    one = k_scaling([view(curve=[point(1, 0.3)])], ["s0"])
    assert "<circle" in one
    for broken in (None, [], "x", [{"k": None}]):
        assert k_scaling([view(curve=broken)], ["s0"]) is None
    assert k_scaling([replace(view(), search=None)], ["s0"]) is None


def refusing(**changes):
    """Rejection: survivors do well at any K, and few of the prompts have one."""
    known = {"pass_rate": 0.2, "pass_rate_se": 0.01, "utility": 0.2, "utility_se": 0.01}
    after = {"pass_rate": 0.68, "pass_rate_se": 0.03, "utility": 0.94, "utility_se": 0.02}
    curve = [
        point(k, among, any_) | {"pass_rate": rate, "pass_rate_ci95": ends, "accepted": share}
        for k, among, any_, rate, ends, share in (
            (1, 0.97, 0.19, 0.19, [0.16, 0.22], 0.2),
            (4, 0.95, 0.45, 0.44, [0.4, 0.48], 0.46),
            (16, 0.93, 0.69, 0.68, [0.62, 0.74], 0.73),
        )
    ]
    search = {
        "rule": "rejection",
        "k": 16,
        "contexts": 256,
        "candidates": known,
        "selected": after | {"accepted": 0.73},
        "gain": {"utility": 0.67, "utility_se": 0.02, "pass_rate": 0.48, "pass_rate_se": 0.025},
        "curve": curve,
    }
    return view("refusing", **(search | changes))


def test_a_rule_that_refuses_is_drawn_by_its_pass_rate_with_the_share_it_puts_out():
    html = k_scaling([refusing()], ["s0"])
    assert "Pass rate against K" in html
    assert "rejection: 0.19 at K 1, 0.68 at K 16" in html
    assert "anything is put out: 0.20 at K 1, 0.73 at K 16" in html
    assert "0.62 to 0.74" in html
    rising = [y for _, y in heights(html, "s0")]
    assert rising == sorted(rising, reverse=True)
    both = k_scaling([view(), refusing()], ["r0", "r1"])
    assert "Pass rate against K" in both
    assert "refusing: 0.19 at K 1, 0.68 at K 16" in both
    assert "anything is put out" not in both


def test_a_rule_that_refuses_nothing_is_drawn_by_its_utility():
    assert measure([view().search]) == "utility"
    assert "Reward against K" in k_scaling([view()], ["s0"])
    assert "anything is put out" not in k_scaling([view()], ["s0"])


def test_without_a_pass_rate_the_share_is_said_beside_the_utility():
    """A utility that leaves [0, 1] has none: its mean stays one over those that were put out."""
    unknown = {"utility": 3.5, "utility_se": 0.2, "pass_rate": None, "pass_rate_se": None}
    run = refusing(candidates=unknown, selected=unknown | {"accepted": 0.73})
    assert measure([run.search]) == "utility"
    said = gained(run.search)
    assert "selected for 73.0 % of 256 prompts; nothing for the others" in said
    fact = facts(run)[0]
    assert (fact.value, fact.beside) == ("3.50 → 3.50", "gain 0.67 ± 0.02 s.e.; put out for 73 %")


def test_the_headline_of_a_rule_that_refuses():
    fact = facts(refusing())[0]
    assert fact.value == "0.20 → 0.68"
    assert fact.beside == "gain 0.48 ± 0.03 s.e.; put out for 73 %, 0.94 there"
    assert gained(refusing().search) == (
        "rejection of K=16: pass rate of correct 0.200 ± 0.010 (mean of rollouts) -> "
        "0.680 ± 0.030 (a refusal is a miss); selected for 73.0 % of 256 prompts, "
        "correct 0.940 ± 0.020 among these"
    )
    whole = {"utility": 0.75, "utility_se": 0.04, "pass_rate": 0.75, "accepted": 1.0}
    curve = [point(1, 0.2, 0.2), point(16, 0.75, 0.8)]
    assert gained(refusing(selected=whole, curve=curve).search) == (
        "rejection of K=16: correct 0.200 ± 0.010 (mean of rollouts) -> 0.750 ± 0.040 "
        "(selected), 256 prompts"
    )


def test_several_runs_have_a_line_each():
    plain = replace(view("trained"), search=None)
    html = k_scaling([view("a<b"), plain, view("c")], ["r0", "r1", "r2"])
    assert len(heights(html, "r0")) == len(heights(html, "r2")) == 3
    assert 'class="line r1' not in html
    assert "a&lt;b" in html
    assert "a<b" not in html


def test_the_page_and_the_table_show_the_gain(tmp_path):
    path = make_run(tmp_path / "run", steps=2)
    assert "Selection against K" not in show.build([path])
    (path / "search.json").write_text(json.dumps({"schema": "tod.search/1", **view().search}))
    html = show.build([path])
    assert "Selection against K" in html
    assert "0.20 → 0.75" in html
    assert "gain 0.55 ± 0.04 s.e." in html
    cells = show.run_table([load(path)]).columns[2].cells
    assert list(cells) == ["20.0→75.0 %"]
    for damaged in ("{", '{"schema": "tod.search/9"}', "[]"):
        (path / "search.json").write_text(damaged)
        assert load(path).search is None


def test_beside_other_runs_the_batches_are_drawn_by_the_utility_itself():
    batch = {"step": 1, "utility": {"score": 0.2, "selected": 0.7, "selected.score": 0.9}}
    runs = [replace(refusing(), steps=[batch, batch | {"step": 2}]), view("other")]
    lines = learning(runs).series
    assert [list(line.y) for line in lines if line.known()] == [[0.2, 0.2]]


def test_a_verdict_on_a_search_does_not_speak_of_learning(tmp_path):
    path = make_run(tmp_path / "run", steps=2)
    verdict = verdict_of_run(path).to_dict()
    verdict["regime"]["verdict"] = "operator_dominated"
    trained = replace(load(path), verdict=verdict)
    searched = replace(trained, search=view().search)
    said = (judged(trained), judged(searched))
    before, after = (f"{one['span']} {one['lead']}" for one in said)
    for word in ("decides what is learned here", "steps 0 to 2 as one pool"):
        assert word in before
        assert word not in after
    assert "The rule that selects, not the target, decides what is put out here." in after
    assert "batches 0 to 2 as one pool" in after
    heads = [column.header for column in show.run_table([searched]).columns]
    assert "pass rate" in heads
    assert "pass@1" not in heads


@pytest.mark.parametrize("name", ["swap_stable", "transition", "operator_dominated"])
def test_every_verdict_has_its_words_where_nothing_is_trained(name):
    assert sentence(name, searched=True) != sentence(name)
    assert sentence("undetermined", searched=True) == sentence("undetermined")
    assert sentence(None, searched=True) == sentence(None)
