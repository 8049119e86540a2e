"""The notebooks: run as they stand, short in what they show, and readable as pages."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 40
"""Lines that the first look at an object may take."""


def script() -> Any:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts/notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


books = script()
NAMES = pytest.mark.parametrize("path", books.notebooks(), ids=lambda path: path.stem)


def held(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def shown(book: dict[str, Any]) -> list[str]:
    """What every cell put out, as text."""
    return [text for cell in book["cells"] for text in books.texts(cell)]


def check(book: dict[str, Any]) -> None:
    """Every cell ran, in order, none failed, and none prints at length."""
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(o["output_type"] != "error" for cell in cells for o in cell["outputs"])
    assert max(len(text.splitlines()) for text in shown(book)) <= MOST_LINES


def test_there_are_three() -> None:
    assert [path.stem for path in books.notebooks()] == ["diagnose", "rerank", "sweep"]


@NAMES
def test_a_notebook_is_kept_with_its_outputs_and_as_a_page(path: Path) -> None:
    """`python scripts/notebooks.py` writes both."""
    book = held(path)
    check(book)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == books.page(path, book)


@NAMES
def test_a_result_at_the_end_of_a_cell_has_a_card(path: Path) -> None:
    """At most 40 lines of text, and short enough for a page of outputs."""
    cards = [
        "".join(output["data"]["text/html"])
        for cell in held(path)["cells"]
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert cards
    assert max(map(len, cards)) < 60_000


@pytest.mark.slow
@NAMES
def test_a_notebook_runs_and_shows_what_it_is_kept_with(path: Path) -> None:
    """Trained figures depend on the machine; all others are the same text."""
    for library in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(library)
    if path.stem == "sweep":
        pytest.importorskip("torch")
    book = books.executed(path)
    check(book)
    if path.stem != "sweep":
        assert shown(book) == shown(held(path))
