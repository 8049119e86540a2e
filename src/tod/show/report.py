"""The report of runs: one document for one run, or several side by side."""

from collections.abc import Sequence
from pathlib import Path

from tod.base import RunError
from tod.regimes import Thresholds
from tod.show.model_card import has_weights, write_card
from tod.show.output import put
from tod.show.page.run_page import page
from tod.show.page.sources import load_all

__all__ = ["build", "place", "write", "write_run"]


def build(runs: Sequence[Path | str], thresholds: Thresholds | None = None) -> str:
    """One self-contained HTML document for one run, or several side by side.

    Args:
        runs: Run directories, diagnoses saved as JSON, or rollouts.
        thresholds: Bounds to judge by again.

    Raises:
        RunError: A path is none of these, or no path is given.
    """
    if not runs:
        raise RunError("no run to report on. Name at least one run directory.")
    return page(load_all(runs, thresholds))


def write(
    runs: Sequence[Path | str], output: Path | None = None, thresholds: Thresholds | None = None
) -> Path:
    """Build the document and put it at ``output``.

    By default that is ``report.html`` in the first run's directory, or in the working directory
    where the first is no run.

    Raises:
        RunError: A path is none of these, or the file cannot be written.
    """
    return put(build(runs, thresholds), output or place(runs[0]), "the run itself")


def write_run(directory: Path, *, html: bool = True) -> Path | None:
    """What people read of a run that is done: the card of its model, and the page, if ``html``.

    Raises:
        RunError: It is no run, or a file cannot be written.
    """
    if not html and not has_weights(directory):
        return None
    (view,) = load_all([directory])
    if has_weights(directory):
        write_card(directory, view)
    return put(page([view]), place(directory), "the run itself") if html else None


def place(first: Path | str) -> Path:
    """Where the document goes by default."""
    run = (Path(first) / "manifest.json").exists()
    return Path(first) / "report.html" if run else Path("report.html")
