"""The roof's window: one offline HTML file, and tables for the terminal."""

from collections.abc import Sequence
from pathlib import Path

from tod.base import RunError
from tod.report.data import RunView, load
from tod.report.diagnosis import diagnosis_page, write_diagnosis
from tod.report.output import put
from tod.report.page import page
from tod.report.terminal import run_table, summary_panel

__all__ = [
    "RunView",
    "build",
    "diagnosis_page",
    "load",
    "page",
    "run_table",
    "summary_panel",
    "write",
    "write_diagnosis",
]


def build(runs: Sequence[Path | str]) -> str:
    """One self-contained HTML document for one run, or several side by side.

    Raises:
        RunError: A path is not a run, or no path is given.
    """
    if not runs:
        raise RunError("no run to report on. Name at least one run directory.")
    return page([load(path, len(runs)) for path in runs])


def write(runs: Sequence[Path | str], output: Path | None = None) -> Path:
    """Build the document and put it at ``output``, by default the first run's ``report.html``.

    Raises:
        RunError: A path is not a run, or the file cannot be written.
    """
    target = Path(runs[0]) / "report.html" if output is None else output
    return put(build(runs), target, "the run itself")
