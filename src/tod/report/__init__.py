"""The roof's window: one offline HTML file, and tables for the terminal."""

from collections.abc import Sequence
from pathlib import Path

from tod.base import RunError
from tod.report.data import RunView, load
from tod.report.page import page
from tod.report.terminal import run_table, summary_panel
from tod.runs.atomic import explained, write_atomic

__all__ = ["RunView", "build", "load", "page", "run_table", "summary_panel", "write"]


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
    html = build(runs)
    target = Path(runs[0]) / "report.html" if output is None else output
    try:
        with explained(str(target), "the run itself"):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, html)
    except OSError as error:
        raise RunError(
            f"{target} cannot be written ({error.strerror}). Name another file with `--output`."
        ) from error
    return target
