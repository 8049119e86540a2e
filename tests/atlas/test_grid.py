"""The grid: 42 cells, every recipe in one, and a page that loads nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from markupsafe import escape

from tod.atlas import RECIPES
from tod.atlas.grid import OPERATORS, TARGETS, document, empty_cells, grid
from tod.atlas.measured import Position, embedded, words
from tod.show.page.atlas_page import FilePlace, atlas_page
from tod.show.terminal.atlas import grid_text

GALLERY = Path(__file__).parents[2] / "docs" / "results" / "gallery.json"


class Tags(HTMLParser):
    """Counts rows and cells, and keeps whatever would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "link", "img", "br", "wbr"):
            self.open.append(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_seven_by_six() -> None:
    cells = grid()
    assert (len(TARGETS), len(OPERATORS)) == (7, 6)
    assert {(cell.target, cell.operator) for cell in cells} == {
        (row, column) for row in TARGETS for column in OPERATORS
    }


def test_every_recipe_stands_in_exactly_one_cell() -> None:
    placed = [name for cell in grid() for name in cell.recipes]
    assert sorted(placed) == sorted(RECIPES)


def test_unknown_is_none_and_measured_is_what_was_measured() -> None:
    assert all(cell.measured is None for cell in grid({}))
    at = Position("transition", 0.5, 0.125)
    cells = grid({"grpo": at})
    (here,) = [cell for cell in cells if "grpo" in cell.recipes]
    assert here.measured == {"grpo": at}
    assert all(cell.measured is None for cell in cells if cell is not here)
    assert "transition (ESS_rel 0.50, activation 0.12)" in atlas_page(cells)
    assert "transition (ESS_rel 0.50, activation 0.12)" in grid_text(cells)
    assert all(cell["measured"] is None for cell in document(grid({}))["cells"])


def test_the_package_brings_what_the_gallery_measured() -> None:
    rows = json.loads(GALLERY.read_text())
    assert embedded().keys() == {n for n in rows if n in RECIPES and rows[n]["error"] is None}
    for name, at in embedded().items():
        row = rows[name]
        assert at.verdict == row["run_verdict"]
        assert (at.ess_rel, at.activation) == (row["ess_rel_median"], row["activation"])
    data = document(grid())
    assert data["measured_on"] == "the embedded models"
    (cell,) = [cell for cell in data["cells"] if "grpo" in cell["recipes"]]
    assert cell["measured"]["grpo"] == embedded()["grpo"].to_dict()
    for text in (grid_text(grid()), atlas_page(grid())):
        assert "measured" in text
        assert "on the embedded models" in text


def test_words_group_by_verdict() -> None:
    low, high = Position("transition", 0.2, None), Position("transition", 0.4, 0.1)
    assert words({"a": low, "b": high}) == "transition (ESS_rel 0.20–0.40, activation 0.10)"
    other = Position("undetermined")
    assert words({"a": low, "c": other}) == "transition (ESS_rel 0.20), undetermined"


def test_a_cell_says_what_must_be_logged() -> None:
    by_name = {name: cell for cell in grid() for name in cell.recipes}
    cell = by_name["grpo"]
    assert cell.proposals == ("old",)
    assert {"ess_rel", "activation", "log_old", "log_ref", "log_mu"} <= set(cell.diagnostics)
    assert "2402.03300" in cell.papers


def test_the_document() -> None:
    data = document(grid())
    assert (len(data["targets"]), len(data["operators"]), len(data["cells"])) == (7, 6, 42)
    assert {"target", "operator", "recipes", "measured"} <= set(data["cells"][0])


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    tags = Tags()
    hostile = grid({"grpo": Position("<b>&\"'")})
    tags.feed(atlas_page(hostile, "<b>&\"'"))
    assert tags.open == []
    assert set(tags.loads) <= {"href"}  # the empty icon
    page = atlas_page(hostile)
    assert re.findall(r'(?:href|src)="(?!data:,"|#|https://arxiv\.org/abs/\d{4}\.\d+")', page) == []
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
    assert (tags.count["tr"], tags.count["td"], tags.count["th"]) == (8, 43, 13)
    assert "script" not in tags.count
    assert "<b>&\"'" not in atlas_page(hostile)


def test_the_terminal_holds_eighty_columns() -> None:
    text = grid_text(grid()).splitlines()
    assert max(map(len, text)) <= 80
    assert all(name in "\n".join(text) for name in RECIPES)


def test_every_empty_cell_says_why_and_no_other_does() -> None:
    cells = grid()
    assert all((cell.empty is None) == bool(cell.recipes) for cell in cells)
    assert {(c.target, c.operator) for c in cells if c.empty} == set(empty_cells())
    page = atlas_page(cells)
    for cell in cells:
        if cell.empty is not None:
            assert str(escape(cell.empty.why)) in page


def test_cells_that_the_framework_names_are_occupied() -> None:
    """Its section on the atlas: DPO, PPO and GRPO, best of K at the same target, distillation."""
    by_place = {(cell.target, cell.operator): cell.recipes for cell in grid()}
    assert "dpo" in by_place["preference", "preference_surrogate"]
    assert {"ppo_clip", "grpo"} <= set(by_place["two_anchor", "proximal_rl"])
    assert {"best_of_k_two_anchor", "rerank_two_anchor"} <= set(by_place["two_anchor", "test_time"])
    assert "opd_full" in by_place["teacher", "on_policy_distillation"]


def test_a_file_is_shown_in_its_place() -> None:
    here = FilePlace(
        ("two_anchor", "proximal_rl"), "<a>.sh", "π_ref", (("Note", "<b>"), ("Rest", ""))
    )
    page = atlas_page(grid(), here=here)
    assert page.count("this file") == 1
    assert "&lt;a&gt;.sh" in page
    assert "<a>.sh" not in page
    assert "<dt>Note</dt><dd>&lt;b&gt;</dd>" in page
    assert "this file" not in atlas_page(grid(), here=FilePlace(None, "a", "b", ()))
