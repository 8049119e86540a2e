"""Findings on a page: the answer first, marks that lead to evidence, and nothing but text."""

import json
import re
from html import unescape
from itertools import takewhile

import numpy as np
import pytest
from rollout_files import HOSTILE
from test_page import Tags
from typer.testing import CliRunner

from tod import show
from tod.base import DataError, RunError
from tod.cli.main import app
from tod.diagnosis import diagnose
from tod.findings import Cause, Finding, Findings, Onset, Remedy, Series, TrainingRun, find
from tod.findings.detector import detectors
from tod.findings.planted.world import PlantedWorld
from tod.formats import read
from tod.show.figures import onsets
from tod.show.page.document import opened
from tod.show.page.findings_view import findings_view
from tod.show.terminal.findings_screen import lines
from tolerance import double

STEPS = 20


def planted(dead=True, seed=1000):
    """Rollouts of twenty steps; those of a dead run all fail from step 9 on."""
    rng = np.random.default_rng(seed)
    world = PlantedWorld(np.arange(1, STEPS + 1), 32, 8, rng, skill=np.linspace(-1, 1.5, STEPS))
    drawn = world.draw()
    if dead:
        drawn.reward[8:] = 0
    return find(TrainingRun(rollouts=drawn.rollouts()))


def invented(text="t", key="reward"):
    """One finding of every severity, with the same text in every place."""
    steps = np.arange(1, 12)
    run = TrainingRun(
        series={
            "reward": Series("reward", steps, np.linspace(0, 1, 11), key=key),
            "entropy": Series("entropy", steps, np.linspace(1, 0, 11), unit=text),
            "kl": Series("kl", steps, np.linspace(0, 1, 11)),
        },
        names=(f"folder/{text}",),
        notes=(text,),
    )

    def one(severity, onset):
        return Finding(
            "all_fail",
            severity,
            f"{severity} {text}",
            onset,
            evidence=((text, text),),
            causes=(Cause("a", text, "likely", text), Cause("b", text)),
            remedies=(Remedy("c", text, text),),
            cost=text,
            best_step=3,
            series=("entropy",),
        )

    faults = (one("critical", Onset(5, 4, 7)), one("warning", Onset(None, 1, 1)))
    return Findings(run, faults, (one("note", Onset(11, 11, 11)),), (text,))


@pytest.fixture(scope="module")
def dead():
    return planted()


@pytest.fixture(scope="module")
def html(dead):
    return show.findings_page(dead)


def dump(folder, dead=True):
    """The rollouts of a planted run as verl writes them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for step in range(1, STEPS + 1):
        rows = []
        for p in range(24):
            level = rng.random()
            for i in range(6):
                score = 0.0 if dead and step >= 9 else float(rng.random() < level)
                row = {"input": f"q{step}-{p}", "output": f"answer {rng.random()}", "gts": ""}
                rows.append(row | {"score": score, "step": step, "uid": f"u{step}-{p}_{i}_0"})
        (folder / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def trainer_state(path, key="entropy"):
    """A TRL log whose entropy collapses and whose reward dies at step 9."""
    rng = np.random.default_rng(0)
    history = [
        {
            "step": step,
            "reward": 0.5 + float(rng.normal(0, 0.01)) if step < 9 else 0.0,
            "frac_reward_zero_std": 0.2 if step < 9 else 1.0,
            key: 1.0 + float(rng.normal(0, 0.01)),
            "grad_norm": 0.4 + float(rng.normal(0, 0.02)),
        }
        for step in range(1, STEPS + 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"log_history": history, "global_step": STEPS}))
    return path


def first_words(findings):
    """The bold lines at the top of the terminal's screen, without the severity."""
    top = takewhile(lambda line: line[1].startswith("bold") and line[0][0] != " ", lines(findings))
    return " ".join(" ".join(line for line, _ in top).replace("CRITICAL", "").split())


def test_the_headline_is_the_first_line_of_the_terminal(dead, html):
    said = re.search(r"<h1 [^>]*>(.*?)</h1>", html)[1]
    assert said == "Learning stopped at step 9: every answer to every prompt fails."
    assert first_words(dead) == said
    assert html.index("<h1 ") < html.index("<figure")
    assert '<span class="severity">Critical</span>' in html


def test_a_healthy_run_is_said_to_be_so():
    healthy = planted(dead=False)
    page = show.findings_page(healthy)
    said = re.search(r"<h1 [^>]*>(.*?)</h1>", page)[1]
    assert said == "No fault found."
    assert "Reward rises from" in page
    made, asked = re.search(r"(\d+) of (\d+) checks made", page).groups()
    lacking = [u for u in healthy.unknown.values() if u.kind != "not_applicable"]
    asking = [d for d in detectors() if d.kind not in healthy.unknown]
    assert (int(made), int(asked)) == (len(asking), len(asking) + len(lacking))
    assert 'class="sign of-critical"' not in page


def test_nothing_to_check_is_not_called_healthy():
    page = show.findings_page(Findings(TrainingRun()))
    Tags(page)
    assert "Nothing could be checked in these files." in page
    assert "of-fine" not in page[page.index("<body>") :]
    assert "<figure" not in page


def test_evidence_remedies_causes_and_cost_stand_at_the_top(dead, html):
    top = html[html.index('class="answer ') : html.index("<figure")]
    first = dead.first
    for _, text in first.evidence:
        assert text in top
    assert all(item.text[1:] in top for item in first.remedies)
    assert all(item.text[1:] in top and item.decide in top for item in first.causes)
    assert first.cost in top
    assert f"{first.best_step}, reward" in top


def test_what_was_and_what_was_not_checked(dead, html):
    html = unescape(html)
    for name in dead.clear:
        assert f"{name}</li>" in html
    for item in dead.unknown.values():
        if item.kind != "not_applicable":
            assert item.why in html
            assert item.needs in html


def test_every_mark_leads_to_a_block_of_its_finding(html):
    tags = Tags(html)
    blocks = {a["id"] for t, a in tags.tags if t in ("section", "article") and "id" in a}
    links = [a for t, a in tags.tags if t == "a" and a.get("class") == "onset"]
    assert len(links) >= 4
    assert {link["href"].removeprefix("#") for link in links} <= blocks
    for link in links:
        number = int(link["href"].removeprefix("#finding-"))
        assert link["aria-label"].startswith(f"Finding {number}, ")


def test_marks_stand_at_their_steps_and_bands_over_their_intervals():
    """Eleven steps over 830 of 880 pixels, 40 from the left: 83 pixels a step."""
    wide = findings_view(invented()).wide
    lines_at = [float(x) for x in re.findall(r'onset-line of-\w+" x1="([\d.]+)"', wide)]
    assert lines_at == [40 + 83 * 4, 40.0, 40 + 83 * 10]
    spans = re.findall(r'onset-band of-critical" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', wide)
    assert [(float(x), float(w)) for x, w in spans] == [(40 + 83 * 3, 83 * 3)]


def test_severities_differ_in_shape():
    wide = findings_view(invented()).wide
    corners = {
        state: len(points.split())
        for state, points in re.findall(r'<polygon class="sign of-(\w+)" points="([^"]+)"', wide)
    }
    assert corners == {"critical": 8, "warning": 3}
    assert '<circle class="sign of-note"' in wide


def test_marks_of_one_step_do_not_cover_each_other():
    marks = [
        onsets.OnsetMark(i, f"f{i}", Finding("k", "note", "h", Onset(5, 5, 5)), 1)
        for i in (1, 2, 3)
    ]
    run = invented().run
    plot = onsets.laned(onsets.main_plot(run, onsets.WIDE), marks)
    drawn = onsets.drawn(plot, marks, "k")
    heights = [
        float(y) for y in re.findall(r'class="sign of-note" cx="[\d.]+" cy="([\d.]+)"', drawn)
    ]
    assert len(heights) == 3
    assert min(np.diff(sorted(heights))) >= 2 * onsets.RADIUS
    assert max(heights) + onsets.RADIUS < 8 + plot.lane + 1


def test_only_figures_that_a_finding_names_carry_its_mark():
    view = findings_view(invented())
    (entropy,) = [figure for figure in view.small if "<h3>Entropy" in figure]
    assert entropy.count('class="onset"') == 3
    (other,) = [figure for figure in view.small if "<h3>KL to the reference" in figure]
    assert 'class="onset"' not in other
    assert view.small == [entropy, other]


def test_figures_share_the_axis_of_steps():
    run = TrainingRun(
        series={
            "reward": Series("reward", np.arange(0, 41), np.linspace(0, 1, 41)),
            "eval.accuracy": Series("eval.accuracy", np.array([10, 30]), np.array([0.1, 0.2])),
        }
    )
    ((plot, _),) = onsets.panels(run, ())
    x, _ = plot.scales()
    assert x.domain == (0.0, 40.0)
    assert plot.title == "Evaluation: accuracy"


def test_long_series_are_drawn_by_means_and_ranges():
    values = np.random.default_rng(0).normal(size=1000)
    run = TrainingRun(series={"reward": Series("reward", np.arange(1000), values)})
    plot = onsets.main_plot(run, onsets.WIDE)
    line, edge = plot.series
    assert len(line.x) <= onsets.points(onsets.WIDE) == 440
    for place in (0, 7, len(line.x) - 1):
        part = values[3 * place : 3 * place + 3]  # 1000 values, 440 points at most: three a point
        assert line.y[place] == pytest.approx(part.sum() / len(part), rel=double(3, 10))
        assert (edge.y[place], edge.area[place]) == (part.min(), part.max())
    assert "mean of 3 steps" in plot.note


def test_unknown_steps_are_no_zeros():
    values = np.array([0.5, np.nan, 0.7, 0.8])
    run = TrainingRun(series={"reward": Series("reward", np.arange(4), values)})
    plot = onsets.main_plot(run, onsets.WIDE)
    assert list(plot.series[0].x) == [0, 2, 3]


def test_text_of_files_stays_text():
    page = show.findings_page(invented(HOSTILE, HOSTILE))
    Tags(page)
    body = page[page.index("<body>") : page.index('<script type="application/json"')]
    assert "<script" not in body
    assert "<img" not in body
    assert "<style" not in body
    assert "\u202e" not in page
    assert body.count("&lt;/script&gt;") > 20
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    assert "<" not in block


def test_a_metric_log_alone_has_a_page_without_a_regime(tmp_path):
    log = trainer_state(tmp_path / "run" / "trainer_state.json")
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["diagnose", str(log), "--html", str(out)])
    assert done.exit_code == 0, done.output
    page = out.read_text()
    Tags(page)
    assert "Learning stopped at step 9" in page
    assert "<code>frac_reward_zero_std</code>" in page
    assert "run/trainer_state.json" in page
    assert "Regime" not in page
    assert "Phase diagram" not in page


def test_the_page_of_rollouts_opens_with_the_findings(tmp_path):
    out = tmp_path / "d.html"
    done = CliRunner().invoke(app, ["diagnose", str(dump(tmp_path / "dead")), "--html", str(out)])
    assert done.exit_code == 0, done.output
    page = out.read_text()
    order = ["Learning stopped at step 9", "<h2>When", "<h2>All findings", "<h2>What was checked"]
    order += ["<h2>Regime", 'class="verdict"', "Phase diagram", "Provenance"]
    places = [page.index(word, page.index("<h1")) for word in order]
    assert places == sorted(places)


def test_the_report_of_a_run_opens_with_the_same(run_path):
    findings = show.load(run_path).findings
    page = show.build([run_path])
    said = re.search(r"<h1 [^>]*>(.*?)</h1>", page)[1]
    assert said == first_words(findings)
    assert len(findings.run.steps) == 41
    assert {"reward", "eval.pass_at_1", "entropy"} <= set(findings.run.series)
    assert page.index(said) < page.index("<h2>Regime")


def test_a_saved_diagnosis_keeps_its_findings(tmp_path):
    made = diagnose(read(str(dump(tmp_path / "dead"))))
    path = tmp_path / "d.json"
    path.write_text(json.dumps(made.to_dict()))
    found = show.load(path).findings
    assert found.to_dict() == made.findings.to_dict()
    means = [0.0 if step >= 9 else None for step in range(1, STEPS + 1)]
    rewards = found.run.series["reward"]
    assert list(rewards.steps) == list(range(1, STEPS + 1))
    assert list(rewards.values[8:]) == means[8:]
    assert "Learning stopped at step 9" in show.build([path])


@pytest.mark.parametrize("damage", [{"severity": "x"}, {"onset": {"step": []}}, {"causes": [1]}])
def test_damaged_findings_are_refused(tmp_path, damage):
    data = diagnose(read(str(dump(tmp_path / "dead")))).to_dict()
    data["findings"]["findings"][0] |= damage
    path = tmp_path / "d.json"
    path.write_text(json.dumps(data))
    with pytest.raises(RunError, match=r"d: its findings are damaged"):
        show.load(path)


def test_several_runs_show_the_answer_of_each(run_path, other_path):
    page = show.build([run_path, other_path])
    Tags(page)
    assert page.count('class="answer ') == 2
    assert '<a href="#answer-1">' in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_files_that_cannot_be_read_are_said_and_leave_a_report(run_path, monkeypatch):
    def broken(path):
        raise DataError(f"{path}: <damaged>.")

    monkeypatch.setattr("tod.diagnosis.run_verdict.read", broken)
    page = show.build([run_path])
    Tags(page)
    assert "No findings:" in page
    assert "&lt;damaged&gt;" in page
    assert 'class="verdict"' in page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return show.write_findings(invented(HOSTILE), tmp_path_factory.mktemp("page") / "f.html")


def test_nothing_runs_and_nothing_is_asked_for(browser, page):
    browser.open(page)
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []
    assert browser.run("document.scripts.length") == 2


@pytest.mark.parametrize(("width", "shown"), [(1440, "wide"), (390, "narrow")])
def test_choosing_a_mark_goes_to_its_evidence(browser, page, width, shown):
    browser.open(page, width=width)
    link = f".{shown}-only a[href='#finding-2']"
    browser.point(f"{link} .sign")
    box = browser.run(
        f"(() => {{ const b = document.querySelector({link + ' .sign'!r}).getBoundingClientRect();"
        "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        browser.call("Input.dispatchMouseEvent", type=kind, **at)
    assert browser.run("location.hash") == "#finding-2"
    said = browser.run("document.querySelector(':target').textContent")
    assert "warning" in said
    assert browser.complaints() == []


def test_marks_are_reached_by_key(browser, page):
    browser.open(page, width=1440)
    for _ in range(3):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
        browser.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", windowsVirtualKeyCode=9)
    assert browser.run("document.activeElement.getAttribute('href')") == "#finding-3"
    enter = {"key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **enter)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)
    assert browser.run("location.hash") == "#finding-3"


@pytest.mark.parametrize("width", [360, 390, 820, 1440])
def test_no_sideways_scrolling(browser, page, width):
    browser.open(page, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_the_cursor_reads_the_first_curve_and_the_small_ones(browser, page):
    browser.open(page, width=1440)
    browser.point(".wide-only figure svg", share=0.99)
    read = "[...document.querySelectorAll('figure[data-plot] [data-at]')].map(e => e.textContent)"
    assert set(browser.run(read)) == {"step 11"}


def test_a_fall_below_every_gate_is_no_tick():
    steps = np.arange(1, 21)
    run = TrainingRun(series={"reward": Series("reward", steps, 0.5 - 0.001 * steps)})
    page = show.findings_page(Findings(run, clear=("length",)))
    assert "No fault is certain." in page
    assert '<section class="answer of-unknown"' in page


def test_settings_keep_their_case():
    assert opened("raise the bonus") == "Raise the bonus"
    assert opened("data.max_response_length = 512") == "data.max_response_length = 512"
    assert opened("") == ""


def test_one_part_of_the_reward_is_not_drawn_twice():
    steps, values = np.arange(4), np.linspace(0, 1, 4)
    series = {name: Series(name, steps, values) for name in ("reward", "reward.a", "reward.b")}
    (plot, _), *rest = onsets.panels(TrainingRun(series=series), ())
    assert (plot.title, [line.name for line in plot.series]) == ("Parts of the reward", ["a", "b"])
    assert rest == []
    del series["reward.b"]
    assert onsets.panels(TrainingRun(series=series), ()) == []
    assert len(onsets.panels(TrainingRun(series=series), ["reward.a"])) == 1
