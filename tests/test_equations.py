"""docs/equations.md against the docstrings, the layout and the tests: in both directions."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("equations_page", ROOT / "scripts/equations.py")
page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(page)
EQUATIONS, MARKED = page.equations(), page.marked()
CITED = re.compile(r"docs/equations\.md,? ([A-D]\.\d+|\d)\b")


def test_every_equation_is_named_by_a_docstring():
    assert {name for name in EQUATIONS if name not in MARKED} == set()


def test_every_name_in_a_docstring_is_an_equation():
    assert {name for name in MARKED if name not in EQUATIONS} == set()


def test_equations_stand_where_the_layout_says():
    """95 of 100 at least are in the file that a reader of the layout would open first."""
    elsewhere = [
        name
        for name, row in EQUATIONS.items()
        if row.file not in {file for file, _ in MARKED.get(name, [])}
    ]
    assert len(elsewhere) <= 0.05 * len(EQUATIONS), elsewhere


@pytest.mark.parametrize("name", EQUATIONS)
def test_every_equation_has_a_test(name):
    path, _, function = EQUATIONS[name].test.partition("::")
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_section_that_a_docstring_cites_is_there():
    cited = {
        section
        for path in (ROOT / "src").rglob("*.py")
        for section in CITED.findall(" ".join(path.read_text(encoding="utf-8").split()))
    }
    assert cited
    assert cited <= {*page.SECTIONS, *page.NOT_COMPUTED, "B.6"}


def test_every_section_has_a_heading():
    assert {row.section for row in EQUATIONS.values()} == set(page.SECTIONS)


def test_the_page_is_up_to_date():
    assert page.PAGE.read_text(encoding="utf-8") == page.page()
