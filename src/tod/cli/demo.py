"""`tod demo`: the quickstart recipe on the embedded model."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Where the run is written.")] = Path("runs/demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is already there.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; default: what the machine has free."),
    ] = None,
) -> None:
    """Train the embedded character model on countdown and write a report (about a minute).

    Example: tod demo --output runs/first
    """
    from tod.atlas import recipe_file
    from tod.cli.run import execute
    from tod.engine.settings import RunSettings

    settings = RunSettings.load(recipe_file("quickstart"), (f"output={output}",))
    execute(settings, overwrite=overwrite, threads=threads)
