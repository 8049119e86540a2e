"""The table of rows names only what is there, and all seven and six rows."""

import re
from pathlib import Path

from tod.atlas import RECIPES
from tod.atlas.grid import OPERATORS, TARGETS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "atlas" / "rows.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]


def test_every_file_exists() -> None:
    named = re.findall(r"`((?:configs|tests)/[\w/.]+)`", TEXT)
    assert len(named) >= 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_recipe_exists() -> None:
    cells = [line.split("|")[3] for line in ROWS if not line.startswith("| row")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named
    assert named <= set(RECIPES)


def test_all_rows_are_there() -> None:
    assert len([line for line in ROWS if not line.startswith("| row")]) == len(TARGETS) + len(
        OPERATORS
    )
