"""Tables that read well at 80 columns, and the command."""

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tod import show
from tod.cli.report import report_command


def printed(item):
    console = Console(width=80, record=True, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(item)
    return capture.get()


def test_run_table_fits_and_cuts_nothing_but_names(run_path, other_path):
    said = printed(show.run_table([show.load(run_path), show.load(other_path)]))
    assert max(len(line) for line in said.splitlines()) <= 80
    for word in ("quickstart", "pass@1", "transition", "drift"):
        assert word in said
    assert "…" not in said


def test_summary_panel_fits(run_path):
    record = show.load(run_path).last
    said = printed(show.summary_panel(record))
    assert max(len(line) for line in said.splitlines()) <= 80
    assert "ESS_rel, worst tenth" in said
    assert "→" in said


def test_a_panel_of_nothing_has_dashes():
    said = printed(show.summary_panel({"step": 3}))
    assert "not judged" in said
    assert "–" in said


def test_markup_in_a_name_is_text():
    record = {
        "step": 1,
        "utility": {"[red]x[/red]": 0.5},
        "regime": {"verdict": "transition", "reasons": [{"why": "[bold]w"}]},
    }
    said = printed(show.summary_panel(record))
    assert "[red]x[/red]" in said
    assert "[bold]w" in said


@pytest.fixture
def app():
    made = typer.Typer()
    made.command()(report_command)
    return made


def test_command_writes_and_prints_the_path_last(app, run_path, tmp_path):
    done = CliRunner().invoke(app, [str(run_path), "-o", str(tmp_path / "out.html")])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(tmp_path / "out.html")
    assert (tmp_path / "out.html").stat().st_size > 10_000


def test_command_without_a_table(app, run_path, tmp_path):
    done = CliRunner().invoke(app, [str(run_path), "--no-table", "-o", str(tmp_path / "o.html")])
    assert done.output.strip() == str(tmp_path / "o.html")
