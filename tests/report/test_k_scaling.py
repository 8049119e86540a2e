"""The K-scaling figure draws what ``search.json`` says, and leaves out what it does not say."""

import json
import re
from dataclasses import replace

import pytest
from synthetic_run import make_run

from tod import report
from tod.report.data import RunView, load
from tod.report.figures.k_scaling import k_scaling


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
    assert x2 - x1 == pytest.approx(x4 - x2, abs=0.02)
    assert (y1 - y2) / (y1 - y4) == pytest.approx(0.2 / 0.55, abs=0.01)
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


def test_several_runs_have_a_line_each():
    plain = replace(view("trained"), search=None)
    html = k_scaling([view("a<b"), plain, view("c")], ["r0", "r1", "r2"])
    assert len(heights(html, "r0")) == len(heights(html, "r2")) == 3
    assert 'class="line r1' not in html
    assert "a&lt;b" in html
    assert "a<b" not in html


def test_the_page_and_the_table_show_the_gain(tmp_path):
    path = make_run(tmp_path / "run", steps=2)
    assert "Utility against K" not in report.build([path])
    (path / "search.json").write_text(json.dumps({"schema": "tod.search/1", **view().search}))
    html = report.build([path])
    assert "Utility against K" in html
    assert "0.20 → 0.75" in html
    assert "gain 0.55 ± 0.04 s.e." in html
    cells = report.run_table([load(path)]).columns[2].cells
    assert list(cells) == ["20.0→75.0 %"]
    for damaged in ("{", '{"schema": "tod.search/9"}', "[]"):
        (path / "search.json").write_text(damaged)
        assert load(path).search is None
