"""The page of `tod diagnose --html` for a metric log alone: findings, and no regime."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tod.base.text import counted
from tod.show.figures.svg import Html
from tod.show.output import put
from tod.show.page.diagnosis_data import versions
from tod.show.page.document import document
from tod.show.page.findings_view import findings_view
from tod.show.words import steps

if TYPE_CHECKING:
    from tod.findings import Findings


def findings_page(findings: "Findings", comparison: Sequence[str] = ()) -> Html:
    """The whole document."""
    run = findings.run
    files = list(run.names)
    name = Path(files[0]).name if files else "metric log"
    parent = Path(files[0]).resolve().parent.name if files else ""
    name = f"{parent}/{name}" if parent else name
    seen = findings_view(findings, comparison=comparison)
    figures = [series for _, series in sorted(run.series.items()) if len(series.known)]
    ends = [int(run.steps[0]), int(run.steps[-1])] if len(run.steps) else None
    said = (run.framework, counted(len(figures), "figure"), steps(ends))
    return document(
        "log.html",
        f"{name} · TOD diagnosis",
        {"plots": seen.plots, "points": []},
        name=name,
        about=" · ".join(part for part in said if part),
        findings=seen,
        figures=figures,
        files=files,
        notes=run.notes,
        environment={"schema": "tod.findings/1", "versions": versions()},
    )


def write_findings(findings: "Findings", path: Path | str, comparison: Sequence[str] = ()) -> Path:
    """The document, put at ``path``.

    Args:
        findings: What was seen.
        path: Where it is put.
        comparison: What a comparison with another run says, a sentence each.

    Raises:
        RunError: The file cannot be written.
    """
    return put(findings_page(findings, comparison), Path(path), "the log", "--html")
