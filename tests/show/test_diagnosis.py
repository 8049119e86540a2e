"""The page of a diagnosis: its numbers against independent ones, and the page in a browser."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from rollout_files import HOSTILE, write_own, write_verl
from test_page import Tags
from typer.testing import CliRunner

from tod import show
from tod.base import Groups, RunError
from tod.cli.main import app
from tod.diagnosis import diagnose
from tod.formats import read
from tod.regimes import eta_for_quantile
from tod.show.figures.eta_feasibility import by_eta
from tod.show.figures.eta_strip import eta_strip
from tod.show.figures.k_trend import by_k, k_trend
from tod.show.figures.phase import REACH, _spread
from tod.show.page import diagnosis_data, diagnosis_page
from tolerance import of_weights

TARGET = {"anchor": {"old": 1.0}, "tilts": [{"utility": "u", "eta": 1.5}]}
LIMIT = 1_500_000


def target():
    from tod.diagnosis import parse_target

    return parse_target(TARGET)


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    path = write_own(tmp_path_factory.mktemp("own") / "rollouts.jsonl")
    return diagnose(read([str(path)]), target())


@pytest.fixture(scope="module")
def assumed(tmp_path_factory):
    folder = write_verl(tmp_path_factory.mktemp("verl") / "dumps", prompt=HOSTILE)
    return diagnose(read([str(folder)]))


@pytest.fixture(scope="module")
def html(assumed):
    return show.diagnosis_page(assumed)


def test_weights_of_a_point_are_those_of_its_candidates(declared, tmp_path):
    seen = diagnosis_data.view(declared)
    rows = [json.loads(line) for line in declared.reading.files[0].read_text().splitlines()]
    for point in seen.run.points[::7]:
        members = [row for row in rows if row["context"] == point.context]
        log_w = [row["log_old"] - row["log_mu"] + 1.5 * row["utility.u"] for row in members]
        w = np.exp(np.array(log_w) - max(log_w))
        w = np.sort(w / w.sum())[::-1]
        assert point.weights == pytest.approx(tuple(w[:3]), rel=of_weights("float64", len(w), 20.0))
        assert point.ess_rel == pytest.approx(
            1 / (len(w) * (w**2).sum()), rel=of_weights("float64", len(w), 20.0)
        )
        assert point.prompt == members[0]["prompt"]
        assert point.k == len(members)


def test_fragile_contexts_hold_their_own_candidates(declared):
    (first, *_) = diagnosis_data.view(declared).run.worst
    at = first.context.removeprefix("c")
    assert first.prompt == f"prompt {at}"
    assert all(c.completion.startswith(f"completion {at}.") for c in first.candidates)
    weights = [c.weight for c in first.candidates]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1.0)
    assert first.max_weight == pytest.approx(weights[0])
    rows = [json.loads(line) for line in declared.reading.files[0].read_text().splitlines()]
    utility = {row["completion"]: row["utility.u"] for row in rows}
    assert all(c.utilities == {"u": utility[c.completion]} for c in first.candidates)
    assert first.ess_rel == min(p.ess_rel for p in diagnosis_data.view(declared).run.points)


def test_eta_curve_passes_through_what_is_known():
    rng = np.random.default_rng(3)
    contexts = Groups(np.array([5, 9, 16, 4] * 30))
    u = rng.gamma(0.7, size=contexts.total)
    eta = 2.5
    limit = eta_for_quantile(u, contexts, 0.5)
    points = by_eta(np.zeros_like(u), u, contexts, eta, limit)
    at = {point.eta: point for point in points}
    assert at[0.0].median == at[0.0].q10 == pytest.approx(1.0)
    assert at[limit].median == pytest.approx(0.5, abs=of_weights("float64", 16, 20.0))
    medians = [point.median for point in points]
    assert all(a >= b - of_weights("float64", 16, 20.0) for a, b in pairwise(medians))
    assert all(point.q10 <= point.median for point in points)


def test_eta_curve_keeps_the_support_and_the_anchor():
    """Outside the support at every sharpness; at η = 0 only the anchor's weights are left."""
    contexts = Groups.equal(1, 4)
    base = np.log(np.array([0.1, 0.2, 0.3, 0.0]), where=[1, 1, 1, 0], out=np.full(4, -np.inf))
    unit = np.array([1.0, 0.0, 0.5, 0.0])
    points = by_eta(base, unit, contexts, 2.0, None)
    assert points[0].median == pytest.approx(0.6**2 / (4 * 0.14))
    at = next(point for point in points if point.eta == 2.0)
    w = np.array([0.1 * math.e**2, 0.2, 0.3 * math.e])
    assert at.median == pytest.approx(w.sum() ** 2 / (4 * (w**2).sum()))


def test_eta_curve_in_force_is_the_diagnosis(declared):
    seen = diagnosis_data.view(declared)
    at = next(point for point in seen.by_eta if point.eta == seen.eta)
    assert at.median == pytest.approx(declared.summary.ess_rel.median)
    assert at.q10 == pytest.approx(declared.summary.ess_rel.q10)
    html = show.diagnosis_page(declared)
    legend = html[html.index('data-plot="w0"') :]
    assert f'median ESS_rel<output data-series="0">{at.median:.2f}</output>' in legend
    assert '<span class="at" data-at>η 1.5</span>' in legend
    limit = declared.feasible["eta_max"]
    reached = next(point for point in seen.by_eta if point.eta == limit)
    assert reached.median == pytest.approx(0.5, abs=of_weights("float64", 16, 20.0))


def test_eta_curve_of_a_turned_knob_is_per_unit_of_the_sharpness_in_force(tmp_path):
    """Weights are those of each step's own η; the curve, those of one η for all."""
    reading = read([str(write_verl(tmp_path / "d", steps=(1, 2)))])
    target = {"anchor": {"mu": 1.0}, "tilts": [{"utility": "score", "eta": 1.0}]}
    knobs = {1: {"eta": 1.0}, 2: {"eta": 3.0}}
    source = replace(reading.source, target=target, knobs=knobs)
    found = diagnose(replace(reading, source=source))
    weighed = found.weights
    base, unit = diagnosis_data._lines(weighed, slice(None))
    steps = np.repeat(reading.steps, reading.contexts.sizes)
    score = reading.utility["score"]
    assert weighed.log_w == pytest.approx(np.where(steps == 1, 1.0, 3.0) * score)
    assert unit == pytest.approx(score)
    assert base == pytest.approx(0 * score)
    assert weighed.last == diagnosis_data.view(found).eta == 3.0


def test_trend_over_k_ends_at_all_candidates_above_its_floor():
    rng = np.random.default_rng(5)
    contexts = Groups.equal(80, 12)
    log_w = rng.normal(0, 1.5, contexts.total)
    points = by_k(log_w, contexts)
    assert [point.k for point in points] == [2, 4, 8, 12]
    w = np.exp(log_w.reshape(80, 12))
    rel = np.sort(w.sum(1) ** 2 / (12 * (w**2).sum(1)))
    assert points[-1].median == pytest.approx(rel[math.ceil(0.5 * 80) - 1])
    assert all(point.median >= 1 / point.k for point in points)
    assert points[0].median > points[-1].median
    plot = k_trend(points)
    assert list(plot.series[-1].y) == [1 / 2, 1 / 4, 1 / 8, 1 / 12]
    assert "Still falling" in plot.note
    assert "Level" in k_trend(by_k(0.05 * log_w, contexts)).note


def test_too_few_candidates_have_no_trend():
    assert by_k(np.zeros(9), Groups.equal(3, 3)) == []
    assert k_trend([]) is None


def test_many_contexts_are_cut_evenly_and_the_rule_is_stated(declared, monkeypatch):
    monkeypatch.setattr(diagnosis_data, "POINTS_DRAWN", 9)
    seen = diagnosis_data.view(declared)
    drawn = [point.ess_rel for point in seen.run.points]
    every = np.sort(seen.ess_rel)
    assert len(drawn) == 9
    assert drawn == sorted(drawn)
    assert drawn[0] == every[0]
    assert drawn[-1] == every[-1]
    page = show.diagnosis_page(declared)
    assert f"9 of {len(every)} informative prompts are drawn, evenly spaced" in page


def test_curves_of_many_candidates_say_how_many_they_read(declared, monkeypatch):
    monkeypatch.setattr(diagnosis_data, "MOST_CANDIDATES", 50)
    monkeypatch.setattr(diagnosis_data, "FEWEST_CONTEXTS", 7)
    assert "read 7 of 40 informative" in show.diagnosis_page(declared)


def test_prompts_are_those_of_the_texts(assumed):
    chosen = [30, 2, 2, 11]
    texts = assumed.reading.texts(chosen)
    assert assumed.reading.prompts(chosen) == {at: texts[at][0].prompt for at in chosen}


def test_the_page_says_what_the_diagnosis_says(assumed, html):
    data = assumed.to_dict()
    Tags(html)
    assert "verl · 3 files · 576 rows · steps 1 to 3 · tier D" in html
    assert "rewards only" in html
    assert "This target was assumed" in html
    assert "assumed η 1<" in html
    assert f"{data['feasible']['eta_max']:.2f}" in html
    for reason in data["regime"]["reasons"]:
        remedy = reason["remedy"].replace("<", "&lt;")
        assert remedy in html
    for item in data["cannot"]:
        assert f"<code>{item['what']}</code>" in html
    assert "tod.diagnosis/1" in html
    for name in data["regime"]["thresholds"]:
        assert name in html
    assert html.index('class="verdict"') < html.index('class="tiles"') < html.index("Phase diagram")
    assert html.count("not known from these files") >= 2  # legs without any log-probs


def test_a_declared_target_has_no_strip_of_intervals(declared):
    page = show.diagnosis_page(declared, ["beta: has no effect <here>"])
    assert "This target was declared." in page
    assert "assumed η" not in page
    assert "η declared 1.5" in page
    assert "beta: has no effect &lt;here&gt;" in page
    assert "Over the steps" not in page  # one step has no curve
    assert "Dotted: stable above 0.7" in page


def test_hover_data_cannot_end_the_script(html):
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1]
    assert "<" not in block
    data = json.loads(block)
    assert {plot["axis"] for plot in data["plots"].values()} == {"step", "η", "K"}


def test_files_without_utility_say_so_and_show_no_weights(tmp_path):
    path = write_own(tmp_path / "r.jsonl", utility=None)
    page = show.diagnosis_page(diagnose(read([str(path)], "tod")))
    Tags(page)
    assert "No target: the files hold no reward" in page
    assert "Phase diagram" not in page
    assert "ESS_rel over prompts" not in page
    assert '<dd class="value">–</dd>' in page
    assert "undetermined" in page
    assert "policy / proposal" in page  # that leg needs no target


def test_blind_contexts_leave_a_page(tmp_path):
    """Nothing informative: no curve, no point, and no zero where nothing is known."""
    path = tmp_path / "r.jsonl"
    rows = [
        {"step": 1, "context": f"c{c}", "candidate": i, "utility.u": 0.0, "prompt": "p"}
        for c in range(12)
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = show.diagnosis_page(diagnose(read([str(path)])))
    Tags(page)
    assert "How sharp a target" not in page
    assert '<dd class="value">–</dd>' in page


def test_thousands_of_hostile_contexts_stay_below_the_limit(tmp_path):
    ugly = "\"<&'\x01\u4e16" * 900
    path = tmp_path / "r.jsonl"
    rng = np.random.default_rng(2)
    with path.open("w") as file:
        for c in range(2500):
            for i in range(4):
                row = {
                    "step": c % 40,
                    "context": f"<{c}>",
                    "candidate": i,
                    "prompt": ugly[: c % 400],
                }
                row |= {"completion": ugly[:200], "utility.u": float(rng.gamma(1.0))}
                file.write(json.dumps(row) + "\n")
    page = show.diagnosis_page(diagnose(read([str(path)]), worst=20))
    assert len(page.encode()) < LIMIT
    assert page.count('class="context') == 2000


def test_spots_of_one_place_move_apart_but_not_away():
    spots = [(100.0, 50.0)] * 200 + [(300.0, 80.0)]
    moved = _spread(spots)
    assert moved[0] == (100.0, 50.0)
    assert moved[-1] == (300.0, 80.0)
    assert len({(round(x, 3), round(y, 3)) for x, y in moved}) == 201
    assert max(math.dist(a, b) for a, b in zip(spots, moved, strict=True)) <= REACH
    around = np.array(moved[:200]) - spots[0]
    assert np.abs(around.mean(axis=0)).max() < 1.0
    assert around.std(axis=0) == pytest.approx([around.std()] * 2, rel=np.sqrt(2 / len(around)))
    assert _spread([]) == []


def test_intervals_of_sharpness_fill_the_strip():
    parts = [
        {"eta": [0.0, 1.0], "verdict": "transition"},
        {"eta": [1.0, 16.0], "verdict": "operator_dominated"},
    ]
    strip = eta_strip(parts, 4.0)
    cells = [
        (float(x), float(w))
        for x, w in re.findall(r'class="cell \w+" x="([\d.]+)" y="20" width="([\d.]+)"', strip)
    ]
    assert len(cells) == 2
    (x0, w0), (x1, w1) = cells
    assert x1 == pytest.approx(x0 + w0 + 1)
    assert (w1 + 1) / (w0 + 1) == pytest.approx(3.0)  # square roots: 0, 1, 4
    assert eta_strip([], 1.0) is None


def test_command_writes_the_page(assumed, tmp_path):
    folder = assumed.reading.files[0].parent
    out = tmp_path / "deep" / "d.html"
    done = CliRunner().invoke(app, ["diagnose", str(folder), "--html", str(out)])
    assert done.exit_code == 0, done.output
    assert "TOD diagnosis" in out.read_text()


def test_a_place_that_cannot_be_written_is_named(declared, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be written.*--html"):
        show.write_diagnosis(declared, tmp_path / "file" / "x.html")


@pytest.fixture(scope="module")
def page(assumed, tmp_path_factory):
    return show.write_diagnosis(assumed, tmp_path_factory.mktemp("page") / "d.html")


def test_no_complaint_and_no_request(browser, page):
    browser.open(page)
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []
    assert browser.run("document.scripts.length") == 2


def test_hovering_the_hostile_context_reads_its_prompt_as_text(browser, page):
    browser.open(page)
    wanted = "JSON.parse(document.getElementById('data').textContent).points[0]"
    index = browser.run(f"{wanted}.findIndex(p => p.prompt.startsWith('</script>'))")
    assert index >= 0
    browser.run(
        f"document.querySelector('circle[data-point=\"{index}\"]').parentNode.append("
        f"document.querySelector('circle[data-point=\"{index}\"]'))"
    )
    browser.run("document.querySelectorAll('.path, .start, .end').forEach(e => e.remove())")
    browser.point(f"circle[data-point='{index}']")
    said = browser.run("document.getElementById('tip').textContent")
    assert "</script><script>alert(1)</script><img src=x onerror=alert(2)>" in said
    assert "top weights" in said
    assert ", step " in said
    assert browser.run("document.querySelectorAll('#tip img, #tip script').length") == 0
    assert browser.complaints() == []


def test_contexts_are_reachable_without_a_pointer(browser, page):
    browser.open(page)
    browser.run("document.querySelector('[data-phase]').focus()")
    read = "document.getElementById('tip').textContent"
    browser.key("ArrowRight")
    first = browser.run(read)
    browser.key("End")
    last = browser.run(read)
    browser.key("Home")
    assert browser.run(read) == first != last
    browser.key("ArrowLeft")
    assert browser.run(read) == last


def test_a_cursor_reads_only_the_curves_of_its_axis(browser, page):
    browser.open(page)
    said = "[...document.querySelectorAll('figure[data-plot] [data-at]')].map(e => e.textContent)"
    resting = browser.run(said)
    assert "η 1" in resting
    browser.point("figure[data-plot='w0'] svg", share=0.9)
    read = browser.run(said)
    assert sum(text.startswith("η ") for text in read) == 1
    assert not any(text.startswith(("step", "K")) for text in read)
    assert read != resting
    browser.point("figure[data-plot='p0'] svg", share=0.9)
    read = browser.run(said)
    assert {text for text in read if text.startswith("step")} == {"step 3"}
    assert "η 1" in read


@pytest.mark.parametrize("width", [360, 820, 1280])
def test_no_sideways_scrolling(browser, page, width):
    browser.open(page, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            "q* ∝ old^0.75 · ref · exp(2 ref)",
            "<i>π</i><sub>old</sub><sup>0.75</sup> · <i>π</i><sub>ref</sub> · exp(2 ref)",
        ),
        ("q* ∝ mu · exp(1 <b>)", "<i>μ</i> · exp(1 &lt;b&gt;)"),
        ("q* ∝ (0.5 ref + 0.5 teacher)", "(0.5 <i>π</i><sub>ref</sub> + 0.5 <i>π</i>"),
    ],
)
def test_target_is_typeset_and_its_utilities_are_text(text, html):
    assert html in str(diagnosis_page._typeset(text))
