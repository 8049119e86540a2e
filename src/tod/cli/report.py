"""``tod report``: the page for one run, or for several side by side."""

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file. By default RUN/report.html of the first."),
    ] = None,
    table: Annotated[bool, typer.Option("--table/--no-table", help="Also print a table.")] = True,
) -> None:
    """Write one self-contained HTML file about one run, or several side by side.

    Example: tod report runs/quickstart runs/quickstart-arc -o compare.html
    """
    from rich.console import Console

    from tod import report

    console = Console()
    if table:
        console.print(report.run_table([report.load(path) for path in runs]))
    path = report.write(runs, output)
    console.print(str(path), soft_wrap=True, markup=False, highlight=False)
