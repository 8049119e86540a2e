"""The document itself: one file, closed, small, and it says what the records say."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import polars as pl
import pytest
from synthetic_run import make_run

from tod import show
from tod.base import RunError
from tod.runs import Manifest, RunDirectory

LIMIT = 1_500_000


class Tags(HTMLParser):
    """Every element with its attributes, and that what opens is closed."""

    VOID = ("meta", "link", "br", "hr")

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.stack, self.data = [], [], {}
        self.feed(html)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack:
            self.data.setdefault(self.stack[-1], []).append(data)


@pytest.fixture(scope="module")
def html(run_path):
    return show.build([run_path])


@pytest.fixture(scope="module")
def tags(html):
    return Tags(html)


def test_policy_allows_exactly_what_is_there(tags):
    policy = next(a["content"] for t, a in tags.tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    script, style = tags.data["script"][-1], tags.data["style"][0]
    for content, directive in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_policy_comes_before_anything_it_governs(tags):
    names = [t for t, _ in tags.tags]
    policy = next(i for i, (_, a) in enumerate(tags.tags) if a.get("http-equiv"))
    assert policy < names.index("style")
    assert policy < names.index("link")


def test_nothing_is_fetched_and_nothing_is_inline(tags):
    """What is linked to is on the page itself."""
    ids = {attributes.get("id") for _, attributes in tags.tags} - {None}
    for name, attributes in tags.tags:
        assert name not in ("img", "iframe", "object", "embed", "form", "base")
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
        for key in ("src", "href"):
            place = attributes.get(key, "data:,")
            assert place == "data:," or (key == "href" and place.removeprefix("#") in ids)


def test_every_picture_says_what_it_shows(tags):
    pictures = [a for t, a in tags.tags if t == "svg"]
    assert len(pictures) > 10
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in pictures)
    assert all(a.get("role") in ("img", "group") for a in pictures if not a.get("aria-hidden"))


def test_headline_numbers_are_those_of_the_records(html, run_path):
    records = list(RunDirectory.open(run_path).steps.read())
    held = [r["held_out"] for r in records if r["held_out"]]
    first, last = held[0], held[-1]
    gain = 100 * (last["pass_at_1"] - first["pass_at_1"])
    error = 100 * math.hypot(first["standard_error"], last["standard_error"])
    assert f"{100 * first['pass_at_1']:.1f} → {100 * last['pass_at_1']:.1f} %" in html
    assert f"{gain:+.1f} points ± {error:.1f} s.e." in html
    assert f">{records[-1]['ess_rel']['q10']:.2f}<" in html
    assert f"{sum(r['ledger']['flops'] for r in records) / 1e12:.3g} T" in html


def test_verdict_reasons_and_remedies_come_first(html, run_path):
    reason = show.load(run_path).judged["regime"]["reasons"][0]
    first, verdict, tiles = (html.index(f'class="{x}') for x in ("answer ", "verdict", "tiles"))
    assert first < verdict < tiles
    assert "<figure" not in html[verdict:tiles]
    assert reason["remedy"].replace("<", "&lt;") in html


def test_figures_are_there(html):
    wanted = (
        *("Phase diagram", "Learning curve", "ESS_rel over prompts", "Overlap", "Drift"),
        *("Largest weights", "What the prompts are", "Activation", "Knob: η"),
        "Compute (evaluation left out)",
        *("Controller", "Most fragile prompts", "Resolved recipe", "Versions and hardware"),
    )
    assert [name for name in wanted if name not in html] == []
    assert "kind: two_anchor" in html


def test_hover_data_is_json_that_html_cannot_end(html):
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1]
    assert "<" not in block
    data = json.loads(block)
    for plot in data["plots"].values():
        assert len(plot["steps"]) == len(plot["pixels"])
        assert all(len(column) == len(plot["steps"]) for column in plot["values"])


def test_one_run_is_small(html):
    assert len(html.encode()) < 400_000


def test_a_long_hostile_run_stays_below_the_limit(tmp_path):
    """Thousands of steps; every prompt and completion long and made of what escapes worst."""
    path = make_run(tmp_path / "r", steps=30, k=16)
    run = RunDirectory.open(path)
    records = list(run.steps.read())
    for step in range(31, 1000):
        run.record({**records[step % 31], "step": step})
    ugly = pl.lit("\"<&'\x00" * 4000)
    for part in run.rollouts.paths():
        pl.read_parquet(part).with_columns(prompt=ugly, completion=ugly).write_parquet(part)
    for paths in ([path], [path] * 8):
        html = show.build(paths)
        assert len(html.encode()) < LIMIT
        Tags(html)


def test_several_runs_side_by_side(run_path, other_path):
    html = show.build([run_path, other_path])
    Tags(html)
    assert "What the recipes do not share" in html
    assert "target.beta" in html
    assert "do not compare" not in html
    assert html.count('class="pooled ') == 2


def test_different_k_is_warned_about(run_path, tmp_path):
    wide = make_run(tmp_path / "wide", steps=2, k=8)
    assert "do not compare it across" in show.build([run_path, wide])


def test_records_that_know_nothing_show_dashes_not_zeros(tmp_path):
    run = RunDirectory.create(tmp_path / "r", Manifest.of("bare", {"model": None}, {}))
    html = show.build([run.path])
    Tags(html)
    assert "not judged" in html
    run.record({"step": 1, "utility": {"u": None}, "ess_rel": {"median": None}, "held_out": None})
    html = show.build([run.path])
    Tags(html)
    assert '<dd class="value">–</dd>' in html
    assert '<dd class="value">0' not in html
    assert "<figure" not in html


def test_no_run_is_an_error():
    with pytest.raises(RunError, match="no run to report"):
        show.build([])


def test_write_puts_it_beside_the_run_by_default(tmp_path):
    path = make_run(tmp_path / "r", steps=1)
    assert show.write([path]) == path / "report.html"
    other = show.write([path], tmp_path / "deep" / "x.html")
    assert other.read_text() == (path / "report.html").read_text()


def test_a_place_that_cannot_be_written_is_named(run_path, tmp_path):
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "file" / "x.html"):
        with pytest.raises(RunError, match="cannot be written"):
            show.write([run_path], target)


def test_importing_the_report_loads_no_heavy_library():
    code = (
        "import sys, tod.show, tod.cli.report;"
        "print([m for m in ('torch', 'polars', 'rich', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout
    assert "polars" not in done.stdout
