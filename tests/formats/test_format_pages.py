"""The pages on formats: every format has one, links lead somewhere, commands are the real ones."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

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


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", (PAGES / name).read_text()):
        if not link.startswith("http"):
            assert (PAGES / link).exists(), link


def commands() -> list[tuple[str, str]]:
    found = []
    for name in NAMES:
        for block in re.findall(r"```\n(.*?)```", (PAGES / name).read_text(), re.S):
            found += [(name, line) for line in block.splitlines() if line.startswith("tod ")]
    return found


@pytest.mark.parametrize(("name", "line"), commands())
def test_commands_have_these_options(name: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    command = typer.main.get_command(app).commands[words[1]]  # type: ignore[attr-defined]
    known = {option for param in command.params for option in param.opts}
    assert {word for word in words if word.startswith("--")} <= known, line


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
    line = next(line for name, line in commands() if name == "mapping.md")
    words = shlex.split(line.replace("scores.parquet", str(tmp_path / "scores.parquet")))[1:]
    result = CliRunner().invoke(app, [*words, "--verbose"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.exception
    assert "tier C" in result.output
