"""``tod report``: the page for one run, or for several side by side."""

from pathlib import Path
from typing import Annotated

import typer

from tod.cli.options import Bounds, thresholds_of


def report_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories, diagnoses (tod diagnose --json FILE), or rollouts.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file. By default report.html in the first run."),
    ] = None,
    thresholds: Bounds = None,
    table: Annotated[bool, typer.Option("--table/--no-table", help="Also print a table.")] = True,
) -> None:
    """One HTML page about one run, or about several side by side.

    It is one file, and needs no network.

    Rollouts that declare no target are read at an assumed one: diagnose them first, with --target
    or --config and --json, where they have another.

    Example: tod report runs/quickstart diagnosis.json -o compare.html
    """
    from tod import show
    from tod.show.output import put
    from tod.show.page import run_page
    from tod.show.screen import Screen

    console = Screen()
    views = show.load_all(runs, thresholds_of(thresholds))
    if table:
        console.print(show.run_table(views))
    path = put(run_page.page(views), output or show.place(runs[0]), "the run itself")
    console.print(str(path), soft_wrap=True)
