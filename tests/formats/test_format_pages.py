"""The pages on formats: every format has one, tiers are those of the readers."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pages import blocks
from tod.cli.main import app
from tod.formats import FORMATS, TIERS, read

PAGES = Path(__file__).parents[2] / "docs/formats"
NAMES = sorted(path.name for path in PAGES.glob("*.md"))
INDEX = (PAGES / "README.md").read_text()


def test_every_format_is_in_the_index() -> None:
    for name in FORMATS:
        assert f"`{name}`" in INDEX, name
    for name in NAMES:
        assert name == "README.md" or f"]({name})" in INDEX, name
    assert all(f"| {tier} |" in INDEX for tier in TIERS)


@pytest.mark.parametrize(
    ("writer", "options", "tier"),
    [
        ("write_trl", {}, "D"),
        ("write_verl", {}, "D"),
        ("write_nemo", {}, "B"),
        ("write_skyrl", {}, "B"),
        ("write_slime", {}, "A"),
        ("write_slime", {"train": False}, "C"),
        ("write_prime", {}, "B"),
        ("write_prime", {"exports": False}, "C"),
        ("write_tinker", {}, "C"),
        ("write_tinker", {"capture": False}, "D"),
        ("write_swift", {}, "D"),
        ("write_open_instruct", {}, "C"),
        ("write_areal", {}, "D"),
    ],
)
def test_tiers_are_those_of_the_index(
    writers: Any, tmp_path: Path, writer: str, options: dict[str, Any], tier: str
) -> None:
    source = read(getattr(writers, writer)(writers.make_world(), tmp_path, **options)).source
    assert source.tier == tier
    row = next(line for line in INDEX.splitlines() if f"`{source.format}`" in line)
    assert re.search(rf"\b{tier}\b", row.rsplit("|", 2)[1]), row


def test_the_mapping_page_works_as_written(tmp_path: Path) -> None:
    import polars as pl

    frame = {"iteration": [1] * 32, "prompt_id": [i // 8 for i in range(32)]}
    frame |= {"reward": [float(i % 3) for i in range(32)], "logp": [-1.0 - i for i in range(32)]}
    pl.DataFrame(frame).write_parquet(tmp_path / "scores.parquet")
    words = [
        str(tmp_path / word) if word == "scores.parquet" else word
        for word in blocks(PAGES / "mapping.md")[0]
    ]
    result = CliRunner().invoke(app, [*words, "--verbose"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.exception
    assert "tier C" in result.output
