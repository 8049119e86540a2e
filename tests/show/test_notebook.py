"""What a notebook shows of public results: short, escaped, and every number the record's."""

import inspect
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from doctest import ELLIPSIS, DocTestParser, DocTestRunner
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fake_sweep import fake
from rollout_files import HOSTILE, write_own, write_verl
from synthetic_run import make_run

import tod
from tod.base.brief import LINES, WIDTH, first_lines
from tod.base.frames import frame_of
from tod.findings import Findings, TrainingRun
from tod.show.answer import answer
from tod.show.notebook import styles
from tod.show.notebook.figure import Figure
from tod.show.notebook.piece import TEXT, piece
from tod.show.run import Run
from tod.show.sweep import Sweep
from tod.show.terminal.findings_screen import lines as findings_screen
from tod.show.terminal.planned import lines as plan_screen

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "src/tod/atlas/recipes/gspo.yaml"
MOST_LINES, MOST_CHARACTERS = 40, 4000
"""Of what a person reads in a cell: the promise of docs/python.md."""
MOST_MARKUP = 60_000
"""Characters of the markup with its style, whatever was diagnosed."""
PROMPTS = 3000
BLOCKS = {"div", "p", "li", "dt", "h1", "h2", "h3", "h4", "tr", "figcaption", "section", "table"}


class Cell(HTMLParser):
    """The text of a cell as a person sees it, its elements and their attributes."""

    def __init__(self, markup):
        super().__init__()
        self.said, self.names, self.attributes, self._unseen = [""], set(), set(), 0
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._unseen += tag in ("style", "title", "desc")
        if tag in BLOCKS:
            self.said.append("")

    def handle_endtag(self, tag):
        self._unseen -= tag in ("style", "title", "desc")

    def handle_data(self, data):
        if not self._unseen:
            self.said[-1] += f" {data}"

    @property
    def lines(self):
        return [" ".join(line.split()) for line in self.said if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def many(folder):
    """Thousands of prompts, ragged, whose text, reward and file are hostile."""
    path = folder / "a<b>&.jsonl"
    return tod.read(write_own(path, contexts=PROMPTS, utility=HOSTILE[:40], prompt=HOSTILE * 50))


@pytest.fixture(scope="module")
def steps(folder):
    return tod.read(write_verl(folder / "verl", steps=range(1, 61), prompts=20, prompt=HOSTILE))


@pytest.fixture(scope="module")
def returned(folder, many, steps, run_path):
    """What every public function returns, by its name: of thousands of prompts where it reads."""
    utility = next(iter(many.utility))
    log_w = np.asarray(many.utility[utility])
    procedure = tod.Procedure(
        target=tod.Target(anchor={"mu": 1.0}, tilts=[{"utility": utility, "eta": 0.5}]),
        operator={"action": {"kind": "policy_gradient"}},
    )
    examined = tod.examine(procedure, many)
    groups = many.contexts
    return {
        "classify": tod.classify(examined.summary),
        "compare": tod.compare("gspo", "grpo"),
        "credit": tod.credit(procedure, single_tokens(many), np.zeros(len(many)), log_w * 0),
        "diagnose": (tod.diagnose(many, eta=0.5), tod.diagnose(steps)),
        "ess": tod.ess(log_w, groups),
        "ess_rel": tod.ess_rel(log_w, groups),
        "eta_for_ess": tod.eta_for_ess(log_w, groups, 0.5),
        "examine": (examined, examined.weights, examined.diagnostics, examined.summary),
        "locate": tod.locate(RECIPE),
        "log_ess": tod.log_ess(log_w, groups),
        "log_weights": tod.log_weights(procedure.target, many),
        "measure": tod.measure(log_w, log_w, groups),
        "pareto_k": tod.pareto_k(log_w, groups),
        "plan": tod.plan(many, eta=0.5),
        "read": (many, many.labels, groups),
        "rerank": tod.rerank(many),
        "run": (Run(run_path), Run(run_path).findings),
        "sweep": Sweep(folder / "sweep", *fake()),
        "RECIPES": (tod.RECIPES, tod.RECIPES["gspo"]),
    }


def single_tokens(candidates):
    """The candidates as sequences of one token each."""
    sequences = tod.Groups.equal(len(candidates), 1)
    zeros = np.zeros(len(candidates))
    anchors = {"old": zeros, "policy": zeros}
    return tod.Candidates(
        candidates.contexts,
        candidates.utility,
        log_mu=zeros,
        log_anchor=anchors,
        tokens=tod.Tokens(sequences, log_mu=zeros, log_anchor=anchors),
    )


def each(returned):
    for name, found in returned.items():
        for item in found if isinstance(found, tuple) else (found,):
            yield name, item


def test_every_public_function_is_tried(returned):
    functions = {name for name in tod.__all__ if inspect.isfunction(getattr(tod, name))}
    assert functions <= set(returned)


def test_what_a_cell_shows_is_short_whatever_was_read(returned):
    """One cell printed 206 333 characters once."""
    for name, item in each(returned):
        shown = repr(item)
        assert shown.count("\n") < MOST_LINES, name
        assert len(shown) <= MOST_CHARACTERS, name
        if hasattr(item, "_repr_html_"):
            markup = item._repr_html_()
            lines = Cell(markup).lines
            assert 0 < len(lines) <= MOST_LINES, (name, lines)
            assert len("\n".join(lines)) <= MOST_CHARACTERS, name
            assert len(markup) <= MOST_MARKUP, name


def test_own_results_have_a_repr_of_twelve_lines(returned):
    for name, item in each(returned):
        if hasattr(item, "plot"):
            lines = repr(item).splitlines()
            assert 1 < len(lines) <= LINES, name
            assert max(map(len, lines)) <= WIDTH, name
            assert all(line.isprintable() for line in lines), name


def test_a_repr_says_what_the_terminal_says_first(returned):
    fine, plan = returned["diagnose"][0], returned["plan"]
    screen = [line for line, _ in findings_screen(fine.findings, fine.to_dict())]
    assert repr(fine).splitlines()[:4] == screen[:4]
    assert repr(fine).splitlines()[-3:] == screen[-3:]
    assert repr(plan).splitlines()[0] == plan_screen(plan.to_dict(), [])[0]


def test_the_card_says_the_verdict_and_the_answer(returned):
    for found in returned["diagnose"]:
        lines = Cell(found._repr_html_()).lines
        words = {"swap_stable": "swap-stable", "operator_dominated": "operator-dominated"}
        assert any(words.get(found.verdict, found.verdict) in line for line in lines)
        said = answer(found.findings, found.to_dict()).headline
        assert any(said[: TEXT // 2] in line for line in lines)


def test_nothing_is_read_again_to_be_shown(folder):
    path = write_own(folder / "gone.jsonl", contexts=30)
    found = tod.diagnose(tod.read(path), eta=0.5)
    path.unlink()
    assert "No fault found." in repr(found)
    assert "No fault found." in found._repr_html_()
    assert len(found.to_frame()) == 30


ALLOWED = {"style", "div", "section", "p", "span", "h3", "h4", "dl", "dt", "dd", "ol", "ul", "li"}
ALLOWED |= {"svg", "g", "path", "circle", "rect", "line", "text", "title", "desc", "figure", "i"}
ALLOWED |= {"figcaption", "output", "details", "summary", "a", "polygon", "table", "tr", "th", "td"}
ALLOWED |= {"strong", "thead", "tbody", "small", "br", "b"}


def test_hostile_text_is_text(returned):
    for name, item in each(returned):
        for shown in (item, *([item.plot()] if hasattr(item, "plot") else [])):
            if not hasattr(shown, "_repr_html_"):
                continue
            cell = Cell(shown._repr_html_())
            assert cell.names <= ALLOWED, (name, cell.names - ALLOWED)
            assert not {x for x in cell.attributes if x.startswith("on")}, name
            assert "\u202e" not in shown._repr_html_(), name
    diagnosis = Cell(returned["diagnose"][0]._repr_html_())
    assert any("</script><script>alert(1)" in line for line in diagnosis.lines)


def test_a_text_of_any_length_is_cut():
    long = "<b>" + "x&" * 10_000
    markup = piece(styles_free("p", long))
    lines = Cell(markup).lines
    assert len(lines[0]) == TEXT
    assert lines[0].startswith("<b>x&x&")
    assert lines[0].endswith(" …")


def styles_free(name, text):
    from tod.show.figures.svg import tag

    return tag(name, text, title=text)


def test_no_rule_reaches_outside_the_cell(returned):
    for found in (returned["diagnose"][1], returned["diagnose"][1].plot()):
        markup = found._repr_html_()
        sheet = re.search(r"<style>(.*?)</style>", markup, re.DOTALL)[1]
        for rule in re.finditer(r"([^{}]+)\{[^{}]*\}", sheet):
            for selector in rule[1].split(","):
                assert f".{styles.SCOPE}" in selector, selector
        assert "prefers-color-scheme: dark" in sheet
        assert '[data-jp-theme-light="false"]' in sheet
        assert "<script" not in markup
        assert "http" not in markup


def test_the_style_has_a_rule_for_every_class_that_the_page_has_one_for(returned):
    page = (ROOT / "src/tod/show/page/style.css").read_text()
    markup = returned["diagnose"][0]._repr_html_()
    sheet = re.search(r"<style>(.*?)</style>", markup, re.DOTALL)[1]
    for name in {n for names in re.findall(r'class="([^"]*)"', markup) for n in names.split()}:
        alone = re.search(rf"(^|\n)\.{re.escape(name)} \{{[^}}]*\}}", page)
        assert alone is None or f".{name} {{" in sheet, name


def test_figures_are_drawings_of_their_own(returned, tmp_path):
    drawn = 0
    for name, item in each(returned):
        if not hasattr(item, "plot"):
            continue
        figure = item.plot()
        assert isinstance(figure, Figure)
        assert len(repr(figure).splitlines()) <= LINES
        lines = Cell(figure._repr_html_()).lines
        assert len(lines) <= MOST_LINES, name
        root = ET.parse(figure.save(tmp_path / f"{name}.svg")).getroot()  # noqa: S314 - our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        drawn += 1
    assert drawn >= 6


def test_nothing_to_draw_is_said():
    located = tod.locate(RECIPE)
    nowhere = replace(located, target_family=None)
    with pytest.raises(tod.base.DataError, match="no place on the map"):
        nowhere.plot()
    with pytest.raises(tod.base.DataError, match="nothing to draw"):
        Findings(TrainingRun()).plot()


def test_the_table_of_a_diagnosis_is_that_of_the_command(returned, tmp_path):
    found = returned["diagnose"][0]
    found.write_contexts(tmp_path / "c.parquet")
    frame = found.to_frame()
    assert frame.equals(pl.read_parquet(tmp_path / "c.parquet"))
    assert len(frame) == PROMPTS
    seen = found.diagnostics
    known = ~np.isnan(seen.ess_rel)
    assert frame["ess_rel"].is_null().to_list() == (~known).tolist()
    assert frame["ess_rel"].drop_nulls().to_list() == seen.ess_rel[known].tolist()


def test_the_table_of_a_plan_is_its_record(returned):
    plan = returned["plan"]
    rows = plan.to_frame().to_dicts()
    assert len(rows) == len(plan.table)
    for row, record in zip(rows, plan.to_dict()["table"], strict=True):
        assert row["eta"] == record["eta"]
        assert row["median"] == record["median"]
        assert row["mark"] == record["mark"]
        for block in ("population", "needed"):
            for end in ("low", "value", "high"):
                known = record[block]
                assert row[f"{block}.{end}"] == (None if known is None else known[end])


def test_the_table_of_findings_is_their_record(returned):
    findings = returned["run"][1]
    rows = findings.to_frame().to_dicts()
    assert len(rows) == len(findings.all) > 0
    for row, finding in zip(rows, findings.to_dict()["findings"], strict=True):
        onset = finding["onset"] or {"step": None, "low": None, "high": None}
        assert row["kind"] == finding["kind"]
        assert row["headline"] == finding["headline"]
        assert [row["onset"], row["onset_low"], row["onset_high"]] == list(onset.values())
        assert row["best_step"] == finding["best_step"]


def test_a_run_without_findings_has_a_table_with_columns(returned):
    frame = tod.diagnose(returned["read"][0], eta=0.5).findings.to_frame()
    assert frame.schema["onset"] == pl.Int64
    assert frame.is_empty() or set(frame["severity"]) == {"note"}


def test_the_table_of_a_located_file_says_what_its_record_says(returned):
    located = returned["locate"]
    rows, data = located.to_frame().to_dicts(), located.to_dict()
    assert rows[0] == {"kind": "target", "setting": None, "says": data["target"]["letters"]}
    assert rows[1]["says"] == data["operator"]["composition"]
    moved = [(row["setting"], row["says"]) for row in rows if row["kind"] == "moves_target"]
    moved += [(row["setting"], row["says"]) for row in rows if row["kind"] == "changes_path"]
    assert sorted(moved) == sorted((c["setting"], c["effect"]) for c in data["silent_changes"])


def test_the_table_of_a_comparison_is_its_differences(returned):
    found = returned["compare"]
    assert found.to_frame().to_dicts() == found.to_dict()["differences"]
    assert "cells" not in found.to_dict()


def test_a_comparison_stands_where_its_recipes_stand():
    found = tod.compare("gspo", "dpo")
    for cell, name in zip(found.cells, ("gspo", "dpo"), strict=True):
        located = tod.locate(RECIPE.with_name(f"{name}.yaml"))
        assert cell == located.cell
        assert cell[1] == tod.RECIPES[name].family


def test_a_run_says_what_its_files_say(run_path):
    run = Run(run_path)
    records = [json.loads(line) for line in (run_path / "steps.jsonl").read_text().splitlines()]
    rows = run.to_frame().to_dicts()
    assert [row["step"] for row in rows] == [record["step"] for record in records]
    for row, record in zip(rows, records, strict=True):
        assert row["utility.correct"] == record["utility"]["correct"]
        assert row["ess_rel.median"] == record["ess_rel"]["median"]
        assert row["ledger.flops"] == record["ledger"]["flops"]
        assert row["verdict"] == record["regime"]["verdict"]
        held = record["held_out"] or {"pass_at_1": None}
        assert row["held_out.pass_at_1"] == held["pass_at_1"]
    assert "held_out" not in rows[0]
    diagnosis = tod.diagnose(tod.read(run_path))
    assert run.verdict == run.diagnosis.verdict == diagnosis.verdict
    assert [f.kind for f in run.findings.all][:1] == [f.kind for f in diagnosis.findings.all][:1]
    assert str(run_path.name) in repr(run)


def test_a_run_writes_its_page(tmp_path):
    run = Run(make_run(tmp_path / "short", steps=2))
    assert run.report() == tmp_path / "short" / "report.html"
    assert run.report(tmp_path / "other.html").read_text() == run.report().read_text()


def test_the_example_of_the_page_says_what_it_says(folder, monkeypatch):
    """Every block of docs/python.md is executed in a folder that holds rollouts of five steps."""
    page = (ROOT / "docs/python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    here = folder / "example"
    write_verl(here / "rollouts", steps=range(1, 6))
    monkeypatch.chdir(here)
    made = DocTestParser().get_doctest("".join(blocks), {}, "docs/python.md", None, 0)
    assert len(made.examples) > 8
    found = DocTestRunner(optionflags=ELLIPSIS).run(made)
    assert not found.failed
    assert (here / "when.svg").exists()


def test_frames_have_null_for_what_is_not_known():
    frame = frame_of([{"a": {"b": 1.0}, "c": None}, {"a": None, "c": {"d": float("nan")}}])
    assert frame.to_dicts() == [{"a.b": 1.0, "c.d": None}, {"a.b": None, "c.d": None}]


def test_first_lines_keep_the_end():
    lines = first_lines([str(n) for n in range(30)], most=5, last=2)
    assert lines == ["0", "1", "… 26 more lines", "28", "29"]
    assert first_lines(["x" * 200]) == ["x" * 78 + " …"]
    assert first_lines(["a\x1bb"])[0].isprintable()
