"""`tod demo`: the quickstart recipe on the embedded model."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Dotted overrides, e.g. train.steps=20.", show_default=False),
    ] = None,
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
    from tod.show.screen import Screen

    words = (*(overrides or ()), f"output={output}")
    settings = RunSettings.load(recipe_file("quickstart"), words)
    execute(settings, overwrite=overwrite, threads=threads)
    screen = Screen()
    for line in following(settings.directory, command()):
        screen.print(line, soft_wrap=True)


def following(run: Path, tod: str) -> list[str]:
    """What to open after the demo, and what to try next.

    Args:
        run: Its run directory.
        tod: How this command is called.
    """
    other = run.with_name("gspo")
    return [
        "",
        f"Open {run / 'report.html'} in a browser: one file, offline. Then try:",
        f"  {tod} diagnose {run}",
        "      is the run healthy, and which prompts are not",
        f"  {tod} plan {run}",
        "      what sharpness and how many samples per prompt it can afford",
        f"  {tod} run gspo train.steps=20 output={other}",
        "      another recipe; `atlas list` names them all",
        f"  {tod} report {run} {other}",
        "      both, side by side",
    ]


def command() -> str:
    """How this program was called: by name where the shell finds it, else by path."""
    called = Path(sys.argv[0])
    known = shutil.which("tod")
    if known is not None and called.exists() and Path(known).samefile(called):
        return "tod"
    return str(called) if called.name == "tod" else f"{sys.executable} -m tod.cli.main"
